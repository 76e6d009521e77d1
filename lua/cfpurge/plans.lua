--- The plans of zones: plan = "auto". Each is read once, and kept by the client.
--
-- `state.plans` has, by the zone's id, whether its plan is one that we know; false of a zone whose plan the credential
-- may not see, which is paced by what the server says alone. It is nil where the client has a plan of its own; the
-- account and the plan of each are in `state.plan_names`, for the queue. The calls that wait for one zone's plan share
-- one request: `state.plan_waiters` has, by the zone's id, a list of them.
local completion = require "cfpurge.completion"
local core = require "cfpurge.core"
local requests = require "cfpurge.request"
local tables = require "cfpurge.tables"
local zones = require "cfpurge.zones"

-- A purge does not wait longer for what only paces it, in seconds.
local PATIENCE = 10
-- So many calls go on in one step.
local SLICE = 50

local M = {}

--- Is the plan of this zone still to be read?
---@param zone_id? string
---@return boolean
function M.is_wanted(state, zone_id)
  return state.plans ~= nil and zone_id ~= nil and state.plans[zone_id] == nil
end

--- Keeps what the API tells of a zone.
---@param zone cfpurge.Zone
function M.note(state, zone)
  if M.is_wanted(state, zone.id) and zone.plan then
    local account = zone.account and zone.account.id or "of zone " .. zone.id
    state.plans[zone.id] = state.core:plan(zone.id, account, zone.plan)
    state.plan_names[zone.id] = account .. "/" .. zone.plan
  end
end

-- ---- those who wait ----

-- A request that waits, as its job.
local Waiter = { parts = {} }
Waiter.__index = Waiter

function Waiter:go(err)
  local done = self.done
  if done then
    self.done = false
    self.request.job, self.request.state.jobs[self.request] = nil, nil
    done(err)
  end
end

function Waiter:cancel(err)
  self:go(err or core.error("cancelled", "cancelled"))
end

--- The request is taken back.
function Waiter:withdrawn(params)
  self.done = false
  return { remaining = params }
end

-- What the last answer lets go on, some in each step.
local Crowd = {}
Crowd.__index = Crowd

function Crowd:go_on()
  for _ = 1, SLICE do
    local waiter = self.waiters[self.next]
    if not waiter then
      return
    end
    self.next = self.next + 1
    waiter:go(self.err)
  end
  completion.put_off(self.state, self)
end

-- After these the next call asks again.
local not_yet = {
  connection = true, timeout = true, tls = true, server = true, bad_response = true, rate_limited = true,
  queue_full = true,
}

local function ask_api(state, zone_id, options)
  local request = requests.new(state, function(found, err)
    local waiters = state.plan_waiters[zone_id]
    state.plan_waiters[zone_id] = nil
    local is_ended = err and (err.kind == "cancelled" or err.kind == "closed")
    if found and found[1] then
      M.note(state, found[1])
    end
    if M.is_wanted(state, zone_id) and not is_ended and not (err and not_yet[err.kind]) then
      state.plans[zone_id] = false
    end
    local crowd = { state = state, waiters = waiters, next = 1, err = is_ended and err, is_put_off = false }
    setmetatable(crowd, Crowd):go_on()
  end)
  local copy = tables.copy(options)
  copy.max_retries, copy.retry_for, copy.deadline, copy.timeout = 0, nil, PATIENCE, nil
  zones.zone(request, zone_id, copy, nil, function(found, err)
    completion.complete(state, request, found, err)
  end)
end

--- Reads the plan of the zone, unless it is known, and calls `done(err?)`: the error is that of a call that has ended.
---@param zone_id? string
function M.ask(request, zone_id, options, done)
  local state = request.state
  if not M.is_wanted(state, zone_id) then
    return done()
  end
  local waiters = state.plan_waiters[zone_id]
  local is_first = not waiters
  waiters = waiters or {}
  state.plan_waiters[zone_id] = waiters
  local waiter = setmetatable({ request = request, done = done }, Waiter)
  waiters[#waiters + 1] = waiter
  requests.give_job(request, waiter)
  if is_first then
    ask_api(state, zone_id, options)
  end
end

return M
