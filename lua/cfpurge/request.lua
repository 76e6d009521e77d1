--- One purge that was asked for: what `start` returns. Behind it is one request of the core, or a job of several.
local core = require "cfpurge.core"
local tables = require "cfpurge.tables"

-- What a call asks for as params alone: the caller's own, or, where the zone and the environment stand beside them, a
-- copy that has them.
local function asked(call)
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

---@class cfpurge.Request
local Request = {}
Request.__index = Request

---@return boolean
function Request:done()
  return self.ended
end

--- What `purge` would have returned; nothing while the request is in flight.
---@return cfpurge.Result?, cfpurge.Error?
function Request:result()
  if self.ended then
    return self.value, self.failure
  end
end

--- Ends it with an error of the kind `cancelled`; its on_done runs before this returns.
---@return boolean cancelled false where it had ended already, or its answer was there
function Request:cancel()
  if self.ended then
    return false
  end
  if self.job then
    self.job:cancel()
  else
    self.client.core:cancel(self.id)
  end
  self.client:settle()
  -- Cancelled by its own iterator, it ends when that returns.
  local outcome = self.failure or not self.ended and self.job and self.job.stopped
  return outcome and outcome.kind == "cancelled" or false
end

-- The requests of the core that it has in flight.
local function parts_of(request)
  local parts = { request.id and request or nil }
  for part in tables.entries(request.job and request.job.parts or {}) do
    parts[#parts + 1] = part
  end
  return parts
end

--- Takes it back before anything of it was sent: nothing is reported but what this returns.
---@return nil, cfpurge.Error
function Request:withdraw(problem)
  local job = self.job
  for _, part in ipairs(parts_of(self)) do
    self.client:forget(part)
  end
  self.ended = true
  self.client:undrive()
  return nil, core.error("invalid_request", problem,
    job and job.withdrawn and job:withdrawn(asked(self)) or { remaining = asked(self) })
end

--- Sees to it that a loop steps the client from now on; what `withdraw` returns where none can.
---@return cfpurge.Request?, cfpurge.Error?
function Request:drive()
  if not self.ended then
    local loop, problem = self.client:drive()
    if not loop then
      return self:withdraw(problem)
    end
    self.loop = loop
  end
  return self
end

-- Several may wait for one request, each with a `wake` of its own.
local function wait_for(request, loop)
  local waiter = request
  if request.waiters then
    waiter = setmetatable({}, { __index = request })
    request.waiters[#request.waiters + 1] = waiter
  else
    request.waiters = { waiter }
  end
  local can, problem = loop.wait(request.client, waiter)
  -- Who waited may wait for something else by now.
  waiter.wake = false
  return can, problem
end

--- Waits the way the host waits.
---@return cfpurge.Result?, cfpurge.Error?
function Request:wait()
  if not self.ended then
    -- It may have been started under another loop, which does not run now.
    local loop, problem = self.client:drive()
    local can = loop
    if loop then
      can, problem = wait_for(self, loop)
    end
    if can == false then
      return nil, core.error("invalid_request", problem)
    end
  end
  return self.value, self.failure
end

return {
  asked = asked,

  --- The call as the caller made it; `call` in the request, if there is one, is the same with ids in place of names.
  new = function(client, params, options, environment_id, on_done)
    -- Room for all that comes later: an ending must find it where memory is short, and a table that grows is made anew.
    return setmetatable({
      client = client, params = params, options = options, environment_id = environment_id, on_done = on_done,
      started = core.now(), ended = false, call = nil, handle = nil,
      id = nil, kind = nil, job = nil, loop = nil, value = nil, failure = nil, next = nil, waiters = nil, wake = nil,
    }, Request)
  end,

  --- When the request's deadline passes, on the clock of core.now; nil where `options` and the client have none.
  ---@return number?
  ends = function(request, options)
    local client = request.client
    local ok, size, _, _, _, deadline = pcall(client.core.limits, client.core, "tags", options)
    return ok and size and deadline and request.started + deadline or nil
  end,

  --- The options with what is left of a deadline: it holds for all that a request sends, one after another.
  ---@param ends? number
  ---@return table? options
  left = function(options, ends)
    if not ends then
      return options
    end
    local copy = tables.copy(options)
    copy.deadline = math.max(ends - core.now(), 0.001)
    return copy
  end,

  --- What a method that waits returns: for a request that has just begun, or for the error that kept it from beginning.
  finish = function(request, err)
    if not request then
      return nil, err
    end
    if not request.ended then
      local can, problem = wait_for(request, request.loop)
      if can == false then
        return request:withdraw(problem)
      end
    end
    return request.value, request.failure
  end,
}
