--- One purge that was asked for: what `start` returns. Behind it is one request of the core, or a job of several.
local completion = require "cfpurge.completion"
local core = require "cfpurge.core"
local loops = require "cfpurge.loop"
local tables = require "cfpurge.tables"

local M = {}

---@class cfpurge.Request
---@field wake? fun() set by a host that waits: called when the request has ended
local Request = {}
Request.__index = Request

-- Raises in the name of the method `name`, at its caller's line, where a dot stands in place of the colon. A waiter has
-- the methods too.
local function check(self, name)
  if type(self) ~= "table" or self[name] ~= Request[name] then
    error(("bad argument #1 to '%s' (cfpurge request expected)"):format(name), 3)
  end
end

--- Has it ended?
---@return boolean
function Request:done()
  check(self, "done")
  return self.ended
end

--- The same as `purge` would have returned; nothing while the request is in flight.
---@return cfpurge.Result?, cfpurge.Error?
function Request:result()
  check(self, "result")
  if self.ended then
    return self.value or nil, self.failure or nil
  end
end

--- Ends it with an error of the kind `cancelled`; its on_done runs before this returns.
---@return boolean cancelled false where it had ended already, or its answer was there
function Request:cancel()
  check(self, "cancel")
  if self.ended then
    return false
  end
  local state, job = self.state, self.job
  local before = #state.failures
  if job then
    job:cancel()
  else
    completion.cancel(state, self)
  end
  completion.finish(state, before)
  return self.failure and self.failure.kind == "cancelled" or false
end

