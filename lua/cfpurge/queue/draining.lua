--- The job of a `drain`: looks again and again whether anything is left.
local completion = require "cfpurge.completion"
local core = require "cfpurge.core"
local requests = require "cfpurge.request"

-- Seconds between looks.
local PAUSE = 0.1

-- `parts` has the look that is under way: it may end as it likes, `finish` counts once. `left` is what the last one
-- saw; `look_again` and `end_late` are its timers.
local Draining = {}
Draining.__index = Draining

function Draining:finish(value, err)
  if not self.is_over then
    self.is_over = true
    self.worker:after(nil, self.look_again)
    self.worker:after(nil, self.end_late)
    self.done(value, err)
  end
end

function Draining:seen(status, err)
  self.left = status and status.waiting + status.in_flight or self.left
  if err then
    self:finish(nil, err)
  elseif self.left == 0 and not status.sweeps then
    self:finish { waiting = 0, failed = status.failed }
  elseif self.worker:problem() then
    self:finish(nil, self.worker:problem())
  elseif self.ends and core.now() >= self.ends then
    self:go_on()
  elseif not self.is_over then
    self.worker:after(PAUSE, self.look_again)
  end
end

-- Its time is up, whatever the store says or does not say.
function Draining:go_on()
  local problem = self.left and ("the deadline passed with %d item%s not accepted"):format(self.left,
    self.left == 1 and "" or "s")
    or "the store did not tell before the deadline what is left"
  self:finish(nil, core.error("timeout", problem, { waiting = self.left }))
end

function Draining:look()
  local commands, decode = self.store.left()
  local part = self.link:begin(commands, decode, function(status, err)
    self:seen(status, err)
  end)
  self.parts = part and { [part] = true } or {}
end

function Draining:withdrawn(_, problem)
  self:finish()
  return core.error("invalid_request", problem)
end

--- Ends it at once.
---@param err? cfpurge.Error
function Draining:cancel(err)
  self:finish(nil, err or core.error("cancelled", "cancelled"))
end

--- Waits until nothing waits and nothing is in flight, or `deadline` seconds have passed; then calls
--- `done(result, err)`.
---@param queue table { link, store, worker }
---@param request table
---@param deadline? number
return function(queue, request, deadline, done)
  local job = setmetatable({
    link = queue.link, store = queue.store, worker = queue.worker, ends = deadline and core.now() + deadline,
    done = done, is_over = false, parts = {}, left = nil,
  }, Draining)
  function job.look_again()
    job:look()
  end
  -- Within a step, whose end tells of what has ended.
  function job.end_late()
    completion.put_off(request.state, job)
  end
  requests.give_job(request, job)
  job:look()
  if deadline and not job.is_over then
    -- The first look has as long as there is between two.
    job.worker:after(math.max(deadline, PAUSE), job.end_late)
  end
end
