--- How a request ends: what has ended is kept, its on_done runs once, who waits is woken, what they raise is raised.
--
-- A `state` is what a client is inside; all modules below the public methods are given it. `requests` holds each
-- request by the core's id until it is told of, and `count` says how many these are. `untold` is a chain of requests
-- that have ended and are to be told of: it is empty but while they are told, or where memory was too short for that,
-- and then the next step goes on. `later` is a chain of jobs that have more to do than one step should. `jobs` has the
-- requests that have a job: cancel and close find them where the core has nothing of them. Nothing is made between the
-- core's telling and the chain: an ending finds its room where memory is short.
local core = require "cfpurge.core"
local loops = require "cfpurge.loop"
local tables = require "cfpurge.tables"

-- How long one step tells of endings, in seconds; the rest is the next one's.
local SLICE = 0.002

local M = {}

---@return table state
function M.new(handle, loop)
  return {
    core = handle, loop = loop, open = true, client = nil,
    requests = {}, count = 0, jobs = {}, drains = false, is_cancelling = false, driven = {},
    failures = {}, raised = false, untold = false, later = false,
    behind = false, teller = false, busy = false, is_collected = false,
    zone = nil, zone_id = nil, zone_ids = {}, environment_ids = {}, plans = nil, plan_names = {}, plan_waiters = {},
    -- How many items a request may hold, by kind, as the server has taught.
    sizes = {},
  }
end

---@return integer requests
function M.in_flight(state)
  return (state.untold or (state.later and state.count == 0)) and state.count + 1 or state.count
end

--- Notes what the core has started for `request`.
function M.register(state, request, id)
  request.id = id
  state.requests[id] = request
  state.count = state.count + 1
end

--- Drops a request of the core without a report.
function M.forget(state, request)
  if state.requests[request.id] then
    state.requests[request.id] = nil
    state.count = state.count - 1
    state.core:cancel(request.id)
    state.core:take(request.id)
  end
end

