-- Hosts without an event loop: one that waits in purge or in step, and one that steps once a frame.
local program = require "spec.hosts.program"
local clients = require "spec.support.client"
local edge = require "spec.support.edge"
local host = require "spec.support.host"

describe("without an event loop", function()
  it("the contract holds where step waits", function()
    assert.same({}, program.contract("blocking", { skips = "spawn" }))
  end)

  it("the contract holds in a frame loop, over TLS", function()
    assert.same({}, program.contract("frame", { skips = "spawn", tls = true }))
  end)

  it("purge waits without using the processor", function()
    local value = program.run("blocking", [[
      local client, steps = new(), 0
      local step = client.step
      function client:step(...)
        steps = steps + 1
        return step(self, ...)
      end
      local before = os.clock()
      assert(client:purge { tags = { "a" } })
      return { steps = steps, cpu = os.clock() - before }
    ]], { answers = { { delay = 0.5, pass = true } } })
    assert.is_true(value.steps <= 40, value.steps .. " steps")
    if not host.watched then assert.is_true(value.cpu < 0.25, value.cpu .. " s") end
  end)

  it("a frame's step does not wait", function()
    local value = program.run("frame", [[
      local client, done = new(), false
      assert(client:start({ tags = { "a" } }, nil, function() done = true end))
      for _ = 1, 30 do
        client:step(0)
        host.pause()
      end
      local waited = done
      client:close()
      return { waited = waited, done = done }
    ]], { answers = { { delay = 20, pass = true } } })
    assert.same({ waited = false, done = true }, value)
  end)

  it("purge ends before what the on_done of another raises comes out of it", function()
    local client, zone = clients.new { loop = "blocking" }
    edge.script(zone, { { match = "late", delay = 0.2, pass = true } })
    assert(client:start({ tags = { "early" } }, nil, function() error("raised", 0) end))
    local ok, raised = pcall(client.purge, client, { tags = { "late" } })
    assert.same({ false, "raised" }, { ok, raised })
    assert.equal(0, client:in_flight())
    assert(client:purge { tags = { "again" } })
    client:close()
  end)

  it("purges within one on_done within another wait for what is not there yet, however deep", function()
    local client, zone = clients.new { loop = "blocking" }
    edge.script(zone, { { delay = 0.2, pass = true, times = 0 } })
    local told, accepted = 0, 0
    local function nested(count)
      for i = 1, count do
        assert(client:start({ tags = { "n" .. i } }, nil, function()
          told = told + 1
          local ok, result = pcall(client.purge, client, { tags = { "again" .. i } })
          accepted = accepted + (ok and result and 1 or 0)
        end))
      end
      while client:in_flight() > 0 do pcall(client.step, client) end
    end
    local before = client:stats().started
    nested(40)
    assert.same({ 40, 40, 80 }, { told, accepted, client:stats().started - before })
    -- Deeper than a stack of C is: what has no room there is raised, and all is told of.
    edge.script(zone, { { pass = true, times = 0 } })
    nested(150)
    assert.same({ 190, 0 }, { told, client:in_flight() })
    client:close()
  end)

  it("purge ends with all of a list, however often its on_progress raises", function()
    local client, zone = clients.new { loop = "blocking" }
    local list, calls = {}, 0
    for i = 1, 20 do list[i] = "t" .. i end
    local ok, raised = pcall(client.purge, client, { tags = list }, { max_items = 1, max_in_flight = 1,
      on_progress = function()
        calls = calls + 1
        error("progress " .. calls, 0)
      end })
    assert.same({ false, "progress 1", 20, 0, 20 }, { ok, raised, calls, client:in_flight(), edge.counts(zone).items })
    client:close()
  end)

  it("the interpreter's Ctrl-C ends the waiting of a purge at once", function()
    local lua = os.getenv "CFPURGE_LUA" or "lua5.4"
    local zone = edge.zone()
    edge.script(zone, { { delay = 40, times = 0 } })
    local pipe = io.popen(("timeout --foreground -s INT -k 60 3 %s -e '%s' 2>&1"):format(lua, ([[
      require("cfpurge").new { base_url = "%s", api_token = "%s", zone_id = "%s" }:purge { tags = { "a" } }]]):format(
      edge.env.API_HTTP, edge.env.TOKEN, zone)))
    local begun = os.time()
    local said = pipe:read "*a"
    pipe:close()
    assert.truthy(said:find("interrupted!", 1, true), said)
    assert.is_true(os.time() - begun < 30)
  end)

  it("a client that nobody holds any more reports what was in flight", function()
    local kind
    do
      local client = clients.new { loop = "blocking" }
      assert(client:start({ tags = { "a" } }, nil, function(_, err) kind = err.kind end))
    end
    for _ = 1, 3 do collectgarbage() end
    assert.equal("closed", kind)
  end)
end)
