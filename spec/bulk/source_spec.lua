-- A table of any length holds its host for a moment only: it is checked and made distinct as it is sent. Counted in items
-- that are checked between two steps, not in seconds: lua/cfpurge/bulk/source and job.
local clients = require "spec.support.client"
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local lists = require "spec.support.lists"
local sources = require "cfpurge.bulk.source"

local system = host.system()
local tags, sent = lists.tags, lists.sent

-- A client, its zone, and what its Lua layer asks of the core: how often, and with what at last.
local function counted()
  local counts, calls = {}, {}
  local client, _, zone = clients.beneath({ max_retries = 0 }, function(real)
    return setmetatable({}, { __index = function(_, name)
      return function(_, ...)
        counts[name] = (counts[name] or 0) + 1
        calls[name] = { ... }
        return real[name](real, ...)
      end
    end })
  end)
  return client, zone, counts, calls
end

describe("a long table", function()
  teardown(clients.close)

  local client, zone, counts, calls
  before_each(function()
    client, zone, counts, calls = counted()
  end)

  -- Until it has ended, as a host that trusts the descriptor; at most `most` items are checked at a time.
  local function finish(request, most)
    local longest, before = counts.add, counts.add
    while not request:done() do
      if client:timeout() ~= 0 then assert.is_true(system.poll(client:fileno(), 20), "the descriptor is silent") end
      client:step(0)
      longest, before = math.max(longest, counts.add - before), counts.add
    end
    assert.is_true(longest <= most, longest)
    return request:result()
  end

  it("is checked in slices, and equal items far apart are sent once", function()
    local list = tags(9000)
    for i = 1, 500 do list[9000 + i] = "T" .. i end
    local request = assert(client:start({ tags = list }, { max_in_flight = 64 }))
    assert.equal(sources.TURN, counts.add)
    assert.equal(0, client:timeout())
    local result = assert(finish(request, 64 * 100 + sources.TURN))
    assert.same({ 9500, 90, 9000 }, { result.accepted, result.requests, edge.counts(zone).items })
    assert.equal(9500, counts.add)
  end)

  it("of equal items is read in turns, though nothing is in flight", function()
    local list = {}
    for i = 1, 5000 do list[i] = "same" end
    local request = assert(client:start { tags = list })
    local result = assert(finish(request, sources.TURN))
    assert.same({ 5000, { "same" } }, { result.accepted, (sent(zone)) })
  end)

  it("fails for its wrong items alone, each by its place", function()
    local list = tags(3000)
    list[2000], list[2100], list[2200] = "a b", 5, "T1"
    local result, err = client:purge { tags = list }
    assert.is_nil(result)
    assert.same({ "partial", 2998, { "a b", 5 } }, { err.kind, err.accepted, err.remaining.tags })
    assert.same({ "tags[2000]", "tags[2100]" }, { err.failures[1].error.field, err.failures[2].error.field })
    assert.matches("^tags%[2000%]: must be printable", err.failures[1].error.message)
    assert.matches("^tags%[2100%]: string expected, got number", err.failures[2].error.message)
    assert.equal(2997, edge.counts(zone).items)
    edge.reset(zone)
    list[900] = "a b"
    err = select(2, client:purge { tags = list })
    assert.same({ "tags[900]", 0, list, 0 }, { err.field, err.accepted, err.remaining.tags, edge.counts(zone).requests })
  end)

  it("that is no list ends when that is found, and all that was not accepted remains", function()
    for field, spoil in pairs {
      ["tags[4001]"] = function(list) list[4001] = nil end,
      tags = function(list) list.name = "x" end,
    } do
      edge.reset(zone)
      local list = tags(8000)
      spoil(list)
      local _, err = client:purge({ tags = list }, { max_in_flight = 1 })
      assert.same({ "partial", "invalid_request", "tags" },
        { err.kind, err.failures[#err.failures].error.kind, err.field:match "^%l+" }, field)
      local remaining, expected = lists.all(err.remaining.tags), {}
      assert.equal(edge.counts(zone).items, err.accepted)
      for i = err.accepted + 1, 8000 do
        if list[i] then expected[#expected + 1] = list[i] end
      end
      assert.same(lists.all(expected), remaining)
    end
  end)

  it("remains as an iterator where it is very long, and is sent to its end by it", function()
    local list = tags(12000)
    client, zone = clients.new { max_retries = 0 }
    edge.script(zone, { { times = 2, pass = true }, { status = 401, body = "{}", times = 1 } })
    local _, err = client:purge({ tags = list }, { max_in_flight = 1 })
    assert.same({ "partial", 200, "function" }, { err.kind, err.accepted, type(err.remaining.tags) })
    assert.equal(11800, assert(client:purge(err.remaining)).accepted)
    local items = sent(zone)
    assert.equal(12100, #items)
  end)

  it("says to the core that its requests are parts, and a single one that it is none", function()
    assert(client:start { tags = { "a" } })
    assert.is_nil(calls.start[4])
    assert(client:start { tags = tags(200) })
    assert.is_true(calls.start[4])
    client:close()
  end)
end)

describe("a list that meets a full queue", function()
  teardown(clients.close)

  it("waits with its chunk, and goes on when one of its parts has ended", function()
    local client, zone = clients.new { max_queued = 2 }
    assert.equal(1500, assert(client:purge { tags = tags(1500) }).accepted)
    assert.equal(1500, edge.counts(zone).items)
  end)

  it("is in the error's remaining where none of it is in flight", function()
    local client, zone = clients.new { max_queued = 1 }
    edge.script(zone, { { delay = 0.2, pass = true } })
    local first = assert(client:start { tags = { "a" } })
    local request, err = client:start { tags = { "b" } }
    assert.same({ nil, "queue_full", true, { "b" }, 1 },
      { request, err.kind, err.retryable, err.remaining.tags, client:in_flight() })
    err = select(2, client:purge { tags = tags(250) })
    assert.same({ "queue_full", true, 0, tags(250) }, { err.kind, err.retryable, err.accepted, err.remaining.tags })
    assert.is_true(first:done() or assert(first:wait()).accepted == 1)
    assert.equal(1, edge.counts(zone).items)
  end)
end)

describe("what remains of an iterator", function()
  teardown(clients.close)

  it("given to purge again and again stays one function", function()
    local client, zone = clients.new { max_retries = 0 }
    local params = { tags = lists.iterator(tags(3000)) }
    local made, accepted = nil, 0
    edge.script(zone, { { status = 401, body = "{}", times = 25 } })
    for _ = 1, 25 do
      local _, err = client:purge(params, { max_in_flight = 1 })
      accepted = accepted + err.accepted
      made = made or err.remaining.tags
      assert.equal(made, err.remaining.tags)
      params = err.remaining
    end
    assert.equal(3000, accepted + assert(client:purge(params)).accepted)
    assert.equal(3000, edge.counts(zone).items)
  end)
end)
