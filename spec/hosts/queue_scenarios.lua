-- The scenarios of the contract (contract.lua) for the queue, each run once for each kind of store that the host has.
-- One is as in scenarios.lua; t has besides: store (a target), queue (of `client` and `store`, its lease is 3 s),
-- new_queue(options?), now() (seconds), sleep(seconds) (as the host waits).
local checks = require "spec.hosts.checks"

local check, equal, tag, once, ended = checks.check, checks.equal, checks.tag, checks.once, checks.ended

-- The error is a table, which Lua 5.1's assert does not take.
local function must(value, err)
  return value or error(tostring(err), 2)
end

local function tags(count, prefix)
  local list = {}
  for i = 1, count do list[i] = prefix .. i end
  return { tags = list }
end

local function none_left(queue)
  local left = must(queue:drain { deadline = 9 })
  equal(0, left.waiting, "waiting")
  equal(0, left.failed, "failed")
end

local function all_of(status)
  return status.waiting + status.in_flight
end

local function slow(times)
  return { match = "slow", delay = 8, pass = true, times = times }
end

return {
  { "add waits until it is stored, drain until it is sent", {}, 1, function(t)
    local added = must(t.queue:add(tag("a", "b")))
    equal(2, added.added, "added")
    equal(1, must(t.queue:add(tag("b", "c"))).merged, "merged")
    equal(3, must(t.queue:status()).waiting, "waiting")
    none_left(t.queue)
    t.wait_until(function() return not t.queue:active() end)
  end },
  { "start returns at once, and on_done runs once", {}, 0, function(t)
    local seen = once()
    local request = must(t.queue:start(tag "a", nil, seen.on_done))
    equal(0, seen.calls, "calls within start")
    t.wait_until(ended { seen })
    equal(1, must(seen.result, seen.err).added, "added")
    equal(seen.result, (request:wait()), "what wait returns afterwards")
    t.sleep(0.02)
    equal(1, seen.calls, "calls")
    t.wait_until(function() return not t.queue:active() end)
  end },
  { "work is moved by the host's loop, and ends with rest, but for what is in flight", {
    { match = "slow", delay = 0.3, pass = true } }, 2, function(t)
    t.queue:work()
    must(t.queue:start(tag "a"))
    t.wait_until(function() return t.client:stats().started == 1 and t.client:in_flight() == 0 end)
    must(t.queue:start(tag "slow"))
    t.wait_until(function() return t.client:in_flight() == 1 end)
    t.queue:rest()
    equal(true, t.queue:active(), "active, with one in flight")
    local added = once()
    must(t.queue:start(tag "later", nil, added.on_done))
    t.wait_until(function() return ended { added }() and not t.queue:active() end)
    equal(2, t.client:stats().started, "sent")
    equal(1, all_of(must(t.queue:status())), "left")
  end },
  { "what another queue adds is found and sent", {}, 1, function(t)
    t.queue:work()
    local other = t.new_queue()
    equal(1, must(other:add(tag "a")).added, "added")
    t.wait_until(function() return t.client:stats().started == 1 and t.client:in_flight() == 0 end)
  end },
  { "adds of several tasks", {}, 1, function(t)
    local list = {}
    for i = 1, 8 do
      list[i] = once()
      t.spawn(function() list[i].on_done(t.queue:add(tag("n" .. i, "all"))) end)
    end
    t.wait_until(ended(list))
    local added = 0
    for _, seen in ipairs(list) do added = added + must(seen.result, seen.err).added end
    equal(9, added, "added")
    none_left(t.queue)
  end, spawn = true },
  { "close with work in flight loses nothing, and hands over at once", { slow(1) }, 2, function(t)
    must(t.queue:add(tag "slow"))
    t.queue:work()
    t.wait_until(function() return t.client:in_flight() == 1 end)
    t.sleep(0.2) -- it has arrived
    local seen, closing = once(), t.now()
    must(t.queue:start(tag "slow2", nil, seen.on_done))
    t.queue:close()
    local hurried = t.now() - closing >= 0.05 -- so long close waits for a store that is slow to hear of it
    equal(1, seen.calls, "calls of an add that was under way")
    check(seen.result or seen.err.kind == "closed", "%s", tostring(seen.err))
    t.queue:close()
    local value, err = t.queue:add(tag "a")
    check(not value and err.kind == "closed" and err.remaining, "an add after close: %s", tostring(err))
    local other, begun = t.new_queue(), t.now()
    -- What close has cut off may be stored all the same: Redis had it, and was too slow to say so.
    local left = all_of(must(other:status()))
    check(left == 2 or (left == 1 and not seen.result), "left: %d, stored: %s", left, tostring(seen.result ~= nil))
    none_left(other)
    check(hurried or t.now() - begun < 1.5, "waited %.1f s for a lease", t.now() - begun)
  end },
  { "close inside an on_done, with others waiting", {}, 0, function(t)
    local second = once()
    local first = once(function() t.queue:close() end)
    must(t.queue:start(tag "a", nil, first.on_done))
    must(t.queue:start(tag "b", nil, second.on_done))
    t.wait_until(ended { first, second })
    equal(1, first.calls + second.calls - 1, "calls")
    check(second.result or second.err.kind == "closed", "%s", tostring(second.err))
  end },
  { "close ends a drain that waits", { slow(1) }, nil, function(t)
    must(t.queue:add(tag "slow"))
    local seen = once()
    t.spawn(function() seen.on_done(t.queue:drain()) end)
    t.wait_until(function() return t.client:in_flight() == 1 end)
    t.sleep(0.05)
    t.queue:close()
    t.wait_until(ended { seen })
    equal("closed", seen.err and seen.err.kind, "kind")
  end, spawn = true },
  { "cancel ends a drain that waits, and what was added stays", { slow(1) }, nil, function(t)
    must(t.queue:add(tag "slow"))
    local seen = once()
    t.spawn(function() seen.on_done(t.queue:drain()) end)
    t.wait_until(function() return t.client:in_flight() == 1 end)
    t.sleep(0.05)
    equal(1, #t.queue:cancel(), "cancelled")
    t.wait_until(ended { seen })
    equal("cancelled", seen.err and seen.err.kind, "kind")
    equal(1, all_of(must(t.queue:status())), "left")
  end, spawn = true },
  { "an error of the store reaches who adds, with all that remains", {}, 0, function(t)
    -- A folder that is not there; a database that is not there.
    local target = t.store:find "^unix:" and t.store:gsub("db=%d+", "db=99999") or "/proc/none/queue.db"
    local queue, seen = t.new_queue { store = target }, once()
    local added, err = queue:add(tag("a", "b"))
    check(not added and err.kind == "store", "add: %s", tostring(err))
    equal(2, #err.remaining.tags, "remaining")
    must(queue:start(tag "a", nil, seen.on_done))
    t.wait_until(ended { seen })
    equal("store", seen.err and seen.err.kind, "kind")
    equal(1, #seen.err.remaining.tags, "remaining")
    queue:work() -- it tries, and raises nothing
    t.sleep(0.02)
  end },
  { "an error raised in an on_done", {}, 1, function(t)
    local first, second = once(function() error(t.marker, 0) end), once()
    must(t.queue:start(tag "a", nil, first.on_done))
    must(t.queue:start(tag "b", nil, second.on_done))
    t.wait_until(ended { first, second })
    equal(2, first.calls + second.calls, "calls")
    none_left(t.queue)
  end, raises = { "" } },
  -- It may wait there, or be told to use start; it must neither hang nor stop the others.
  { "add inside an on_done", {}, nil, function(t)
    local inner, later = once(), once()
    local outer = once(function() inner.on_done(t.queue:add(tag "b")) end)
    must(t.queue:start(tag "a", nil, outer.on_done))
    must(t.queue:start(tag "c", nil, later.on_done))
    t.wait_until(ended { inner, outer, later })
    local told = inner.err and inner.err.kind == "invalid_request" and inner.err.message:find "start"
    check(inner.result or told, "%s", tostring(inner.err))
    check(inner.result or inner.err.remaining.tags[1] == "b", "what remains")
  end },
  -- By the processor's time: the clock on the wall counts other processes too.
  { "the host goes on while much is added and sent", {}, nil, function(t)
    local longest, ticks, seen
    for try = 1, 5 do
      t.queue:work()
      longest, ticks, seen = 0, 0, once()
      must(t.queue:start(tags(3000, "t" .. try .. "-"), nil, seen.on_done))
      local last = os.clock()
      t.wait_until(function()
        local now = os.clock()
        longest, last, ticks = math.max(longest, now - last), now, ticks + 1
        return ended { seen }() and t.client:stats().started >= try * 30
      end)
      if longest < 0.02 then break end
    end
    equal(3000, must(seen.result, seen.err).added, "added")
    check(longest < 0.02 or t.waits, "held for %.1f ms of work", longest * 1000)
    check(ticks >= 10, "only %d ticks", ticks)
  end },
  { "used again after it was idle", {}, 2, function(t)
    for i = 1, 2 do
      equal(1, must(t.queue:add(tag("n" .. i))).added, "added")
      none_left(t.queue)
      t.wait_until(function() return not t.queue:active() end)
      t.sleep(0.02)
    end
  end },
}
