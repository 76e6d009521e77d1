--- A call whose value is looked up by a job of its own: lists of zones and environments, what a queue asks its store.
local completion = require "cfpurge.completion"
local requests = require "cfpurge.request"

local M = {}

--- Begins what `begin_job(request, done)` looks up.
---@return cfpurge.Request?, any loop or an error
function M.start(state, options, begin_job, on_done)
  local before, request = #state.failures, requests.new(state, on_done)
  begin_job(request, function(found, err)
    completion.complete(state, request, found, err)
  end)
  return requests.drive(request, { options = options }, before)
end

--- Waits for what `begin_job(request, done)` looks up.
---@return any found, cfpurge.Error?
function M.wait(state, options, begin_job)
  local request, loop = M.start(state, options, begin_job)
  if not request then
    return nil, loop
  end
  return requests.finish(request, loop, { options = options })
end

return M
