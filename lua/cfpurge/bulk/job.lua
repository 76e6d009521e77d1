--- Lists of any length: split, streamed, isolated, every item accounted for.
--
-- A job fills one request of the client. Its chunks are those of bulk/source; the next one to send comes from `again`
-- (chunks that were split or put back), then from the source. It moves when one of its parts has ended, so that it
-- works the same in every host; and in the next step, where it has read of a table what one turn may. An ending may be
-- cut off where memory is short, and is then run again: the marks of a chunk say how far it came.
local chunks = require "cfpurge.bulk.chunks"
local completion = require "cfpurge.completion"
local core = require "cfpurge.core"
local loops = require "cfpurge.loop"
local policy = require "cfpurge.bulk.policy"
local refusals = require "cfpurge.bulk.refusals"
local requests = require "cfpurge.request"
local sizes = require "cfpurge.sizes"
local sources = require "cfpurge.bulk.source"
local tables = require "cfpurge.tables"

local M = {}

local Job = { is_job = true }
Job.__index = Job
M.Job = Job
for name, method in tables.entries(require "cfpurge.bulk.account") do
  Job[name] = method
end

function Job:put_back(chunk)
  if #chunk.items > 0 then
    self.again[#self.again + 1] = chunk
  end
end

-- The items behind the first `size` go back, and are taken later than those.
function Job:cut(chunk, size, whole)
  local first, rest = chunks.part(chunk, 1, size), chunks.part(chunk, size + 1, #chunk.items)
  rest.whole = whole or false
  self:put_back(rest)
  chunk.items, chunk.cut = first.items, true
end

-- In two, both of which go back.
function Job:split(chunk, size, whole)
  if not chunk.cut then
    self:cut(chunk, size, whole)
    chunk.whole = whole or false
  end
  self:put_back(chunk)
end

-- One of those that went back, or nil.
function Job:take_again(choice)
  local again = self.again
  local at = #again
  for i = #again, choice == "smallest" and 1 or #again + 1, -1 do
    at = #again[i].items < #again[at].items and i or at
  end
  return table.remove(again, choice == "oldest" and 1 or at)
end

function Job:next_chunk()
  local choice = policy.choose(self.counters)
  return choice == "untried" and self:read() or self:take_again(choice) or self:read()
end

-- What the API has taught of the size of requests, for the lists that come.
function Job:learn()
  sizes.learn(self.state, self.base.zone_id, self.kind, self.counters.size, self.counters.max_items)
end

-- ---- how a chunk ended ----

-- Nothing more is sent; what is in flight still counts.
function Job:stop(err)
  self.stopped, self.counters.is_stopped = self.stopped or err, true
end

function Job:fail(chunk, err)
  local failure = { error = err, items = chunk.items, at = chunk.at, places = chunk.places }
  if self.counters.is_blamed then
    self.given_up[failure] = true
  end
  self:add_failure(failure)
  self.failed = self.failed + #chunk.items
end

-- Why it ends, where it has read nothing but wrong items for long and nothing was accepted.
function Job:hopeless()
  return self.counters.accepted == 0 and self.source:hopeless() or nil
end

-- The items that were refused as they were read fail alone.
function Job:note_refused()
  local refused = self.source.refusals.failures
  while self.refused_there < #refused do
    self:add_failure(refused[self.refused_there + 1])
    self.refused_there = self.refused_there + 1
  end
end

function Job:read()
  -- Before it reads: where memory is short no chunk may be lost that was read.
  self:note_refused()
  self.source.most_in_a_row = self.counters.accepted == 0 and refusals.IN_A_ROW or math.huge
  return self.source:read(self.counters.size)
end

function M.add_all(list, more, chunk, name)
  for i = chunk[name] + 1, #more do
    list[#list + 1] = more[i]
    chunk[name] = i
  end
end

-- The request was not at fault after all: what was given up for that goes again.
function Job:resume()
  for i = #self.failures, 1, -1 do
    local failure = self.failures[i]
    if self.given_up[failure] then
      local chunk = chunks.chunk(failure.items, failure.at, failure.places)
      chunk.sent = true
      self:put_back(chunk)
      table.remove(self.failures, i)
      self.given_up[failure] = nil
      self.failed = self.failed - #failure.items
    end
  end
  local counters = self.counters
  self.stopped, counters.is_stopped, counters.is_blamed, counters.pieces = false, false, false, 0
end

function Job:accepted_one(chunk, result)
  M.add_all(self.ids, result.ids, chunk, "ids")
  M.add_all(self.messages, result.messages, chunk, "messages")
  local verdict = policy.accepted(self.counters, { count = #chunk.items, whole = chunk.whole or nil })
  self:learn()
  if verdict == "resume" then
    self:resume()
  end
  self.counters.accepted = self.counters.accepted + #chunk.items
  self.attempts = self.attempts + result.attempts
  self.ray_id = result.ray_id
end

function Job:failed_one(chunk, err)
  local facts = {
    count = #chunk.items, is_fresh = chunk.fresh, is_cut = chunk.cut, is_counted = chunk.counted,
  }
  if not chunk.counted then
    self.attempts = self.attempts + err.attempts
    chunk.counted = true
  end
  local verdict, size, whole = policy.failed(self.counters, facts, err)
  if verdict == "put_back" then
    return self:put_back(chunk)
  elseif verdict == "split" then
    self:learn()
    return self:split(chunk, size, whole)
  elseif self.is_taking_back and err.kind == "cancelled" and not chunk.failed then
    self.requests = self.requests - (err.attempts == 0 and 1 or 0)
    return self:put_back(chunk)
  elseif self.counters.is_stopped then
    self:stop(err)
  end
  if not chunk.failed then
    self:fail(chunk, err)
    chunk.failed = true
  end
  if self.counters.is_stopped and not self.counters.is_blamed then
    self:take_back()
  end
end

-- No other item can do better: what waits for its turn is not sent any more, and remains. What is under way counts.
function Job:take_back()
  self.is_taking_back = true
  local ok, raised = pcall(completion.cancel_all, self.state, self.parts, true)
  self.is_taking_back = false
  if not ok then
    error(raised, 0)
  end
end

function Job:ended(part, result, err)
  local chunk = self.parts[part]
  if chunk and result then
    self:accepted_one(chunk, result)
  elseif chunk then
    self:failed_one(chunk, err)
  end
  if chunk then
    self.parts[part] = nil
    self.in_flight = self.in_flight - 1
    self:progress()
  end
  self:go_on()
end

-- ---- sending ----

-- False: it waits for one that is in flight to end.
function Job:send(chunk)
  local params = { zone_id = self.base.zone_id, environment_id = self.base.environment_id, [self.kind] = chunk.items }
  chunk.counted, chunk.cut, chunk.ids, chunk.messages = false, false, 0, 0
  local part, err = requests.part(self.state, params, requests.left(self.options, self.ends), self.handle)
  if part then
    self.parts[part] = chunk
    self.in_flight = self.in_flight + 1
    self.requests = self.requests + 1
    self.sent = self.sent + (chunk.sent and 0 or #chunk.items)
    chunk.sent = true
    self.current = false
    if self.in_flight == 1 then
      -- Reading the rest may wait, or end with the coroutine.
      loops.drive(self.state)
    end
    return true
  end
  local verdict = policy.not_begun(self.counters, err, self.in_flight)
  if verdict == "fail" then
    self:stop(err)
    self:fail(chunk, err)
    self.current = false
  end
  return verdict ~= "wait"
end

function Job:send_all()
  local source = self.source
  local is_waiting = false
  source.is_apart = not source.list and not loops.may_yield(self.state)
  source.budget = sources.TURN
  while not (self.stopped or is_waiting)
    and self.in_flight < policy.most_in_flight(self.counters, self.max_in_flight) do
    self.current = self.current or self:next_chunk()
    local problem = source:error()
    if self.stopped then
      -- By the iterator, which has cancelled or let the client report.
      break
    elseif problem then
      self:stop(problem)
    elseif not self.current then
      local hopeless = self:hopeless()
      if hopeless and self.in_flight == 0 then
        self:stop(hopeless)
      elseif not hopeless and source:has_more() then
        completion.put_off(self.state, self)
      end
      break
    elseif self.ends and core.now() >= self.ends then
      self:stop(core.error("timeout", "the deadline passed"))
    elseif #self.current.items > self.counters.size then
      self:cut(self.current, self.counters.size)
    else
      is_waiting = not self:send(self.current)
    end
  end
end

-- While its iterator is asked it does not go on, and may end: the iterator may have come back to the client, may sleep,
-- or may never return, because its coroutine was dropped.
function Job:go_on()
  if self.finished then
    return
  end
  if self.source.is_lost then
    self.is_going = false
  end
  local is_asked = self.is_going
  if not is_asked then
    local thread = requests.enter(self)
    self.is_going = true
    local ok, raised = pcall(self.send_all, self)
    self.is_going = false
    requests.leave(self, thread)
    if not ok then
      self.source:cut_off()
      error(raised, 0)
    end
  end
  local has_more = is_asked or self.source.is_asking or self.is_put_off
  if self.in_flight == 0 and not self.finished and (self.stopped or not has_more) then
    self:finish()
    self.finished = true
  end
end

--- Ends it at once, whatever its iterator does.
---@param err? cfpurge.Error
function Job:cancel(err)
  self.counters.is_blamed = false
  self:stop(err or core.error("cancelled", "cancelled"))
  completion.cancel_all(self.state, self.parts)
  self:go_on()
end

--- The coroutine that began it was resumed with these, while its iterator has yielded in one of its own.
function Job:pass(thread, ...)
  self.source:pass(thread, ...)
end

--- Ends it where nothing but its iterator could move it, and the one who waits leaves that no time to come back.
function Job:stall()
  self:cancel(self.source:stalled())
end

-- ---- its beginning ----

--- A job that has sent nothing yet.
---@return table job
function M.new(request, kind, source, started, options, base, limits)
  local state = request.state
  local size = sizes.get(state, base.zone_id, kind, limits.max_items)
  local job = setmetatable({
    state = state, request = request, kind = kind, base = base, options = options, source = source,
    counters = policy.counters(size, limits), max_in_flight = limits.max_in_flight,
    on_progress = options.on_progress, started = started, ends = limits.deadline and started + limits.deadline,
    current = false, again = {}, parts = {}, failures = {}, given_up = {}, ids = {}, messages = {},
    in_flight = 0, failed = 0, sent = 0, requests = 0, attempts = 0, refused_there = 0,
    stopped = false, is_going = false, is_taking_back = false, finished = false, is_put_off = false,
    next_put_off = false, ray_id = false,
    inside = setmetatable({}, { __mode = "k" }),
  }, Job)
  -- The next step goes on, and somebody sees to it that there is one.
  source.come_back = function()
    completion.put_off(state, job)
    pcall(loops.drive, state)
  end
  job.handle = function(part, result, failure)
    job:ended(part, result, failure)
  end
  return job
end

--- Sends what `list` holds, which was checked, and completes `request`.
---@param call table params, options, started
---@param base table what its parts have in common with the call
---@param limits table
function M.start(request, kind, list, call, base, limits)
  if not M.is_job(request.job) then
    local source = sources.new(request.state.core, kind, list)
    requests.give_job(request, M.new(request, kind, source, call.started, tables.copy(call.options), base, limits))
  end
  local ok, raised = pcall(request.job.go_on, request.job)
  -- The parts in flight take it up again.
  if not ok and request.job.in_flight == 0 then
    requests.take_job(request)
    error(raised, 0)
  end
end

--- Goes on with a request that failed, where smaller ones may do better. False: they may not.
function M.adopt(request, kind, items, err, options)
  local job = M.is_job(request.job) and request.job
  if #items < 2 then
    return false
  elseif not job then
    local state = request.state
    local ok, limits = pcall(state.core.limits, state.core, kind, options, err.remaining.zone_id)
    if not (ok and limits) or not policy.may_mend(err, limits.isolate) then
      return false
    end
    local base = { zone_id = err.remaining.zone_id, environment_id = err.remaining.environment_id }
    local source, chunk = sources.read_already(state.core, kind, items, request.asked)
    job = M.new(request, kind, source, core.now() - (err.elapsed or 0), tables.copy(options), base, limits)
    job.requests, job.sent, job.in_flight = 1, #items, 1
    chunk.sent = true
    job.parts[request] = chunk
    requests.give_job(request, job)
  end
  job:ended(request, nil, err)
  return true
end

--- Where in the list that was asked for each of `items` stands, equal ones once. Nil where the client has been closed,
--- whose core compares no more.
function M.places(request, kind, items)
  local _, chunk = sources.read_already(request.state.core, kind, items, request.asked)
  return #chunk.places == #items and chunk.places or nil
end

--- Begins nothing more for this request; what is in flight still counts. Where nothing of it was sent, it ends.
---@param request cfpurge.Request
function M.stop(request)
  if M.is_job(request.job) then
    request.job:stop(core.error("cancelled", "cancelled"))
    request.job:go_on()
    completion.finish(request.state, #request.state.failures)
  elseif not request.id then
    request:cancel()
  end
end

function M.is_job(value)
  return type(value) == "table" and value.is_job or false
end

return M