-- The error of a callback waits until all that ended has been reported.
local function keep_failure(state, raised)
  state.failures[#state.failures + 1] = { raised }
end

--- Calls a callback of the user; an error in it breaks nothing here.
function M.call(state, callback, ...)
  local ok, raised = pcall(callback, ...)
  loops.hold()
  if not ok then
    keep_failure(state, raised)
  end
end

local function add_untold(state, request, value, failure)
  request.value, request.failure = value or false, failure or false
  request.next, state.untold = state.untold, request
end

-- Lua takes memory for a call that is deeper than all before it. It is taken here, where nothing is lost by it: an
-- on_done that could not even be called would not be called again.
local function nothing() end
local function deepen()
  nothing()
end

-- Takes it off the chain, and runs what is to run once; `handle` can go on where it was cut off, and returns true where
-- the request goes on too.
local function tell(state, request)
  state.untold = request.next
  local handle = request.handle
  if handle then
    if handle(request, request.value or nil, request.failure or nil) then
      return
    end
    request.handle = false
  end
  local on_failure = request.failure and request.on_failure
  if on_failure then
    request.on_failure = false
    on_failure(request.failure)
  end
  request.ended = true
  local on_done = request.on_done
  if on_done then
    deepen()
    request.on_done = false
    on_done(request.value or nil, request.failure or nil)
  end
end

local function wake_all(state, request)
  for _, waiter in ipairs(request.waiters) do
    local wake = rawget(waiter, "wake")
    if wake then
      waiter.wake = false
      M.call(state, wake)
    end
  end
end

-- Is this called by something that is told of an ending? A coroutine that waits in its on_done, or will never come back
-- (ngx.exit), tells nobody anything.
local function is_within(state)
  local teller = state.teller
  local status = type(teller) == "thread" and coroutine.status(teller)
  return teller == true or status == "running" or status == "normal"
end

local function report(state)
  local before = state.teller
  state.teller = coroutine.running() or true
  while state.untold do
    local request = state.untold
    local ok, raised = pcall(tell, state, request)
    loops.hold()
    if not ok and request.ended and request.on_done == false then
      -- Where there is no memory to keep it until the others have been told, it is raised at once.
      ok = pcall(keep_failure, state, raised)
    end
    if ok and request.ended and request.waiters then
      ok, raised = pcall(wake_all, state, request)
    end
    if not ok then
      state.teller = before
      if state.untold ~= request then
        request.next, state.untold = state.untold, request
      end
      error(raised, 0)
    end
  end
  state.teller = before
end

--- Ends a request and reports it, once.
function M.complete(state, request, value, failure)
  if not request.ended then
    if not request.is_part then
      request.ended, request.handle = true, false
    end
    state.jobs[request] = nil
    add_untold(state, request, value, failure)
    report(state)
  end
end

--- Tells of one request that has ended, the core's `id` or any. False: there was none.
function M.take(state, id)
  local got, value, failure = state.core:take(id)
  local request = got and state.requests[got]
  if request then
    state.requests[got] = nil
    state.count = state.count - 1
    add_untold(state, request, value, failure)
    report(state)
  end
  return got
end

--- Ends a request of the core as cancelled, or as what its answer says where that is there, and tells of it. With
--- `is_unsent` one that is under way is left alone.
function M.cancel(state, request, is_unsent)
  if state.requests[request.id] and (state.core:cancel(request.id, is_unsent) or not is_unsent) then
    M.take(state, request.id)
  end
end

--- The same with each key of `parts`, from which they may go meanwhile.
function M.cancel_all(state, parts, is_unsent)
  local list = {}
  for part in tables.entries(parts) do
    list[#list + 1] = part
  end
  for _, part in ipairs(list) do
    M.cancel(state, part, is_unsent)
  end
end

--- Ends all requests, those of a job with `err` where it is given, and returns them.
---@return table requests
function M.end_all(state, err)
  local all, parts = {}, {}
  for request in tables.entries(state.jobs) do
    all[#all + 1] = request
    for part in tables.entries(request.job.parts) do
      parts[part] = true
      for of_part in tables.entries(part.job and part.job.parts or {}) do
        parts[of_part] = true
      end
    end
  end
  for _, request in tables.entries(state.requests) do
    if not (parts[request] or request.is_kept) then
      all[#all + 1] = request
    end
  end
  for _, request in ipairs(all) do
    if state.jobs[request] then
      request.job:cancel(err)
    else
      M.cancel(state, request)
    end
  end
  return all
end

--- The next step goes on with `job`, and is asked for. Makes nothing.
function M.put_off(state, job)
  if not job.is_put_off then
    job.is_put_off, job.next_put_off = true, false
    if state.later then
      state.last_put_off.next_put_off = job
    else
      state.later = job
    end
    state.last_put_off = job
    state.core:wake()
  end
end

--- Calls a callback of the user, which may never come back (ngx.exit): then the next step goes on with `job`.
function M.call_for(state, job, callback, ...)
  local is_first = not job.is_put_off
  if is_first then
    job.is_put_off, job.next_put_off = true, state.later
    state.last_put_off = state.later and state.last_put_off or job
    state.later = job
  end
  M.call(state, callback, ...)
  if is_first and state.later == job then
    state.later = job.next_put_off
    job.is_put_off, job.next_put_off = false, false
  end
end

-- Those that are there now. One that raises, or whose iterator never comes back, keeps no other from its turn.
local function go_on_with_jobs(state)
  local last = state.last_put_off
  repeat
    local job = state.later
    state.later = job.next_put_off
    job.is_put_off, job.next_put_off = false, false
    local ok, raised = pcall(job.go_on, job)
    if not ok then
      M.put_off(state, job)
      error(raised, 0)
    end
  until job == last or not state.later
end

--- Raises what callbacks have raised: as it is, or where there are several, as their texts. A caller that is itself an
--- on_done hears only of those that came after the first `before`: the others are not its doing, and the report around
--- it raises them.
function M.raise_failures(state, before)
  local failures, first = state.failures, is_within(state) and before + 1 or 1
  local failure = failures[first]
  if failure then
    local texts = {}
    for i = first, #failures do
      texts[#texts + 1] = tostring(failures[i][1])
    end
    for i = #failures, first, -1 do
      failures[i] = nil
    end
    state.raised = texts[2] and table.concat(texts, "\n") or failure[1]
    error(state.raised, 0)
  end
end

--- After anything has ended: tells the loops, and raises the errors of callbacks.
function M.finish(state, before)
  if state.drains then
    state.check_drains(state)
  end
  if state.count == 0 then
    loops.undrive(state)
  end
  if state.failures[1] then
    M.raise_failures(state, before)
  end
end

--- Tells of the requests that have ended, `ended` at most, for some `seconds`, or as long as a step should; goes on
--- with what was put off.
function M.settle(state, ended, seconds)
  local before = #state.failures
  state.behind = false
  if state.untold then
    report(state)
  end
  if state.later then
    go_on_with_jobs(state)
  end
  local ends = ended > 1 and core.now() + (seconds or SLICE)
  for i = 1, ended do
    if not M.take(state) then
      break
    elseif i < ended and core.now() >= ends then
      state.behind = true
      break
    end
  end
  M.finish(state, before)
end

--- Moves everything forward, and tells of what has ended. Within an on_done, and where an earlier step has left some,
--- it waits for nothing before these are told of.
---@param timeout? number seconds
---@param is_waiting? boolean until something has ended: all that happens before is the core's business
function M.step(state, timeout, is_waiting)
  local _, ended
  if state.untold or state.later or state.behind or (is_within(state) and state.core:timeout() == 0) then
    _, ended = state.core:step(0)
  elseif is_waiting and not state.drains then
    _, ended = state.core:wait()
  else
    _, ended = state.core:step(timeout)
  end
  -- An earlier step may have been cut off before it told the loops (ngx.exit).
  local is_over = state.count == 0 and next(state.driven)
  if ended > 0 or state.untold or state.later or state.failures[1] or state.drains or is_over then
    M.settle(state, ended)
  end
end

-- ---- ends ----

--- How long a step may be put off.
---@return number? seconds nil where nothing is in flight
function M.timeout(state)
  return (state.untold or state.later) and 0 or state.core:timeout()
end

--- The errors of those of the requests that were cancelled.
---@return cfpurge.Error[]
function M.cancelled(all)
  local cancelled = {}
  for _, request in ipairs(all) do
    if request.failure and request.failure.kind == "cancelled" then
      cancelled[#cancelled + 1] = request.failure
    end
  end
  return cancelled
end

--- Ends all that is in flight as cancelled; an answer that is there still counts.
---@return cfpurge.Error[] cancelled
function M.cancel_everything(state)
  local before = #state.failures
  local all = M.end_all(state)
  M.finish(state, before)
  return M.cancelled(all)
end

-- The core tells of its own requests; a list whose iterator has not come back is not among them.
local function end_jobs(state, why)
  if next(state.jobs) then
    M.end_all(state, core.error("closed", why))
  end
end

--- Ends what is in flight with an error of the kind `closed`, and closes the core.
---@param why string the error's message
function M.close(state, why)
  state.open = false
  -- A loop must not watch a descriptor that is closed; what a host's own raises must not keep it open.
  local ok, raised = pcall(loops.undrive, state)
  state.core:close()
  end_jobs(state, why)
  M.settle(state, math.huge, math.huge)
  if not ok then
    error(raised, 0)
  end
end

--- Requests in flight when their client is collected are reported too.
---@param why string
function M.collected(state, why)
  state.is_collected = true
  local has_news = state.count > 0 or state.untold or next(state.jobs)
  for loop in tables.entries(state.driven) do
    if has_news and loop.closing then
      loop.closing()
    end
  end
  state.driven = {}
  -- Those who waited would keep the client alive.
  for _, request in tables.entries(state.requests) do
    request.waiters = nil
  end
  for request in tables.entries(state.jobs) do
    request.waiters = nil
  end
  state.drains = false
  end_jobs(state, why)
  M.settle(state, math.huge, math.huge)
end

return M
