--- Decides what becomes of a chunk, by how its request ended: pure, it sends nothing and knows no client.
--
-- The counters are a job's: size (items in a request), accepted, and how often it was, one after another, refused,
-- alone, untried, pieces (evidence that the request is at fault, below) and unanswered; the largest request that was
-- accepted and the smallest that was refused; `taken`, accepted requests in a row. `is_blamed`: it was given up because
-- every request was refused; `is_stopped`: nothing more is sent.
local M = {}

-- What no other item can escape: what the answer is about (base/verdict.h), or its kind where it is about nothing. The
-- core has waited for the rate as long as it may.
local hopeless = {
  credential = true, zone = true, plan = true, rate = true, tls = true, closed = true, cancelled = true,
  invalid_request = true,
}

-- Requests refused, none accepted, none for certain about an item, one item alone among them: it is the request that
-- is refused; or twice as many. Where each is about an item for certain, so are all: after so many items, each alone,
-- so many parts of the list that had not been tried, and so many pieces of these.
local REFUSALS = 12
-- In flight while all is refused: what each answer teaches is to be known before more is sent.
local PROBES = 2
-- Requests without a usable answer in a row: the API is out of reach.
local UNANSWERED = 3
-- Accepted in a row, and then the size of requests that was learned is forgotten.
local FORGET = 500

---@param size integer items of one request
---@param limits {max_items: integer, isolate: boolean}
---@return table counters
function M.counters(size, limits)
  return {
    size = size, max_items = limits.max_items, isolate = limits.isolate, accepted = 0, taken = 0,
    refused = 0, alone = 0, untried = 0, pieces = 0, unanswered = 0, largest = 0, smallest = math.huge,
    is_stopped = false, is_blamed = false,
  }
end

local function is_refusal(err)
  return err.about == "item" or err.about == "request"
end

--- May smaller requests do better than one that failed so?
function M.may_mend(err, isolate)
  return err.about == "size" or (isolate and is_refusal(err)) or false
end

--- Has every request been refused?
function M.is_refused(counters)
  local is_alone = counters.smallest == 1 or not counters.isolate
  return counters.refused > REFUSALS and is_alone or counters.refused > 2 * REFUSALS or counters.pieces > REFUSALS
end

--- While all is refused, in turn: the smallest part, which shows whether the size is at fault; the oldest, so that all
--- halves come before a quarter; and what was never tried. One item accepted shows that the request is not at fault.
---@return "newest"|"smallest"|"oldest"|"untried"
function M.choose(counters)
  if counters.refused >= REFUSALS then
    return "smallest"
  elseif counters.refused > 0 then
    return ({ "smallest", "oldest", "untried" })[(counters.refused - 1) % 3 + 1]
  end
  return counters.alone >= REFUSALS and counters.untried < REFUSALS and "untried" or "newest"
end

--- How many may be in flight?
function M.most_in_flight(counters, most)
  return counters.refused > 0 and math.min(PROBES, most) or most
end

-- Which count a refusal adds to, if any.
local function evidence(counters, chunk, err)
  if err.about ~= "item" then
    return "refused"
  elseif counters.alone >= REFUSALS and counters.untried >= REFUSALS then
    return "pieces"
  end
  return chunk.count == 1 and "alone" or chunk.is_fresh and "untried"
end

--- Notes that a request was accepted: "accept", or "resume" where what was given up because all was refused goes again.
---@param chunk {count: integer, whole: table?} `whole`: what `failed` said of the request that it is a half of
---@return "accept"|"resume"
function M.accepted(counters, chunk)
  local whole = chunk.whole
  counters.refused, counters.unanswered, counters.smallest = 0, 0, math.huge
  counters.largest, counters.size = math.max(counters.largest, chunk.count), math.max(counters.size, chunk.count)
  counters.taken = counters.taken + 1
  if counters.taken >= FORGET then
    counters.taken, counters.size = 0, counters.max_items
  end
  if whole then
    whole.left = whole.left - 1
    if whole.left == 0 and whole.count > counters.largest then
      -- Nothing was wrong with the items: there were too many of them.
      counters.size = math.min(counters.size, math.ceil(whole.count / 2))
    end
  end
  return counters.is_blamed and "resume" or "accept"
end

-- Notes a refusal that may be about an item, the request, or a size that nobody knows to be too large.
local function refused(counters, chunk, err)
  local count, one = chunk.count, chunk.is_counted and 0 or 1
  local name = counters.accepted == 0 and evidence(counters, chunk, err)
  if name then
    counters[name] = counters[name] + one
    counters.smallest = name == "refused" and math.min(counters.smallest, count) or counters.smallest
  end
  if M.is_refused(counters) then
    counters.is_blamed = counters.is_blamed or not counters.is_stopped
    counters.is_stopped = true
  elseif counters.isolate and count > 1 then
    return "split", math.floor(count / 2), err.about == "request" and { count = count, left = 2 } or nil
  end
  return "fail"
end

--- Notes how a request failed, and decides: "put_back", "split" into parts of `size`, or "fail". `is_stopped` may be
--- set. `whole` is for `accepted`, when a half was.
---@param chunk {count: integer, is_fresh: boolean, is_cut: boolean, is_counted: boolean}
---@param err {kind: string, about: string?}
---@return "put_back"|"split"|"fail" verdict, integer? size, table? whole
function M.failed(counters, chunk, err)
  local count = chunk.count
  counters.taken = 0
  if chunk.is_cut then
    return "put_back"
  elseif err.about == "size" and count > 1 then
    counters.size = math.min(counters.size, math.ceil(count / 2))
    return "split", counters.size
  elseif is_refusal(err) then
    return refused(counters, chunk, err)
  elseif hopeless[err.about or err.kind] then
    counters.is_stopped = true
  else
    counters.unanswered = counters.unanswered + (chunk.is_counted and 0 or 1)
    counters.is_stopped = counters.is_stopped or counters.unanswered >= UNANSWERED
  end
  return "fail"
end

--- Decides what becomes of a chunk that could not begin: "wait" for one that is in flight to end, or "fail", and then
--- nothing more begins.
---@return "wait"|"fail" verdict
function M.not_begun(counters, err, in_flight)
  if err.kind == "queue_full" and in_flight > 0 then
    return "wait"
  end
  counters.is_stopped = true
  return "fail"
end

return M
