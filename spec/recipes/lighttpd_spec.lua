-- lighttpd with its recipe: a change is stored, and nothing waits.
local elsewhere = require "spec.support.where"
if elsewhere "unwatched in:/usr/lib/lighttpd/mod_magnet.so" then return end

local socket = require "socket"
local contract = require "spec.hosts.contract"
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local recipe = require "spec.support.recipe"
local cfpurge = require "cfpurge"

local CONF = [[
server.document-root = "%s"
server.bind = "127.0.0.1"
server.port = %d
$HTTP["url"] =~ "^/articles/" { url.redirect = ("" => "/"), url.redirect-code = 204 }
server.modules = ("mod_redirect")
]]

describe("lighttpd", function()
  local folder, port, zone, store

  local function start(env, more)
    local file = assert(io.open(folder .. "/lighttpd.conf", "w"))
    file:write(CONF:format(folder, port), (recipe.block "lighttpd":gsub("/etc/lighttpd", folder)), more or "")
    file:close()
    return recipe.serve(("%s CFPURGE_QUEUE=%s lighttpd -D -f %s/lighttpd.conf"):format(env, store, folder), port)
  end

  setup(function() folder = recipe.folder { ["purge.lua"] = recipe.block "lua lighttpd" } end)
  before_each(function()
    zone, port, store = edge.zone(), recipe.port(), folder .. "/queue.db"
  end)
  after_each(recipe.stop)
  teardown(recipe.clean)

  it("stores what an article's change purges, by the next request at the latest; a GET stores nothing", function()
    local log = start(recipe.env(zone))
    recipe.get(port, "/articles/zero")
    for _, name in ipairs { "one", "two" } do
      assert.equal(204, (recipe.get(port, "/articles/" .. name, "x")), log())
    end
    local queue = assert(cfpurge.queue { store = store, zone_id = zone })
    local last = os.time() + 10
    while queue:status().waiting < 2 and os.time() < last do recipe.get(port, "/elsewhere") end
    assert.equal(2, queue:status().waiting, log())
    queue:close()
  end)

  it("holds up nobody where nothing is under way", function()
    start(recipe.env(zone))
    host.tries(function()
      recipe.get(port, "/articles/one", "x")
      socket.sleep(0.2)
      recipe.get(port, "/")
      local took = {}
      for i = 1, 50 do
        local began = socket.gettime()
        recipe.get(port, "/")
        took[i] = socket.gettime() - began
      end
      table.sort(took)
      return took[25] < 0.002, took[25]
    end)
  end)

  it("says in its log what became of one that cannot be stored", function()
    store = "/proc/nothing/queue.db"
    local log = start(recipe.env(zone))
    for _ = 1, 20 do
      recipe.get(port, "/articles/one", "x")
      if log():find "purge: " then break end
      socket.sleep(0.05)
    end
    assert.matches("purge: store: the store cannot", log())
  end)

  it("carries the contract", function()
    if elsewhere "proof" then return end
    local text = contract.prepare(edge)
    local log = start(recipe.env(zone) .. "PLAN=" .. recipe.folder { plan = text } .. "/plan",
      ('\n$HTTP["url"] == "/contract" { magnet.attract-raw-url-to = ("%s/spec/hosts/served.lua") }\n'):format(
        os.getenv "PWD" or "."))
    local _, report = recipe.get(port, "/contract")
    assert.same({}, contract.verify(edge, text, report, log(), "spawn"))
  end)
end)
