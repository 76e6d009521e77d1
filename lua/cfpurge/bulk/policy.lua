--- Decides what becomes of a chunk, by how its request ended: pure, it sends nothing and knows no client.
--
-- The counters are a job's: size (items in a request), accepted, and how often it was, one after another, refused,
-- alone, untried, pieces (evidence that the request is at fault, below), unanswered and limited. `is_blamed`: it was
-- given up because every request was refused; `is_stopped`: nothing more is sent.
local M = {}

-- Answers to a request that holds too many items (cloudflare-api.md); they say nothing about the items.
local over_limit = { [1094] = true, [1101] = true, [1111] = true }

-- Refusals that are about the zone, the credential or the path whatever the items are.
local about_request = { [7000] = true, [7003] = true, [10000] = true }

-- Refusals that are about an item for certain.
local about_item = { [1016] = true, [1082] = true, [1100] = true, [1136] = true }

-- No other item can escape these.
local hopeless = {
  authentication = true, permission_denied = true, not_found = true, tls = true, closed = true, cancelled = true,
  invalid_request = true,
}

-- Requests refused, none accepted, none for certain about an item: it is the request that is refused. Where each is
-- about an item for certain, so are all: after so many items, each alone, so many parts of the list that had not been
-- tried, and so many pieces of these.
local REFUSALS = 12
-- Requests without a usable answer in a row: the API is out of reach.
local UNANSWERED = 3
-- 429 in a row, although every one was waited for as told.
local LIMITED = 20

---@param size integer items of one request
---@param limits {max_retry_wait: number, isolate: boolean}
---@return table counters
function M.counters(size, limits)
  return {
    size = size, max_retry_wait = limits.max_retry_wait, isolate = limits.isolate, accepted = 0,
    refused = 0, alone = 0, untried = 0, pieces = 0, unanswered = 0, limited = 0,
    is_stopped = false, is_blamed = false,
  }
end

local function is_refusal(err)
  return err.kind == "bad_request" or err.kind == "unprocessable"
end

local function is_over_limit(err)
  return err.status == 413 or over_limit[err.code] or false
end

--- May smaller requests do better than one that failed so?
function M.may_mend(err, isolate)
  return is_over_limit(err) or (isolate and is_refusal(err) and not about_request[err.code]) or false
end

--- Has every request been refused?
function M.is_refused(counters)
  return counters.refused > REFUSALS or counters.pieces > REFUSALS
end

--- While all is refused, what was never tried goes first, and all halves before a quarter: one item accepted shows that
--- the request is not at fault.
function M.prefers_untried(counters)
  return counters.refused > 0 or (counters.alone >= REFUSALS and counters.untried < REFUSALS)
end

-- Which count a refusal adds to, if any.
local function evidence(counters, chunk, err)
  if not about_item[err.code] then
    return "refused"
  elseif counters.alone >= REFUSALS and counters.untried >= REFUSALS then
    return "pieces"
  end
  return chunk.count == 1 and "alone" or chunk.is_fresh and "untried"
end

--- Notes that a request was accepted: "accept", or "resume" where what was given up because all was refused goes again.
---@return "accept"|"resume"
function M.accepted(counters)
  counters.refused, counters.unanswered, counters.limited = 0, 0, 0
  return counters.is_blamed and "resume" or "accept"
end

--- Notes how a request failed, and decides: "put_back", "split" into parts of `size`, or "fail". `is_stopped` may be
--- set.
---@param chunk {count: integer, is_fresh: boolean, is_cut: boolean, is_counted: boolean}
---@param err {kind: string, status: integer?, code: integer?, retry_after: number?}
---@return "put_back"|"split"|"fail" verdict, integer? size
function M.failed(counters, chunk, err)
  local count, one = chunk.count, chunk.is_counted and 0 or 1
  if chunk.is_cut then
    return "put_back"
  elseif is_over_limit(err) and count > 1 then
    counters.size = math.min(counters.size, math.ceil(count / 2))
    return "split", counters.size
  elseif err.kind == "rate_limited" and counters.limited < LIMITED
    and not (err.retry_after and err.retry_after > counters.max_retry_wait) then
    counters.limited = counters.limited + one
    return "put_back"
  elseif is_refusal(err) and not about_request[err.code] then
    local name = counters.accepted == 0 and evidence(counters, chunk, err)
    if name then
      counters[name] = counters[name] + one
    end
    if M.is_refused(counters) then
      counters.is_blamed = counters.is_blamed or not counters.is_stopped
      counters.is_stopped = true
    elseif counters.isolate and count > 1 then
      return "split", math.floor(count / 2)
    end
  elseif hopeless[err.kind] or err.kind == "rate_limited" or is_refusal(err) then
    counters.is_stopped = true
  else
    counters.unanswered = counters.unanswered + one
    counters.is_stopped = counters.is_stopped or counters.unanswered >= UNANSWERED
  end
  return "fail"
end

--- Decides what becomes of a chunk that could not begin: "wait" for one that is in flight to end, "fail" where none is
--- and then nothing more begins, or "refused", where it is about an item.
---@return "wait"|"fail"|"refused" verdict
function M.not_begun(counters, err, in_flight)
  if err.kind == "queue_full" and in_flight > 0 then
    return "wait"
  elseif err.kind == "invalid_request" and (err.field or ""):find "%[%d+%]" then
    return "refused"
  end
  counters.is_stopped = true
  return "fail"
end

return M
