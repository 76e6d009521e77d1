--- The job of a `drain`: looks again and again whether anything is left.
local core = require "cfpurge.core"
local requests = require "cfpurge.request"

-- Seconds between looks.
local PAUSE = 0.1

-- `parts` has the look that is under way: it may end as it likes, `finish` counts once.
local Draining = {}
Draining.__index = Draining

function Draining:finish(value, err)
  if not self.is_over then
    self.is_over = true
    self.done(value, err)
  end
end

function Draining:seen(status, err)
  local left = status and status.waiting + status.in_flight
  if err then
    self:finish(nil, err)
  elseif left == 0 and not status.sweeps then
    self:finish { waiting = 0, failed = status.failed }
  elseif self.worker:problem() then
    self:finish(nil, self.worker:problem())
  elseif self.ends and core.now() >= self.ends then
    self:finish(nil, core.error("timeout", ("%d items were not accepted before the deadline"):format(left),
      { waiting = left }))
  else
    self.worker:after(math.min(PAUSE, self.ends and math.max(self.ends - core.now(), 0) or PAUSE), function()
      self:look()
    end)
  end
end

function Draining:look()
  if self.is_over then
    return
  end
  local commands, decode = self.store.status()
  local part = self.link:begin(commands, decode, function(status, err)
    self:seen(status, err)
  end)
  self.parts = part and { [part] = true } or {}
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
    done = done, is_over = false, parts = {},
  }, Draining)
  requests.give_job(request, job)
  job:look()
end
