-- One purge that was asked for, and how requests are reported beside each other: lua/cfpurge/request and client.
local clients = require "spec.support.client"
local core = require "cfpurge.core"
local edge = require "spec.support.edge"
local lists = require "spec.support.lists"

describe("a request", function()
  teardown(clients.close)

  -- Until so many answers are there, of which nobody has been told.
  local function answered(client, inner, count)
    for _ = 1, 500 do
      inner:step(0.02)
      if client:stats().done == count then return end
    end
    error "no answers"
  end

  -- One step, which has time for all of them: its clock stands still.
  local function step_through(client)
    local now = core.now
    core.now = function() return 0 end
    local ok, raised = pcall(getmetatable(client).__index.step, client, 0)
    core.now = now
    return ok, raised
  end

  for _, what in ipairs { "start", "purge", "cancel", "step", "close" } do
    it("raises nothing that another's on_done did: " .. what, function()
      local client, inner = clients.beneath()
      local log, third = {}, nil
      assert(client:start({ tags = { "a" } }, nil, function() error("the first's", 0) end))
      assert(client:start({ tags = { "b" } }, nil, function()
        local ok, raised = pcall(client[what] or third[what], client[what] and client or third, { tags = { "c" } })
        log[#log + 1] = ok or raised
        error("the second's", 0)
      end))
      if what == "step" then
        client.step = function() return getmetatable(client).__index.step(client, 0) end
      end
      answered(client, inner, 2)
      third = what == "cancel" and assert(client:start { tags = { "d" } })
      local ok, raised = step_through(client)
      assert.same({ true }, log, what)
      assert.is_false(ok)
      assert.equal("the first's\nthe second's", raised)
      while client:in_flight() > 0 do getmetatable(client).__index.step(client, 1) end
      client:close()
    end)
  end

  it("raises what the on_done of one that it ends did", function()
    local client, inner = clients.beneath()
    local log, slow = {}, nil
    assert(client:start({ tags = { "a" } }, nil, function() error("the first's", 0) end))
    assert(client:start({ tags = { "b" } }, nil, function()
      log = { pcall(slow.cancel, slow) }
    end))
    answered(client, inner, 2)
    slow = assert(client:start({ tags = { "slow" } }, nil, function() error("its own", 0) end))
    local ok, raised = step_through(client)
    assert.same({ false, "its own" }, log)
    assert.same({ false, "the first's" }, { ok, raised })
  end)

  it("that nothing can wait for is taken back whole", function()
    local loop = { wait = function() return false, "not here: use start" end, drive = function() end }
    local client, zone = clients.new { loop = loop }
    local given = lists.tags(1000)
    local params = { tags = lists.iterator(given), zone_id = zone }
    local result, err = client:purge(params)
    assert.same({ nil, "invalid_request", "not here: use start", 0, zone },
      { result, err.kind, err.message, err.accepted, err.remaining.zone_id })
    assert.same(lists.all(given), lists.all(err.remaining.tags))
    local list = { tags = lists.tags(250) }
    err = select(2, client:purge(list))
    assert.same(lists.all(list.tags), lists.all(err.remaining.tags))
    assert.same({ 0, 0 }, { client:in_flight(), edge.counts(zone).requests })
  end)

  it("says whether a cancel came in time", function()
    local zone, about = edge.zone()
    local client, inner = clients.beneath { zone_id = zone }
    local cancelled, second, seen
    local function cancel() cancelled = second:cancel() end
    local function on_done(result, err) seen = result and "accepted" or err.kind end
    assert(client:start({ tags = { "a" } }, nil, cancel))
    second = assert(client:start({ tags = { "b" } }, nil, on_done))
    answered(client, inner, 2)
    while client:in_flight() > 0 do client:step(0) end
    assert.same({ false, "accepted" }, { cancelled, seen })

    -- While its name is looked up, and the answer is there: then nothing is sent.
    client, inner = clients.beneath { zone_id = zone }
    edge.reset(zone)
    assert(client:start({ tags = { "a" }, zone_id = zone }, nil, cancel))
    second = assert(client:start({ tags = { "b" }, zone = about.name }, nil, on_done))
    answered(client, inner, 2)
    client:step(0)
    while client:in_flight() > 0 do client:step(1) end
    assert.same({ true, "cancelled", 1 }, { cancelled, seen, edge.counts(zone).items })
  end)
end)
