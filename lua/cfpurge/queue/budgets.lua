--- The budgets that claims draw from: the client's plan, or with plan = "auto" each zone's own, read once and kept in
--- the store.
local look_up = require "cfpurge.look_up"
local names = require "cfpurge.names"
local plans = require "cfpurge.plans"
local zones = require "cfpurge.zones"

-- No two clocks run alike: the store's may be the faster one, hour after hour.
local CLOCKS = 0.995
-- Items of a request of enterprise's files; others go by what the client allows.
local ENTERPRISE_FILES = 500

-- Seconds: a purge does not wait longer for what only paces it.
local PATIENCE = 10

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
---@return string name, table? buckets, number overall, string? plan that holds for all zones
function M.of_client(state)
  local rates = assert(state.core:rates())
  if state.plans then
    return "", nil, rates.overall
  end
  return rates.plan or "client", buckets(rates), rates.overall, rates.plan
end

--- What the client calls the budget of a claim: it heeds what the server orders those that draw from it.
---@param claim table
function M.key(claim)
  return "queue " .. (claim.budget and claim.budget:match "^.+/[^/]+$" or "client")
end

--- Must the plan or the account of this claim's zone be read before it is sent? Where the store knows a plan, the
--- client is told.
---@param claim table
---@param terms {plan: string?} the client's, for all zones
function M.is_unknown(state, claim, terms)
  local account, plan = (claim.budget or ""):match "^(.+)/([^/]+)$"
  if not state.plans then
    return terms.plan ~= nil and plan ~= terms.plan and not (state.blind and state.blind[claim.zone])
  elseif not claim.budget then
    return true
  end
  if account and plans.is_wanted(state, claim.zone) and not names.is_name(claim.zone) then
    state.plans[claim.zone] = state.core:plan(claim.zone, account, plan)
    state.plan_names[claim.zone] = claim.budget
  end
  return false
end

-- Of a plan that holds for all zones: which account is it of? Zones of which the credential may not see that
-- (`state.blind`) share the client's own.
local function learn_account(state, request, zone_id, claim, done)
  state.accounts, state.blind = state.accounts or {}, state.blind or {}
  local known = state.accounts[claim.zone]
  if known then
    return done(known)
  end
  local options = { max_retries = 0, max_retry_wait = 0, deadline = PATIENCE }
  zones.zone(request, zone_id, options, nil, function(found, err)
    local account = found and found[1] and found[1].account
    if account then
      state.accounts[claim.zone] = account.id
    elseif found or not err.retryable then
      state.blind[claim.zone] = true
    end
    done(account and account.id or nil, err)
  end)
end

-- What is known of a zone whose plan was asked for: its budget's name and buckets.
local function of_zone(state, zone_id)
  local is_known, name = state.plans[zone_id], state.plan_names[zone_id]
  local rates = is_known and name and state.core:rates(name:match "[^/]+$")
  if rates then
    return name, buckets(rates, rates.plan == "enterprise")
  elseif is_known == false then
    return "zone " .. zone_id, { requests = { 0, 1 }, urls = { 0, 1 } }
  end
end

--- Reads the plan of a claim's zone, or its account where the client has a plan for all, and calls
--- `done(name, buckets)`; of a plan that cannot be read or is none that we know, the zone has a budget of its own
--- without limits; or `done(nil)` where there is no answer.
---@param terms {plan: string?}
function M.learn(state, claim, terms, done)
  -- Claims of one zone share one look-up.
  state.learners = state.learners or {}
  local waiting = state.learners[claim.zone]
  if waiting then
    waiting[#waiting + 1] = done
    return
  end
  state.learners[claim.zone] = { done }
  local function tell(...)
    local all = state.learners[claim.zone]
    state.learners[claim.zone] = nil
    for _, one in ipairs(all) do
      one(...)
    end
  end
  local is_name = names.is_name(claim.zone)
  local wanted = { zone = is_name and claim.zone or nil, zone_id = not is_name and claim.zone or nil }
  look_up.start(state, nil, function(request, ended)
    names.resolve(request, wanted, {}, nil, function(zone_id, _, err)
      if err then
        return ended(nil, err)
      elseif terms.plan then
        return learn_account(state, request, zone_id, claim, function(account, failure)
          ended(account and { id = zone_id, account = account } or nil, failure)
        end)
      end
      plans.ask(request, zone_id, {}, function(failure)
        ended(not failure and { id = zone_id } or nil, failure)
      end)
    end)
  end, function(zone)
    if zone and zone.account then
      local rates = state.core:rates()
      tell(zone.account .. "/" .. terms.plan, rates and buckets(rates))
    elseif zone then
      tell(of_zone(state, zone.id))
    else
      tell(nil)
    end
  end)
end

return M
