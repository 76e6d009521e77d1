-- A client's requests in flight: start, step, take, cancel and close in any order, and exactly one ending for each.
local elsewhere = require "spec.support.where"
if elsewhere "engine" then return end

local edge = require "spec.support.edge"
local client = require "spec.support.client"
local host = require "spec.support.host"
local core = require "cfpurge.core"

local env = edge.up()
local tags = { tags = { "a" } }
local kind_of, logbook, run = client.kind_of, client.logbook, client.run
local endings = { cancelled = true, closed = true, accepted = true, server = true }

-- A client whose zone answers late until `release(zone)`: what is started stays in flight.
local function slow_client(options, delay)
  local c, zone = client.new(options)
  edge.script(zone, { { times = 0, delay = delay or 20, pass = true } })
  return c, zone
end

describe("a request", function()
  it("is begun by start, moved by step and ends once", function()
    local c, zone = client.new()
    local log, note = logbook()
    local request = assert(c:start(tags, nil, note "a"))
    assert.is_false(request:done())
    assert.is_nil(request:result())
    assert.same({}, log.a)
    assert.equal(1, c:stats().in_flight)
    run(c)
    assert.is_true(request:done())
    assert.equal(1, request:result().accepted)
    assert.same({ "accepted" }, log.a)
    assert.is_false(request:cancel())
    assert.equal(0, c:step(0))
    c:close()
    assert.same({ "accepted" }, log.a)
    assert.equal(1, #edge.requests(zone))
  end)

  it("that is refused never reaches on_done", function()
    local c = client.new()
    local log, note = logbook()
    local request, err = c:start({ tags = {} }, nil, note "a")
    assert.is_nil(request)
    assert.equal("invalid_request", err.kind)
    assert.equal(0, c:step(0))
    c:close()
    assert.same({}, log.a)
    request, err = c:start(tags, nil, note "b")
    assert.is_nil(request)
    assert.equal("closed", err.kind)
    assert.same({}, log.b)
  end)

  it("is ended by cancel before it returns, with what was not accepted", function()
    local c = slow_client()
    local log, note = logbook()
    local one, two = c:start(tags, nil, note "one"), c:start({ tags = { "b" } }, nil, note "two")
    c:step(0)
    assert.is_true(one:cancel())
    assert.same({ "cancelled" }, log.one)
    assert.same({}, log.two)
    local result, err = one:result()
    assert.is_nil(result)
    assert.equal("cancelled", err.kind)
    assert.same({ "a" }, err.remaining.tags)
    assert.is_false(err.retryable)
    assert.is_false(one:cancel())
    assert.is_true(two:cancel())
    assert.equal(0, c:step())
    assert.same({ one = { "cancelled" }, two = { "cancelled" } }, log)
    -- It may be cancelled while it waits to be tried again.
    local again, zone = client.new()
    edge.script(zone, { { status = 503, headers = { ["Retry-After"] = "50" } } })
    local three = again:start(tags, nil, note "three")
    while again:stats().waiting == 0 do again:step(10) end
    assert.is_true(three:cancel())
    assert.same({ "cancelled" }, log.three)
    assert.equal(0, again:step())
    again:close()
    c:close()
  end)

  it("is ended by close, which may come twice", function()
    local c = slow_client()
    local log, note = logbook()
    for _, name in ipairs { "a", "b", "c" } do c:start(tags, nil, note(name)) end
    c:step(0)
    c:close()
    c:close()
    assert.same({ a = { "closed" }, b = { "closed" }, c = { "closed" } }, log)
    assert.equal(0, c:step())
    assert.is_nil(c:fileno())
    assert.is_nil(c:timeout())
    assert.equal(0, c:stats().in_flight)
    assert.equal("closed", select(2, c:purge(tags)).kind)
    assert.is_truthy(tostring(c):find "closed")
  end)

  it("is ended by the collection of its client", function()
    local log, note = logbook()
    do
      local c = slow_client()
      for _, name in ipairs { "a", "b" } do c:start(tags, nil, note(name)) end
      c:step(0)
    end
    for _ = 1, 4 do collectgarbage() end
    assert.same({ a = { "closed" }, b = { "closed" } }, log)
    -- And where nobody but the request knows the client, it is kept.
    local request = (function() return (client.new()):start(tags, nil, note "kept") end)()
    for _ = 1, 4 do collectgarbage() end
    assert.same({}, log.kept)
    assert.equal(1, request:wait().accepted)
    assert.same({ "accepted" }, log.kept)
  end)

  it("is ended by the end of the state", function()
    local out = select(2, host.run([[
      local c, zone = client.new()
      edge.script(zone, { { times = 0, delay = 20, pass = true } })
      kept, raw = c, require("cfpurge.core").new((client.options()))
      raw:start { tags = { "raw" } }
      for i = 1, 3 do
        c:start({ tags = { "a" } }, nil, function(_, err) io.write("<", i, err.kind, ">") io.flush() end)
      end
      c:step(0)]]))
    for i = 1, 3 do
      local _, times = out:gsub("<" .. i .. "closed>", "")
      assert.equal(1, times)
    end
  end)
end)

describe("operations in any order", function()
  -- A generator of our own: the same sequence on every Lua.
  local function dice(seed)
    return function(n)
      seed = (seed * 16807) % 2147483647
      return seed % n + 1
    end
  end

  for seed = 1, 6 do
    it("end every request once, by the client's methods, seed " .. seed, function()
      local roll = dice(seed * 7919)
      local c, zone = client.new(seed % 2 == 0 and { base_url = env.API_TLS, ca_file = env.CA_FILE } or {})
      edge.script(zone, { { match = '"slow"', times = 0, delay = 20, pass = true },
        { match = '"again"', times = 20, status = 503, headers = { ["Retry-After"] = "0" } } })
      local log, note = logbook()
      local requests, closed, n = {}, false, 0
      for i = 1, 150 do
        local what = roll(12)
        if what <= 6 then
          n = n + 1
          local request, err = c:start({ tags = { ({ "quick", "slow", "again" })[roll(3)] } }, nil, note(n, roll(4) == 1
            and function() if requests[roll(n)] then requests[roll(n)]:cancel() end end or nil))
          assert.equal(closed, request == nil)
          if request then requests[#requests + 1] = request else assert.equal("closed", err.kind) end
          if closed then log[n] = nil end
        elseif what <= 8 then
          c:step(0)
        elseif what == 9 then
          c:step(0.005)
        elseif what <= 11 then
          if #requests > 0 then requests[roll(#requests)]:cancel() end
        elseif i > 120 then
          closed = true
          c:close()
        end
        for _, kinds in pairs(log) do assert.is_true(#kinds <= 1) end
      end
      c:close()
      for number, request in ipairs(requests) do
        assert.is_true(request:done())
        assert.is_truthy(endings[kind_of(request:result())], kind_of(request:result()))
        assert.same({ kind_of(request:result()) }, log[number])
      end
      assert.equal(#requests, c:stats().started)
      assert.equal(#requests, c:stats().finished)
    end)

    it("end every request once, by the core's functions, seed " .. seed, function()
      local roll = dice(seed * 104729)
      local options, zone = client.options()
      local c = core.new(options)
      edge.script(zone, { { match = '"slow"', times = 0, delay = 20, pass = true } })
      local open, ended, started = {}, {}, 0
      local function took(id, result, err)
        if not id then return false end
        assert.is_true(open[id])
        open[id], ended[id] = nil, kind_of(result, err)
        assert.is_truthy(endings[ended[id]])
        return true
      end
      for _ = 1, 150 do
        local what = roll(10)
        if what <= 4 then
          local id = assert(c:start { tags = { roll(2) == 1 and "slow" or "quick" } })
          assert.is_nil(open[id] or ended[id])
          open[id], started = true, started + 1
        elseif what <= 6 then
          c:step(roll(2) == 1 and 0 or 0.005)
        elseif what == 7 then
          took(c:take())
        elseif what == 8 then
          took(c:take(roll(started + 1)))
        elseif what == 9 then
          c:cancel(roll(started + 1))
        else
          assert.is_true(c:timeout() == nil or c:timeout() >= 0)
        end
      end
      c:close()
      while took(c:take()) do end
      assert.is_nil(next(open))
      c:close()
      assert.is_nil(c:take())
    end)
  end
end)

describe("on_done", function()
  it("may start, purge, step, cancel and close", function()
    local c = client.new()
    local log, note = logbook()
    c:start(tags, nil, note("a", function()
      c:start(tags, nil, note("b", function()
        assert(c:purge(tags))
        c:step(0)
        local slow = slow_client({ zone_id = (edge.zone()) })
        local other = slow:start(tags, nil, note "other")
        other:cancel()
        c:start(tags, nil, note "last")
        c:close()
        slow:close()
        assert.is_nil(c:start(tags, nil, note "never"))
      end))
    end))
    run(c)
    assert.same({ a = { "accepted" }, b = { "accepted" }, other = { "cancelled" }, last = { "closed" }, never = {} },
      log)
  end)

  it("may raise: the error comes out of step, and nobody else loses anything", function()
    local c, zone = client.new()
    local log, note = logbook()
    local boom = setmetatable({}, { __tostring = function() return "boom" end })
    for i = 1, 6 do
      c:start({ tags = { "t" .. i } }, nil, note(i, i % 2 == 0 and function() error(boom, 0) end or nil))
    end
    -- One comes as it is, several at once as a text that has them all.
    local booms = 0
    repeat
      local ok, err = pcall(c.step, c, 10)
      if not ok then
        assert.is_true(err == boom or tostring(err):find "^boom\nboom" ~= nil)
        booms = booms + select(2, tostring(err):gsub("boom", ""))
      end
    until ok and err == 0
    assert.is_true(booms >= 1 and booms <= 3)
    for i = 1, 6 do assert.same({ "accepted" }, log[i]) end
    assert(c:purge(tags))
    -- Out of cancel and close as well.
    edge.script(zone, { { times = 0, delay = 20, pass = true } })
    local one = c:start(tags, nil, note("one", function() error(boom, 0) end))
    c:start(tags, nil, note("two", function() error(boom, 0) end))
    c:start(tags, nil, note "three")
    assert.equal(boom, select(2, pcall(one.cancel, one)))
    assert.equal(boom, select(2, pcall(c.close, c)))
    assert.same({ { "cancelled" }, { "closed" }, { "closed" } }, { log.one, log.two, log.three })
  end)
end)

describe("many at once", function()
  for name, options in pairs {
    ["over HTTP/2"] = { base_url = env.API_TLS, ca_file = env.CA_FILE },
    ["over TLS and HTTP/1.1"] = { base_url = env.API_TLS1, ca_file = env.CA_FILE },
    ["in clear text"] = {},
  } do
    it("all end, each with its own answer, " .. name, function()
      local c, zone = client.new(options)
      local answers = {}
      for i = 1, 100 do
        answers[i] = { match = ('"t%d"'):format(i), delay = i % 7 * 0.01,
          json = { success = true, result = { id = "r" .. i } } }
      end
      edge.script(zone, answers)
      local requests = {}
      for i = 1, 100 do requests[i] = assert(c:start { tags = { "t" .. i } }) end
      assert.equal(100, c:stats().in_flight)
      run(c)
      for i, request in ipairs(requests) do assert.equal("r" .. i, assert(request:result()).id) end
      assert.equal(100, edge.counts(zone).requests)
      local stats = c:stats()
      assert.same({ 100, 100, 100, 0, 0 },
        { stats.started, stats.finished, stats.attempts, stats.retries, stats.in_flight })
      assert.is_true(stats.connections >= 1 and stats.connections <= 100)
      assert.is_true(stats.bytes_sent > 100 and stats.bytes_received > 100)
      c:close()
    end)
  end

  it("end by two clients of one state, and neither disturbs the other", function()
    local a, zone_a = client.new()
    local b, zone_b = client.new { base_url = env.API_TLS, ca_file = env.CA_FILE }
    local log, note = logbook()
    for i = 1, 20 do
      a:start({ tags = { "a" .. i } }, nil, note("a" .. i))
      b:start({ tags = { "b" .. i } }, nil, note("b" .. i))
    end
    repeat until a:step(0.01) + b:step(0.01) == 0
    for _, kinds in pairs(log) do assert.same({ "accepted" }, kinds) end
    for zone, letter in pairs { [zone_a] = "a", [zone_b] = "b" } do
      assert.equal(20, #edge.requests(zone))
      for _, request in ipairs(edge.requests(zone)) do assert.is_truthy(request.body:find('"' .. letter, 1, true)) end
    end
    a:close()
    assert(b:purge(tags))
    b:close()
  end)
end)
