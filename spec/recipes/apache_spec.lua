-- Apache with its recipe: a purge that waits in its thread, and one for a queue.
local elsewhere = require "spec.support.where"
if elsewhere "unwatched in:/usr/lib/apache2/modules/mod_lua.so" then return end

local socket = require "socket"
local contract = require "spec.hosts.contract"
local edge = require "spec.support.edge"
local recipe = require "spec.support.recipe"
local cfpurge = require "cfpurge"

local CONF = [[
ServerRoot %s
ServerName localhost
PidFile pid
Listen 127.0.0.1:%d
ErrorLog /dev/stderr
User www-data
Group www-data
DocumentRoot %s
ServerLimit 1
ThreadsPerChild 4
MaxRequestWorkers 4
StartServers 1
]]
for _, name in ipairs { "mpm_event", "authz_core", "lua", "alias" } do
  CONF = CONF .. ("LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so\n"):format(name, name)
end

describe("Apache", function()
  local folder, find, port, log, zone, store

  -- `more` is behind the recipe.
  local function start(env, more)
    local conf = CONF:format(folder, port, folder) .. recipe.block "apache":gsub("/etc/apache2", folder)
      .. "\nRedirectMatch 204 ^/articles/\n" .. (more or "")
    local file = assert(io.open(folder .. "/apache.conf", "w"))
    file:write(conf)
    file:close()
    return recipe.serve(("%s CFPURGE_QUEUE=%s %s apache2 -DFOREGROUND -f %s/apache.conf"):format(env, store, find, folder), port)
  end

  setup(function()
    folder, find = recipe.copy()
    os.execute("chmod 777 " .. folder)
    local file = assert(io.open(folder .. "/purge.lua", "w"))
    file:write(recipe.block "lua apache")
    file:close()
  end)

  before_each(function()
    zone, port, store = edge.zone(), recipe.port(), folder .. "/queue.db"
  end)
  after_each(recipe.stop)
  teardown(recipe.clean)

  it("waits for a purge in one of its threads, and the others serve", function()
    log = start(recipe.env(zone))
    edge.script(zone, { { match = "slow", delay = 0.5, pass = true } })
    local connection = assert(socket.connect("127.0.0.1", port))
    connection:send "GET /purge?tag=slow HTTP/1.0\r\n\r\n"
    edge.requests(zone, 1)
    assert.same({ 200, "accepted: 1\n" }, { recipe.get(port, "/purge?tag=news") })
    assert.equal(1, edge.counts(zone).accepted)
    assert.matches("accepted: 1\n$", (connection:receive "*a"))
    edge.script(zone, { { status = 403, json = { success = false, errors = { { code = 10000, message = "no" } } } } })
    assert.equal(502, (recipe.get(port, "/purge?tag=a")))
    assert.matches("purge: permission_denied: no", log())
  end)

  it("stores what an article's change purges; a GET stores nothing", function()
    log = start(recipe.env(zone))
    recipe.get(port, "/articles/zero")
    for _, name in ipairs { "one", "two" } do
      assert.equal(204, (recipe.get(port, "/articles/" .. name, "x")))
    end
    local last = os.time() + 10
    while not io.open(store) and os.time() < last do socket.sleep(0.01) end -- or it would be ours
    local queue = assert(cfpurge.queue { store = store, zone_id = zone })
    while queue:status().waiting < 2 and os.time() < last do socket.sleep(0.01) end
    assert.equal(2, queue:status().waiting, log())
    queue:close()
    assert.equal(0, edge.counts(zone).requests)
  end)

  it("says in its log that there is no token", function()
    log = start(recipe.env())
    assert.equal(500, (recipe.get(port, "/purge?tag=a")))
    assert.matches("no credential", log())
  end)

  it("carries the contract", function()
    if elsewhere "proof" then return end
    local text = contract.prepare(edge)
    local plan = recipe.folder { plan = text }
    os.execute(("chmod 755 %s; chmod 777 %s"):format(plan, text:match 'store = "(.-)/[^/]*"'))
    log = start(recipe.env(zone) .. "PLAN=" .. plan .. "/plan", "Timeout 100\nLuaMapHandler ^/contract$ "
      .. folder .. "/spec/hosts/served.lua contract\n")
    local _, report = recipe.get(port, "/contract")
    assert.same({}, contract.verify(edge, text, report, log(), "spawn"))
  end)
end)
