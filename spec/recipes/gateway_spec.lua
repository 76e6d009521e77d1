-- Kong's and APISIX's plugin, in nginx with the phases of each in their order (spec/hosts/gateway.lua).
local elsewhere = require "spec.support.where"
if elsewhere "luajit" then return end

local json = require("cjson").new()
local edge = require "spec.support.edge"
local nginx = require "spec.hosts.nginx"
local recipe = require "spec.support.recipe"

local FILES = {
  Kong = { ["handler.lua"] = "lua kong handler", ["schema.lua"] = "lua kong schema" },
  APISIX = { ["cloudflare-purge.lua"] = "lua apisix" },
}

for name, labels in pairs(FILES) do
  describe("the plugin of " .. name, function()
    local it_runs, zone, page

    local function start(plugin)
      local files = { conf = json.encode { kong = name == "Kong", plugin = plugin } }
      for file, label in pairs(labels) do files[file] = recipe.block(label) end
      local folder = recipe.folder(files)
      os.execute("chmod -R a+rX " .. folder)
      return nginx.start { conf = nginx.read "spec/hosts/gateway.conf", init = folder,
        env = "CLOUDFLARE_BASE_URL=" .. edge.up().API_HTTP }
    end

    setup(function()
      local about
      zone, about = edge.zone()
      page = "www." .. about.name
      it_runs = start { api_token = edge.env.TOKEN, zone_id = zone }
    end)
    before_each(function() edge.reset(zone) end)
    teardown(function()
      it_runs:stop()
      recipe.clean()
    end)

    local function begin(method, path, of)
      return (of or it_runs):open(("%s %s HTTP/1.0\r\nHost: %s\r\n\r\n"):format(method, path, page))
    end

    local function ask(...)
      local connection = begin(...)
      local text = connection:receive "*a"
      connection:close()
      return text
    end

    it("answers a PURGE when Cloudflare has, and the worker serves others meanwhile", function()
      edge.script(zone, { { delay = 0.3, pass = true } })
      local slow = begin("PURGE", "/a/page?x=1")
      edge.requests(zone, 1)
      assert.matches("alive$", ask("GET", "/alive"))
      assert.equal(0, edge.counts(zone).accepted)
      assert.equal('{"accepted":1}', nginx.receive(slow))
      assert.equal('{"files":["https://' .. page .. '/a/page?x=1"]}', (edge.requests(zone)[1].body:gsub("\\/", "/")))
      assert.equal("", it_runs:problems())
    end)

    it("purges by the tags that the service names, which no visitor sees or waits for", function()
      edge.script(zone, { { delay = 0.3, pass = true } })
      local said = ask("GET", "/?tags=news,sport&more=culture")
      assert.matches("served$", said)
      assert.is_nil(said:lower():find "purge%-tags")
      assert.equal(0, edge.counts(zone).accepted)
      assert.equal('{"tags":["news","sport","culture"]}', edge.requests(zone, 1)[1].body)
      nginx.wait_until(function() return edge.counts(zone).accepted == 1 end)
      assert.matches("served$", ask("GET", "/"))
      assert.equal(1, #edge.requests(zone))
      assert.equal("", it_runs:problems())
    end)

    it("tells the log and who asks of what the API refuses, and of an empty token", function()
      local no = { status = 403, json = { success = false, errors = { { code = 10000, message = "not yours" } } } }
      edge.script(zone, { no, no })
      assert.matches("^HTTP/1.1 502 .*{\"accepted\":0}$", ask("PURGE", "/"))
      ask("GET", "/?tags=news")
      nginx.wait_until(function()
        return select(2, it_runs:log():gsub("purge: permission_denied: not yours", "")) == 2
      end)
      assert.equal("", it_runs:problems "not yours")
      local other = start { api_token = "", zone_id = zone }
      assert.matches("^HTTP/1.1 500 ", ask("PURGE", "/", other))
      assert.matches("api_token", other:log())
      other:stop()
    end)
  end)
end
