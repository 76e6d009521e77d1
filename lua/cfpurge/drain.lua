--- Waits until nothing is in flight, for some seconds at most; then cancels the rest.
--
-- A drain is a request that ends when the others have. The core's alarm sees that a step comes when its time is up.
local completion = require "cfpurge.completion"
local core = require "cfpurge.core"
local loops = require "cfpurge.loop"
local requests = require "cfpurge.request"

-- The one whose time is up first.
local function first(drains)
  local found
  for _, drain in ipairs(drains) do
    found = found and found.ends <= drain.ends and found or drain
  end
  return found
end

local function finish(state, cancelled)
  local drains = state.drains
  state.drains = false
  state.core:alarm()
  for _, drain in ipairs(drains) do
    completion.complete(state, drain.request, cancelled)
  end
end

local function cancel_rest(state)
  -- What an on_done begins now would be in flight afterwards.
  state.is_cancelling = true
  local ok, raised = pcall(completion.end_all, state)
  state.is_cancelling = false
  if not ok then
    error(raised, 0)
  end
  return completion.cancelled(raised)
end

-- Runs after each step in which something has ended, and when a drain's time is up.
local function check(state)
  if state.count == 0 and not (state.untold or state.later or next(state.jobs)) then
    finish(state, {})
  elseif core.now() >= first(state.drains).ends then
    finish(state, cancel_rest(state))
  end
end

local function withdraw(state, drain, problem)
  for i, other in ipairs(state.drains or {}) do
    if other == drain then
      table.remove(state.drains, i)
      break
    end
  end
  if state.drains and not state.drains[1] then
    state.drains = false
    state.core:alarm()
  end
  return nil, core.error("invalid_request", problem)
end

---@param seconds number
---@return cfpurge.Error[]? cancelled, cfpurge.Error?
return function(state, seconds)
  if state.count == 0 and not (state.untold or state.later or next(state.jobs)) then
    return {}
  end
  local drain = { request = requests.new(state), ends = core.now() + seconds }
  state.check_drains = check
  state.drains = state.drains or {}
  table.insert(state.drains, drain)
  state.core:alarm(math.max(first(state.drains).ends - core.now(), 0))
  local loop, problem = loops.drive(state)
  local can = loop
  if loop then
    can, problem = requests.wait_for(drain.request, loop)
  end
  if can == false then
    return withdraw(state, drain, problem)
  end
  return drain.request:result()
end
