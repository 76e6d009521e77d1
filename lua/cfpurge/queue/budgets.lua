--- The budgets that claims draw from: the client's plan, or with plan = "auto" each zone's own, read once and kept in
--- the store.
local look_up = require "cfpurge.look_up"
local names = require "cfpurge.names"
local plans = require "cfpurge.plans"

-- No two clocks run alike: the store's may be the faster one, hour after hour.
local CLOCKS = 0.995
-- Items of a request of enterprise's files; others go by what the client allows.
local ENTERPRISE_FILES = 500

local M = {}

local function bucket(limits, most)
  local rate, size = limits[1] * CLOCKS, limits[2]
  return { rate, size > 0 and size or math.max(rate, 1), most }
end

local function buckets(rates, is_enterprise)
  return { requests = bucket(rates.requests), urls = bucket(rates.urls, is_enterprise and ENTERPRISE_FILES or nil) }
end

--- What a claim draws from: the name of a budget, its buckets, and the calls in 5 minutes. Without a plan nothing is
--- limited but by what the server says, which holds all back.
---@param state table the client's
---@return string name, table? buckets, number overall
function M.of_client(state)
  local rates = assert(state.core:rates())
  if state.plans then
    return "", nil, rates.overall
  end
  return rates.plan or "client", buckets(rates), rates.overall
end

--- What the client calls the budget of a claim: it heeds what the server orders those that draw from it.
---@param claim table
function M.key(claim)
  return "queue " .. (claim.budget and claim.budget:match "^.+/[^/]+$" or "client")
end

--- Must the plan of this claim's zone be read before it is sent? Where the store knows it, the client is told.
---@param claim table
function M.is_unknown(state, claim)
  if not state.plans or claim.zone == "auto" then
    return false
  elseif not claim.budget then
    return true
  end
  local account, plan = claim.budget:match "^(.+)/([^/]+)$"
  if account and plans.is_wanted(state, claim.zone) and not names.is_name(claim.zone) then
    state.plans[claim.zone] = state.core:plan(claim.zone, account, plan)
    state.plan_names[claim.zone] = claim.budget
  end
  return false
end

--- Reads the plan of a claim's zone, and calls `done(name, buckets)`; of a plan that cannot be read or is none that we
--- know, the zone has a budget of its own without limits; or `done(nil)` where there is no answer.
function M.learn(state, claim, done)
  local is_name = names.is_name(claim.zone)
  local wanted = { zone = is_name and claim.zone or nil, zone_id = not is_name and claim.zone or nil }
  look_up.start(state, nil, function(request, ended)
    names.resolve(request, wanted, {}, nil, function(zone_id, _, err)
      if err then
        return ended(nil, err)
      end
      plans.ask(request, zone_id, {}, function(failure)
        ended(not failure and { id = zone_id } or nil, failure)
      end)
    end)
  end, function(zone)
    local is_known = zone and state.plans[zone.id]
    local name = zone and state.plan_names[zone.id]
    local rates = is_known and name and state.core:rates(name:match "[^/]+$")
    if rates then
      done(name, buckets(rates, rates.plan == "enterprise"))
    elseif is_known == false then
      done("zone " .. zone.id, { requests = { 0, 1 }, urls = { 0, 1 } })
    else
      done(nil)
    end
  end)
end

return M