-- Several may wait for one request, each with a `wake` of its own.
---@return boolean? can, string? problem
function M.wait_for(request, loop)
  if loop.blocks then
    return loop.wait(request.state.client, request)
  end
  local waiter = request
  if request.waiters then
    waiter = setmetatable({}, { __index = request })
    request.waiters[#request.waiters + 1] = waiter
  else
    request.waiters = { waiter }
  end
  local can, problem = loop.wait(request.state.client, waiter)
  -- The host may wait for something else by now.
  waiter.wake = false
  return can, problem
end

-- What stands for the main thread, which Lua 5.1 has no name for.
local MAIN = {}

--- Notes that the running coroutine calls a callback of the job, until `leave`.
function M.enter(job)
  local thread = coroutine.running() or MAIN
  job.inside[thread] = (job.inside[thread] or 0) + 1
  return thread
end

function M.leave(job, thread)
  local depth = job.inside[thread] - 1
  job.inside[thread] = depth > 0 and depth or nil
end

-- Does the running coroutine, or one that has resumed it, call a callback of this request? That goes on only when this
-- one returns.
local function is_inside(request)
  local running = coroutine.running()
  for thread in tables.entries(request.job and request.job.inside or {}) do
    if thread == MAIN or thread == running or coroutine.status(thread) == "normal" then
      return true
    end
  end
  return false
end

--- Waits the way the host waits.
---@return cfpurge.Result?, cfpurge.Error?
function Request:wait()
  check(self, "wait")
  if is_inside(self) then
    return nil, core.error("invalid_request", "wait: the request cannot end before its own callback has returned")
  elseif not self.ended then
    -- It may have been started under another loop, which does not run now.
    local loop, problem = loops.drive(self.state)
    local can = loop
    if loop then
      can, problem = M.wait_for(self, loop)
    end
    if can == false then
      return nil, core.error("invalid_request", problem)
    end
  end
  return self.value or nil, self.failure or nil
end

--- `handle(request, value, failure)` is run when the core has ended it, until it does not raise; it returns true where
--- the request goes on.
function M.new(state, on_done, handle)
  -- Eight names, and a table has room for eight: an ending must find its room where memory is short.
  return setmetatable({
    state = state, id = false, ended = false, value = false, failure = false, next = false,
    on_done = on_done or false, handle = handle or false,
  }, Request)
end

local function part_of(state, handle, ok, id, err)
  if not ok and id == "not enough memory" then
    error(id, 0)
  elseif not ok then
    -- A wrong type in what an iterator gave: nobody is there to raise it to.
    local field, problem = tostring(id):match "%(([^:]+): (.*)%)$"
    problem = (field or "params") .. ": " .. (problem or tostring(id))
    id, err = nil, core.error("invalid_request", problem, { field = field })
  end
  if not id then
    return nil, err
  end
  local part = M.new(state, nil, handle)
  completion.register(state, part, id)
  return part
end

--- Behind `request` is `job` from now on. It has `parts`, the core's requests as keys, and `cancel(err?)`, which ends
--- it at once.
function M.give_job(request, job)
  request.job = job
  request.state.jobs[request] = true
end

--- It is not begun after all: memory was short, and its caller is told so.
function M.take_job(request)
  request.state.jobs[request] = nil
end

--- A request of a job. Errors of its input are returned, never raised.
function M.part(state, params, options, handle)
  return part_of(state, handle, pcall(state.core.start, state.core, params, options, nil, true))
end

--- A GET of a job; its result is what the envelope holds.
function M.fetch(state, path, options, handle)
  return part_of(state, handle, pcall(state.core.fetch, state.core, path, options))
end

--- The call as params alone: the caller's own, or, where the zone and the environment stand beside them, a
--- copy that has them.
function M.asked(call)
  local params, options = call.params, call.options
  if type(params) ~= "table" then
    return nil
  end
  local given, copy = type(options) == "table" and options or {}, tables.copy(params)
  for _, what in ipairs { "zone", "environment" } do
    local id = what .. "_id"
    if copy[what] == nil and copy[id] == nil then
      copy[what], copy[id] = rawget(given, what), rawget(given, id)
    end
  end
  if call.environment_id ~= nil then
    copy.environment, copy.environment_id = nil, call.environment_id
  end
  for _, name in ipairs { "zone", "zone_id", "environment", "environment_id" } do
    if copy[name] ~= rawget(params, name) then
      return copy
    end
  end
  return params
end

--- Takes a request back before anything of it was sent: nothing is reported but what this returns.
---@return nil, cfpurge.Error
function M.withdraw(request, call, problem)
  local state, job = request.state, request.job
  local asked = M.asked(call)
  local parts = { request.id and request or nil }
  for part in tables.entries(job and job.parts or {}) do
    parts[#parts + 1] = part
    for of_part in tables.entries(part.job and part.job.parts or {}) do
      parts[#parts + 1] = of_part
    end
  end
  for _, part in ipairs(parts) do
    completion.forget(state, part)
  end
  request.ended = true
  state.jobs[request] = nil
  if state.count == 0 then
    loops.undrive(state)
  end
  return nil, job and job.withdrawn and job:withdrawn(asked, problem)
    or core.error("invalid_request", problem, { remaining = asked })
end

--- A loop steps what has begun from now on, and errors of callbacks are raised that there were not `before`.
---@return table? request, any loop or an error
function M.drive(request, call, before)
  local state, loop = request.state, nil
  if not request.ended then
    local problem
    loop, problem = loops.drive(state)
    if not loop then
      return M.withdraw(request, call, problem)
    end
  end
  if state.failures[1] then
    completion.raise_failures(state, before)
  end
  return request, loop
end

--- Waits for what a loop steps; taken back where nobody can wait here.
---@return any value, cfpurge.Error?
function M.finish(request, loop, call)
  if not request.ended then
    local can, problem = M.wait_for(request, loop)
    if can == false then
      return M.withdraw(request, call, problem)
    end
  end
  return request.value or nil, request.failure or nil
end

--- When a call's deadline passes, on the clock of core.now; nil where `options` and the client have none.
---@return number?
function M.ends(state, started, options)
  local ok, limits = pcall(state.core.limits, state.core, "tags", options)
  return ok and limits and limits.deadline and started + limits.deadline or nil
end

--- The options with what is left of a deadline: it holds for all that a request sends, one after another.
---@param ends? number
---@return table? options
function M.left(options, ends)
  if not ends then
    return options
  end
  local copy = tables.copy(options)
  copy.deadline = math.max(ends - core.now(), 0.001)
  return copy
end

loops.hold_in(Request)

return M
