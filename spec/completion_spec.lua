-- How requests end: some of them at a time, all of them by cancel. lua/cfpurge/completion.
local clients = require "spec.support.client"
local core = require "cfpurge.core"
local edge = require "spec.support.edge"
local host = require "spec.support.host"

local system = host.system()

describe("many endings", function()
  teardown(clients.close)

  local function pause(seconds)
    local ends = core.now() + seconds
    while core.now() < ends do end
  end

  -- `count` answers are there, and an on_done takes 1 ms.
  local function answered(count)
    local client, inner = clients.beneath()
    local told = { count = 0 }
    for i = 1, count do
      assert(client:start({ tags = { "t" .. i } }, nil, function()
        told.count = told.count + 1
        pause(0.001)
      end))
    end
    while client:stats().done < count do inner:step(0.05) end
    return client, told
  end

  it("are told of in several steps, which wait for nothing meanwhile", function()
    local client, told = answered(20)
    local steps, begun = 0, core.now()
    while told.count < 20 do
      local before = told.count
      assert.equal(0, client:timeout())
      assert.is_true(system.poll(client:fileno(), 0))
      client:step(steps % 2 == 0 and 30 or nil)
      steps = steps + 1
      assert.is_true(told.count > before and told.count - before <= 3, told.count - before)
    end
    assert.is_true(core.now() - begun < 10)
    assert.equal(0, client:in_flight())
  end)

  it("do not keep a purge from waiting for its own", function()
    local client, told = answered(20)
    assert(client:purge { tags = { "own" } })
    assert.is_true(told.count <= 20)
    client:close()
    assert.equal(20, told.count)
  end)

  for _, how in ipairs { "close", "cancel" } do
    it("are all told of by " .. how, function()
      local client, zone = clients.new()
      -- Not whole while it hangs: an empty body would be, for the first of them.
      edge.script(zone, { { hang = 30, times = 0, body = "{", length = 100 } })
      local kinds, waiting = {}, nil
      for i = 1, 200 do
        waiting = assert(client:start({ tags = { "t" .. i } }, nil, function(_, err)
          kinds[err.kind] = (kinds[err.kind] or 0) + 1
        end))
      end
      local list = {}
      for i = 1, 300 do list[i] = "l" .. i end
      local job = assert(client:start { tags = list })
      client:step(0)
      client[how](client)
      local kind = how == "close" and "closed" or "cancelled"
      assert.same({ [kind] = 200 }, kinds)
      assert.same({ true, true, 0 }, { waiting:done(), job:done(), client:in_flight() })
      assert.equal(kind, select(2, job:result()).kind)
      assert.equal(300, #select(2, job:result()).remaining.tags)
      if how == "cancel" then
        edge.script(zone, {})
        assert(client:purge { tags = { "after" } })
      end
    end)
  end
end)

describe("a client", function()
  it("has nothing but its methods", function()
    local client = clients.new()
    for name in pairs(client) do assert.not_equal("string", type(name)) end
    client:close()
  end)
end)

describe("core.purge", function()
  it("heeds Ctrl-C between its steps, and gives up the request", function()
    local zone = edge.zone()
    edge.script(zone, { { delay = 40, times = 0 } })
    -- --foreground: once; else timeout signals its whole group too.
    local pipe = io.popen(("timeout --foreground -s INT -k 60 2 %s -e '%s' 2>&1"):format(
      os.getenv "CFPURGE_LUA" or "lua5.4", ([[
      local client = require("cfpurge.core").new { base_url = "%s", api_token = "%s", zone_id = "%s" }
      local ok, raised = pcall(client.purge, client, { tags = { "a" } })
      print(ok, raised, client:stats().in_flight, client:stats().done)]]):format(
      edge.env.API_HTTP, edge.env.TOKEN, zone)))
    local begun = os.time()
    local said = pipe:read "*a"
    pipe:close()
    assert.matches("^false\t[^\t]*interrupted!\t0\t0", said)
    assert.is_true(os.time() - begun < 30)
  end)
end)
