-- The scenarios of the contract (contract.lua), as plain Lua 5.1 without any library but cfpurge. One is: its name, the
-- edge's answers, how many requests the zone sees (nil: any number), function(t), where t has client, zone, marker
-- (what to raise), new(options), wait_until(fn), sleep(seconds), now(), polls, spawn(fn).
local checks = require "spec.hosts.checks"

local check, equal, tag, once, ended = checks.check, checks.equal, checks.tag, checks.once, checks.ended

local SLOW = { match = "slow", delay = 8, pass = true, times = 0 }

local function all_once(list, kind)
  for i, seen in ipairs(list) do
    equal(1, seen.calls, "on_done calls of " .. i)
    equal(kind, seen.err and seen.err.kind, "error kind of " .. i)
    check((seen.result == nil) ~= (seen.err == nil), "neither or both of result and error in %d", i)
  end
end

-- Tasks that end in a purge; `seen` of each is filled as by an on_done.
local function tasks(t, count, body)
  local list = {}
  for i = 1, count do
    local seen = once()
    list[i] = seen
    t.spawn(function()
      seen.on_done(body(i))
    end)
  end
  return list
end

local function rejected(code)
  return { status = 400, json = { success = false, errors = { { code = code, message = "refused" } }, messages = {} } }
end

return {
  { "a result", {}, 1, function(t)
    local result, err = t.client:purge(tag("a", "b"))
    check(result, "%s", tostring(err))
    equal(2, result.accepted, "accepted")
    equal(1, result.attempts, "attempts")
    equal(0, t.client:in_flight(), "in flight")
  end },
  { "an API error, whose remaining can be purged", { rejected(1012) }, 2, function(t)
    local result, err = t.client:purge(tag("a", "b"), { isolate = false })
    equal(nil, result, "result")
    equal("bad_request", err.kind, "kind")
    equal(1012, err.code, "code")
    local again = assert(t.client:purge(err.remaining))
    equal(2, again.accepted, "accepted")
  end },
  { "a retry at once", { { status = 503, headers = { ["Retry-After"] = "0" } } }, 2, function(t)
    equal(2, assert(t.client:purge(tag "a")).attempts, "attempts")
  end },
  { "a retry after a back-off", { { status = 503 } }, 2, function(t)
    local seen = once()
    assert(t.client:start(tag "a", nil, seen.on_done))
    t.wait_until(ended { seen })
    equal(2, assert(seen.result).attempts, "attempts")
  end },
  { "a timeout", { SLOW }, nil, function(t)
    local result, err = t.client:purge(tag "slow", { timeout = 0.1, max_retries = 0 })
    equal(nil, result, "result")
    equal("timeout", err.kind, "kind")
    local seen = once()
    assert(t.client:start(tag "slow", { timeout = 0.1, max_retries = 0 }, seen.on_done))
    t.wait_until(ended { seen })
    all_once({ seen }, "timeout")
  end },
  { "start returns at once, and on_done runs once", {}, 1, function(t)
    local seen = once()
    local request = assert(t.client:start(tag "a", nil, seen.on_done))
    equal(0, seen.calls, "calls within start")
    equal(false, request:done(), "done")
    equal(nil, (request:result()), "result")
    t.wait_until(ended { seen })
    all_once { seen }
    equal(true, request:done(), "done")
    equal(seen.result, (request:result()), "result")
    equal(seen.result, (request:wait()), "what wait returns afterwards")
    equal(false, request:cancel(), "cancel afterwards")
    equal(1, seen.calls, "calls in the end")
  end },
  { "start without an on_done, then wait", {}, 1, function(t)
    local request = assert(t.client:start(tag "a"))
    equal(1, assert(request:wait()).accepted, "accepted")
  end },
  { "waiting costs next to nothing, and others go on", { { delay = 0.5, pass = true } }, 1, function(t)
    local steps, step, turns, over = 0, t.client.step, 0, false
    function t.client:step(...)
      steps = steps + 1
      return step(self, ...)
    end
    t.spawn(function()
      while not over do
        t.sleep(0.01)
        turns = turns + 1
      end
    end)
    local begun, cpu = t.now(), os.clock()
    check(t.client:purge(tag "a"), "no result")
    cpu, over = os.clock() - cpu, true
    check(cpu < (t.now() - begun) / 2, "%.2f s of the processor", cpu)
    check(turns >= 3, "only %d turns of another task", turns)
    check(steps <= (t.polls and 700 or 40), "%d steps", steps)
  end, spawn = true },
  { "cancel from outside", { SLOW }, nil, function(t)
    local seen, other = once(), once()
    local request = assert(t.client:start(tag "slow", nil, seen.on_done))
    assert(t.client:start(tag "a", nil, other.on_done))
    equal(true, request:cancel(), "cancel")
    all_once({ seen }, "cancelled")
    equal(false, request:cancel(), "a second cancel")
    equal("cancelled", select(2, request:wait()).kind, "what wait returns")
    t.wait_until(ended { other })
    all_once { other }
    all_once({ seen }, "cancelled")
  end },
  { "cancel in the on_done of another", { SLOW }, nil, function(t)
    local slow = once()
    local request = assert(t.client:start(tag "slow", nil, slow.on_done))
    local other, itself
    local fast = once(function()
      other, itself = request:cancel(), t.own:cancel()
    end)
    t.own = assert(t.client:start(tag "a", nil, fast.on_done))
    t.wait_until(ended { slow, fast })
    equal(true, other, "cancel of the other")
    equal(false, itself, "cancel of itself, which has ended")
    all_once { fast }
    all_once({ slow }, "cancelled")
  end },
  { "cancel what a task waits for", { SLOW }, nil, function(t)
    local request = assert(t.client:start(tag "slow"))
    local list = tasks(t, 1, function()
      return request:wait()
    end)
    t.spawn(function()
      assert(t.client:purge(tag "a"))
      request:cancel()
    end)
    t.wait_until(ended(list))
    all_once(list, "cancelled")
  end, spawn = true },
  { "several tasks wait for the same request", { { delay = 0.1, pass = true } }, 1, function(t)
    local request = assert(t.client:start(tag "a"))
    local list = tasks(t, 3, function()
      return request:wait()
    end)
    t.wait_until(ended(list))
    all_once(list)
  end, spawn = true },
  { "close with purges in flight", { SLOW }, nil, function(t)
    local list = t.spawn and tasks(t, 2, function()
      return t.client:purge(tag "slow")
    end) or {}
    for _ = 1, 3 do
      list[#list + 1] = once()
      assert(t.client:start(tag "slow", nil, list[#list].on_done))
    end
    t.wait_until(function() return t.client:in_flight() == #list end)
    t.client:close()
    t.wait_until(ended(list))
    all_once(list, "closed")
    t.client:close()
    all_once(list, "closed")
    local result, err = t.client:purge(tag "a")
    equal(nil, result, "a purge after close")
    equal("closed", err.kind, "kind")
  end },
  { "close inside an on_done", { SLOW }, nil, function(t)
    local slow, late = once(), once()
    assert(t.client:start(tag "slow", nil, slow.on_done))
    local fast = once(function()
      t.client:close()
      late.result, late.err = t.client:start(tag "b", nil, late.on_done)
    end)
    assert(t.client:start(tag "a", nil, fast.on_done))
    t.wait_until(ended { fast, slow })
    all_once { fast }
    all_once({ slow }, "closed")
    equal(0, late.calls, "on_done calls of what could not be started")
    equal("closed", late.err and late.err.kind, "its kind")
  end },
  { "start inside an on_done", {}, 4, function(t)
    local list = {}
    local function go(n)
      list[n] = once(function()
        if n < 4 then go(n + 1) end
      end)
      assert(t.client:start(tag("n" .. n), nil, list[n].on_done))
    end
    go(1)
    t.wait_until(function() return list[4] and list[4].calls == 1 end)
    all_once(list)
  end },
  { "step inside an on_done", {}, 3, function(t)
    local second, third = once(), once()
    local first = once(function() t.client:step(0) end)
    for i, seen in ipairs { first, second, third } do
      assert(t.client:start(tag("n" .. i), nil, seen.on_done))
    end
    t.wait_until(ended { first, second, third })
    all_once { first, second, third }
  end },
  -- It may wait there, or be told to use start; it must neither hang nor stop the others.
  { "purge inside an on_done", { { match = "later", delay = 0.1, pass = true } }, nil, function(t)
    local inner, later = once(), once()
    local outer = once(function() inner.on_done(t.client:purge(tag "b")) end)
    assert(t.client:start(tag "later", nil, later.on_done))
    assert(t.client:start(tag "a", nil, outer.on_done))
    t.wait_until(ended { inner, later })
    local told = inner.err and inner.err.kind == "invalid_request" and inner.err.message:find "start"
    check(inner.result or told, "%s", tostring(inner.err))
    all_once { outer, later }
  end },
  { "an error raised in an on_done", {}, 4, function(t)
    local list = {}
    for i = 1, 3 do
      list[i] = once(i == 2 and function()
        error(t.marker, 0)
      end or nil)
      assert(t.client:start(tag("n" .. i), nil, list[i].on_done))
    end
    t.wait_until(ended(list))
    all_once(list)
    check(t.client:purge(tag "a"), "the client cannot be used any more")
  end, raises = { "" } },
  { "an error raised in an on_done wakes who waits for the request", { { delay = 0.1, pass = true } }, 1, function(t)
    local own = once(function()
      error(t.marker, 0)
    end)
    local seen = tasks(t, 1, function()
      return assert(t.client:start(tag "a", nil, own.on_done)):wait()
    end)
    t.wait_until(ended(seen))
    all_once { own, seen[1] }
    check(seen[1].result, "%s", tostring(seen[1].err))
  end, spawn = true, raises = { "" } },
  { "errors raised on cancel, on close and by two at once", { SLOW }, nil, function(t)
    local list = {}
    for i = 1, 5 do
      list[i] = once(function()
        error(t.marker .. i, 0)
      end)
      list[i].request = assert(t.client:start(tag(i < 4 and "slow" or "n" .. i), nil, list[i].on_done))
    end
    -- They reach the one who cancels or closes.
    local ok, raised = pcall(list[1].request.cancel, list[1].request)
    equal(false, ok, "cancel raised")
    equal(t.marker .. 1, raised, "what cancel raised")
    t.wait_until(ended { list[4], list[5] })
    ok, raised = pcall(t.client.close, t.client)
    equal(false, ok, "close raised")
    check(raised:find(t.marker .. 2, 1, true) and raised:find(t.marker .. 3, 1, true), "close raised %s", raised)
    all_once({ list[1] }, "cancelled")
    all_once({ list[2], list[3] }, "closed")
    all_once { list[4], list[5] }
  end, raises = { 4, 5 } },
  { "an error raised by a task after its purge", {}, 3, function(t)
    local seen = tasks(t, 2, function(i)
      return t.client:purge(tag("n" .. i))
    end)
    t.spawn(function()
      assert(t.client:purge(tag "a"))
      error(t.marker, 0)
    end)
    t.wait_until(ended(seen))
    t.wait_until(function() return t.client:in_flight() == 0 end)
    all_once(seen)
  end, spawn = true, raises = { "" } },
  { "32 at once by start", { { delay = 0.3, pass = true, times = 0 } }, 32, function(t)
    local list = {}
    for i = 1, 32 do
      list[i] = once()
      assert(t.client:start(tag("n" .. i), nil, list[i].on_done))
    end
    equal(32, t.client:in_flight(), "in flight")
    t.wait_until(ended(list))
    all_once(list)
    equal(0, t.client:in_flight(), "in flight afterwards")
  end },
  { "32 at once by purge", { { delay = 0.3, pass = true, times = 0 } }, 32, function(t)
    local most = 0
    local list = tasks(t, 32, function(i)
      return t.client:purge(tag("n" .. i))
    end)
    t.wait_until(function()
      most = math.max(most, t.client:in_flight())
      return ended(list)()
    end)
    all_once(list)
    equal(32, most, "in flight at once")
  end, spawn = true },
  { "purge and start mixed", { { match = "slow", delay = 0.5, pass = true } }, 4, function(t)
    local slow, fast = once(), once()
    assert(t.client:start(tag "slow", nil, slow.on_done))
    assert(t.client:start(tag "a", nil, fast.on_done))
    check(t.client:purge(tag "b"), "b")
    check(t.client:purge(tag "c"), "c")
    equal(0, slow.calls, "calls of the slow one")
    t.wait_until(ended { slow, fast })
    all_once { slow, fast }
  end },
  { "two clients, one closed under the other", { SLOW }, nil, function(t)
    local other, slow, fast = t.new(), once(), once()
    assert(other:start(tag "slow", nil, slow.on_done))
    assert(t.client:start(tag "a", nil, fast.on_done))
    t.wait_until(ended { fast })
    other:close()
    all_once { fast }
    all_once({ slow }, "closed")
    check(t.client:purge(tag "b"), "the other one suffers")
  end },
  { "drain waits for what is in flight", { { match = "slow", delay = 0.5, pass = true } }, 2, function(t)
    local slow, fast = once(), once()
    assert(t.client:start(tag "slow", nil, slow.on_done))
    assert(t.client:start(tag "a", nil, fast.on_done))
    equal(0, #assert(t.client:drain(8)), "cut off")
    all_once { slow, fast }
    equal(0, t.client:in_flight(), "in flight")
  end },
  { "drain cuts off what takes longer", { SLOW }, nil, function(t)
    local slow, fast = once(), once()
    assert(t.client:start(tag "slow", nil, slow.on_done))
    assert(t.client:start(tag "a", nil, fast.on_done))
    local cut_off = assert(t.client:drain(0.5))
    equal(1, #cut_off, "cut off")
    equal("slow", cut_off[1].remaining.tags[1], "what remains")
    all_once { fast }
    all_once({ slow }, "cancelled")
    equal(0, t.client:in_flight(), "in flight")
    check(t.client:purge(tag "b"), "the client cannot be used any more")
  end },
  { "a list whose iterator never comes back is ended by cancel, close and drain", {}, 0, function(t)
    for how, kind in pairs { cancel = "cancelled", close = "closed", drain = "cancelled" } do
      local client, seen = t.new(), once()
      local thread = coroutine.create(function()
        client:start({ tags = function() coroutine.yield() end }, nil, seen.on_done)
      end)
      assert(coroutine.resume(thread))
      equal(0, seen.calls, "calls before " .. how)
      client[how](client, how == "drain" and 0.1 or nil)
      all_once({ seen }, kind)
    end
  end },
  { "used again after it was idle", {}, 3, function(t)
    for i = 1, 3 do
      local seen = once()
      assert(t.client:start(tag("n" .. i), nil, seen.on_done))
      t.wait_until(ended { seen })
      all_once { seen }
      equal(0, t.client:in_flight(), "in flight")
    end
  end },
}
