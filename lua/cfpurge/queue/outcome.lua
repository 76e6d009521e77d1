--- What becomes of a claim, by how its purge ended: pure, it knows no client and no store.
local M = {}

-- How long a zone rests, in seconds: the first time, and at most; each refusal in a row doubles it.
local ANSWER = { first = 0.5, most = 60 }
local REFUSED = { first = 60, most = 900 }

-- A longer wait than a day is somebody's mistake: nothing waits for ever. The code is that of the limit over all calls.
local LONGEST, OVERALL = 86400, 10100

-- Refusals of an item, or of a request because of what is in it: another try ends the same.
local final = { item = true, size = true, request = true, plan = true }

-- Refusals that are about the caller: its items wait for another credential, or for the zone to come back.
local resting = {
  credential = true, zone = true, authentication = true, permission_denied = true, not_found = true, tls = true,
}

---@return "failed"|"rate"|"refused"|"answer"|"ended" what, of one error
function M.of(err)
  if err.kind == "cancelled" or err.kind == "closed" or err.kind == "queue_full" then
    return "ended"
  elseif err.kind == "rate_limited" or err.about == "rate" then
    return "rate"
  elseif final[err.about] then
    return "failed"
  elseif resting[err.about] or resting[err.kind] then
    return "refused"
  elseif err.kind == "invalid_request" or (not err.retryable and err.status) then
    return "failed"
  end
  return "answer"
end

local function is_overall(err)
  for _, entry in ipairs(err.errors or {}) do
    if entry.code == OVERALL then
      return true
    end
  end
  return err.code == OVERALL
end

local function note(outcome, what, err)
  if what == "rate" then
    local seconds = math.min(err.retry_after or 1, LONGEST)
    outcome.held = math.max(outcome.held or 0, seconds)
    -- Somebody else draws from the budget too: what we counted is not there.
    outcome.is_drained = outcome.is_drained or err.status ~= nil
    if is_overall(err) then
      outcome.held_all = math.max(outcome.held_all or 0, seconds)
    end
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

--- The outcome of a purge that failed, for `settle`. `key_of(item)` and `text_of(err)` are the store's; what is neither
--- failed nor waiting was accepted.
---@param err cfpurge.Error
---@param kind string
---@return table outcome { failed, waiting, accepted, rest, held, held_all, is_drained, extra }
function M.failed(err, kind, key_of, text_of)
  local outcome = {
    failed = {}, waiting = {}, accepted = (err.accepted or 0) > 0, extra = math.max((err.requests or 1) - 1, 0),
  }
  local failures = err.failures
  if kind == "everything" or not failures then
    local what = M.of(err)
    note(outcome, what, err)
    if what ~= "failed" then
      outcome.waiting = "all"
      return outcome
    end
    failures = { { error = err, items = kind == "everything" and { false } or err.remaining[kind] } }
  end
  local is_failed = {}
  for _, failure in ipairs(failures) do
    local what = M.of(failure.error)
    note(outcome, what, failure.error)
    for _, item in ipairs(what == "failed" and failure.items or {}) do
      local key = key_of(item)
      is_failed[key] = true
      outcome.failed[#outcome.failed + 1] = { key, text_of(failure.error) }
    end
  end
  local remaining = kind ~= "everything" and err.remaining and err.remaining[kind] or {}
  for _, item in ipairs(type(remaining) == "table" and remaining or {}) do
    local key = key_of(item)
    if not is_failed[key] then
      outcome.waiting[#outcome.waiting + 1] = key
    end
  end
  if err.failures and #outcome.waiting > 0 then
    note(outcome, M.of(err), err)
  end
  -- Something of the zone was accepted: it does not rest for what a part of it met.
  if outcome.accepted and outcome.rest then
    outcome.rest = { first = ANSWER.first, most = ANSWER.first, why = outcome.rest.why }
  end
  return outcome
end

return M
