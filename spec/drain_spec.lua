-- client:drain: waits for what is in flight, then cancels the rest. lua/cfpurge/drain.
local clients = require "spec.support.client"
local core = require "cfpurge.core"
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local lists = require "spec.support.lists"

describe("drain", function()
  teardown(clients.close)

  local function timed(client, ...)
    local before, cpu = core.now(), os.clock()
    local cancelled, err = client:drain(...)
    if not host.watched then assert.is_true(os.clock() - cpu < 0.3) end
    return cancelled, err, core.now() - before
  end

  it("says why where nobody can wait, and all goes on", function()
    local client, zone = clients.new { loop = { drive = function() end, wait = function() return false, "not here" end } }
    local told = 0
    assert(client:start({ tags = { "a" } }, nil, function(result) told = told + result.accepted end))
    for _ = 1, 2 do
      local cancelled, err = client:drain(20)
      assert.same({ nil, "invalid_request", "not here" }, { cancelled, err.kind, err.message })
    end
    while client:in_flight() > 0 do client:step(1) end
    assert.same({ 1, 1 }, { told, edge.counts(zone).items })
    assert.same({}, client:drain(0))
  end)

  it("waits for all that is in flight, lists too", function()
    local client, zone = clients.new()
    edge.script(zone, { { delay = 0.1, times = 0, pass = true } })
    local told = 0
    for i = 1, 3 do assert(client:start({ tags = { "t" .. i } }, nil, function(result) told = told + result.accepted end)) end
    assert(client:start({ tags = lists.iterator(lists.tags(1500)) }, nil, function(result) told = told + result.accepted end))
    local cancelled, err, took = timed(client, 20)
    assert.same({ {} }, { cancelled, err })
    assert.is_true(took < 15)
    assert.same({ 1503, 1503, 0 }, { told, edge.counts(zone).items, client:in_flight() })
    assert.same({ {} }, { client:drain(0) })
  end)

  it("cancels the rest when the time is up, and tells what it was", function()
    local client, zone = clients.new()
    edge.script(zone, { { match = '"slow', delay = 30, pass = true, times = 0 } })
    local kinds, list = {}, lists.tags(250)
    local function on_done(_, err)
      kinds[#kinds + 1] = err and err.kind or "accepted"
      -- What it begins now would be in flight afterwards.
      if err then
        local again, problem = client:start { tags = { "again" } }
        assert.is_nil(again)
        assert.equal("invalid_request", problem.kind)
      end
    end
    assert(client:start({ tags = { "a" } }, nil, on_done))
    assert(client:start({ tags = { "slow" } }, nil, on_done))
    list[150] = "slow"
    assert(client:start({ tags = list }, nil, on_done))
    while edge.counts(zone).items < 151 do client:step(0.01) end
    local cancelled, _, took = timed(client, 0.5)
    assert.is_true(took >= 0.5 and took < 5, took)
    table.sort(kinds)
    assert.same({ "accepted", "cancelled", "cancelled" }, kinds)
    assert.equal(2, #cancelled)
    assert.equal(101, #cancelled[1].remaining.tags + #cancelled[2].remaining.tags)
    assert.same({ 0, false }, { client:in_flight(), client:active() })
    assert(client:purge { tags = { "b" } })
  end)

  it("cuts off a list whose iterator does not come back", function()
    local client = clients.new { exit_grace = 0.3 }
    local calls = 0
    assert(client:start({ tags = function()
      calls = calls + 1
      if calls > 3 then coroutine.yield() end
      return "t" .. calls
    end }))
    local cancelled, _, took = timed(client)
    assert.is_true(took >= 0.3 and took < 3, took)
    assert.same({ 1, "cancelled", "t1" }, { #cancelled, cancelled[1].kind, cancelled[1].remaining.tags() })
  end)

  it("refuses what is no time", function()
    local client = clients.new()
    assert.has_error(function() client:drain "1" end, "bad argument #1 to 'drain' (seconds: number expected, got string)")
    for _, wrong in ipairs { -1, 0 / 0 } do
      local cancelled, err = client:drain(wrong)
      assert.same({ nil, "invalid_request", "seconds" }, { cancelled, err.kind, err.field })
    end
  end)
end)
