--- What becomes of a claim, by how its purge ended: pure, it knows no client and no store.
local M = {}

-- How long a zone rests, in seconds: the first time, and at most; each refusal in a row doubles it.
local ANSWER = { first = 0.5, most = 60 }
local REFUSED = { first = 60, most = 900 }

-- A longer wait than a day is somebody's mistake: nothing waits for ever.
local LONGEST = 86400

-- Refusals of an item, or of a request because of what is in it: another try ends the same.
local final = { item = true, size = true, request = true, plan = true }

-- Refusals that are about the caller: its items wait for another credential, or for the zone to come back.
local resting = {
  credential = true, zone = true, authentication = true, permission_denied = true, not_found = true, tls = true,
}

---@return "failed"|"rate"|"refused"|"answer"|"ended" what becomes of one error
function M.of(err)
  if err.kind == "cancelled" or err.kind == "closed" or err.kind == "queue_full" then
    return "ended"
  elseif err.kind == "rate_limited" or err.about == "rate" then
    return "rate"
  elseif final[err.about] then
    return "failed"
  elseif resting[err.about] or resting[err.kind] then
    return "refused"
  elseif err.kind == "invalid_request" then
    return "failed"
  end
  -- What stands before the API says nothing of the items.
  return "answer"
end

local function note(outcome, what, err)
  if what == "rate" then
    local seconds = math.min(err.retry_after or 1, LONGEST)
    outcome.held = math.max(outcome.held or 0, seconds)
    -- Somebody else draws from the budget too: what we counted is not there.
    outcome.is_drained = outcome.is_drained or err.status ~= nil
  elseif what == "refused" or (what == "answer" and not outcome.rest) then
    local rest = what == "refused" and REFUSED or ANSWER
    outcome.rest = { first = rest.first, most = rest.most, why = tostring(err) }
  end
end

--- What the server has ordered beside its answer: seconds for what draws from the same bucket, and for all calls.
function M.hold(outcome, own, all)
  outcome.held = own > 0 and math.max(outcome.held or 0, own) or outcome.held
  outcome.held_all = all > 0 and math.max(outcome.held_all or 0, all) or outcome.held_all
end

-- The keys of the claim's items, as a set.
local function keys_of(claim)
  local keys = {}
  for _, item in ipairs(claim.items) do
    keys[item.key] = true
  end
  return keys
end

-- What an error says of its items: `visit(key, error)` for each that failed, its set of keys without those.
local function split(err, claim, outcome, key_of, visit)
  local kind, all, left = claim.kind, keys_of(claim), keys_of(claim)
  for _, failure in ipairs(err.failures or {}) do
    local what = M.of(failure.error)
    note(outcome, what, failure.error)
    for _, item in ipairs(what == "failed" and failure.items or {}) do
      local key = key_of(item)
      if left[key] then
        left[key] = nil
        visit(key, failure.error)
      end
    end
  end
  local remaining, count = err.remaining and err.remaining[kind], 0
  local waits, is_known = {}, true
  for _, item in ipairs(type(remaining) == "table" and remaining or {}) do
    local key = key_of(item)
    waits[key], count, is_known = left[key], count + 1, is_known and all[key]
  end
  -- An item of which nobody says that it was accepted goes again.
  return is_known and (err.accepted or 0) + count == #claim.items and waits or left
end

--- The outcome of a purge that failed, for `settle`. `key_of(item)` and `text_of(err)` are the store's; what is neither
--- failed nor waiting was accepted.
---@param err cfpurge.Error
---@param claim table
---@return table outcome { failed, waiting, accepted, rest, held, held_all, is_drained, extra }
function M.failed(err, claim, key_of, text_of)
  local outcome = {
    failed = {}, waiting = {}, accepted = (err.accepted or 0) > 0, extra = math.max((err.requests or 1) - 1, 0),
  }
  local function fail(key, cause)
    outcome.failed[#outcome.failed + 1] = { key, text_of(cause) }
  end
  if claim.kind == "everything" or not err.failures then
    local what = M.of(err)
    note(outcome, what, err)
    if what ~= "failed" then
      outcome.waiting = "all"
      return outcome
    end
    for _, item in ipairs(claim.items) do
      fail(item.key, err)
    end
    return outcome
  end
  local waits = split(err, claim, outcome, key_of, fail)
  for _, item in ipairs(claim.items) do
    if waits[item.key] then
      outcome.waiting[#outcome.waiting + 1] = item.key
    end
  end
  if #outcome.waiting > 0 then
    note(outcome, M.of(err), err)
  end
  -- Something of the zone was accepted: it does not rest for what a part of it met.
  if outcome.accepted and outcome.rest then
    outcome.rest = { first = ANSWER.first, most = ANSWER.first, why = outcome.rest.why }
  end
  return outcome
end

return M
