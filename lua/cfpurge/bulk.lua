--- Lists of any length: split, stream, isolate, account for every item.
--
-- A job fills one request of the client. Its chunks are { items, at = the first one's place in the source }; what to
-- send next comes from `again` (chunks that were split or put back), then from the source. It moves only when one of
-- its chunks has ended, so that it works the same in every host.
local core = require "cfpurge.core"
local requests = require "cfpurge.request"
local tables = require "cfpurge.tables"
local variants = require "cfpurge.variants"

local M = {}

local Job = {}
Job.__index = Job

-- Answers to a request that holds too many items (cloudflare-api.md); they say nothing about the items.
local over_limit = { [1094] = true, [1101] = true, [1111] = true }
-- Refusals that are about the zone, the credential or the path whatever the items are.
local about_request = { [7000] = true, [7003] = true, [10000] = true }
-- Refusals that are about an item for certain.
local about_item = { [1016] = true, [1082] = true, [1100] = true, [1136] = true }
-- What no other item can escape.
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

-- ---- chunks ----

local NONE = {}

local function new_chunk(items, at)
  -- fresh: as it was read; counted: its end is in the job's numbers; cut: the rest of it went back; ids, messages: how
  -- many of its answer's are in the job's lists.
  return { items = items, at = at, fresh = false, counted = false, cut = false, ids = 0, messages = 0 }
end

local function slice(chunk, from, to)
  return new_chunk(tables.slice(chunk.items, from, to), chunk.at + from - 1)
end

function Job:put_back(chunk)
  if #chunk.items > 0 then
    table.insert(self.again, self.refused > 0 and 1 or #self.again + 1, chunk)
  end
end

-- What is behind the first `size` items goes back, and is taken later than those.
function Job:cut(chunk, size)
  local first, rest = slice(chunk, 1, size), slice(chunk, size + 1, #chunk.items)
  self:put_back(rest)
  chunk.items, chunk.cut = first.items, true
end

-- In two, both of which go back.
function Job:split(chunk, size)
  if not chunk.cut then
    self:cut(chunk, size)
  end
  self:put_back(chunk)
end

-- At most `size` items of the source; nil at its end.
function Job:read()
  local chunk = self.reading or new_chunk({}, self.position + 1)
  local items = chunk.items
  self.reading = chunk
  while #items < self.size and not self.exhausted and self.raised == NONE do
    if self.item == NONE then
      local ok, item = pcall(self.next_item)
      if not ok then
        self.raised = item
        self.exhausted = M.ends_iterator(item)
      elseif item ~= nil then
        self.item = item
      else
        self.exhausted = true
      end
    end
    if self.item ~= NONE then
      items[#items + 1] = self.item
      self.item, self.position = NONE, self.position + 1
    end
  end
  self.reading, chunk.fresh = false, true
  return #items > 0 and chunk or nil
end

-- While all is refused, what was never tried goes first, and all halves before a quarter: one item accepted shows that
-- the request is not at fault.
function Job:next_chunk()
  local is_suspect = self.refused > 0 or (self.alone >= REFUSALS and self.untried < REFUSALS)
  return is_suspect and self:read() or table.remove(self.again) or self:read()
end

-- ---- how a chunk ended ----

-- Nothing more is sent; what is in flight still counts.
function Job:stop(err)
  self.stopped = self.stopped or err
end

function Job:fail(chunk, err)
  self.failures[#self.failures + 1] = { error = err, items = chunk.items, at = chunk.at }
  self.failed = self.failed + #chunk.items
end

-- The validation refused one item of an iterator: it fails alone.
function Job:refused_here(chunk, err)
  local place = tonumber((err.field or ""):match "%[(%d+)%]")
  if not place then
    self:stop(err)
    return self:fail(chunk, err)
  end
  local before, refused = slice(chunk, 1, place - 1), slice(chunk, place, place)
  local at = ("[%d]"):format(refused.at)
  err.field, err.message = err.field:gsub("%[%d+%]", at, 1), err.message:gsub("%[%d+%]", at, 1)
  err.remaining = nil
  self:cut(chunk, place)
  self:fail(refused, err)
  chunk.items = before.items
end

local function add_all(list, more, chunk, name)
  for i = chunk[name] + 1, #more do
    list[#list + 1] = more[i]
    chunk[name] = i
  end
end

-- The request was not at fault after all: what was given up for that goes again.
function Job:resume()
  for i = #self.failures, self.blamed, -1 do
    local given_up = self.failures[i]
    self:put_back(new_chunk(given_up.items, given_up.at))
    self.failures[i] = nil
    self.failed = self.failed - #given_up.items
  end
  self.stopped, self.blamed, self.pieces = false, false, 0
end

function Job:accepted_one(chunk, result)
  add_all(self.ids, result.ids, chunk, "ids")
  add_all(self.messages, result.messages, chunk, "messages")
  self.refused, self.unanswered, self.limited = 0, 0, 0
  if self.blamed then
    self:resume()
  end
  self.accepted = self.accepted + #chunk.items
  self.attempts = self.attempts + result.attempts
  self.ray_id = result.ray_id
end

local function is_refusal(err)
  return err.kind == "bad_request" or err.kind == "unprocessable"
end

local function is_over_limit(err)
  return err.status == 413 or over_limit[err.code]
end

function Job:refused_one(chunk, err)
  local count, one = #chunk.items, chunk.counted and 0 or 1
  chunk.counted = true
  self.attempts = self.attempts + one * err.attempts
  if chunk.cut then
    return self:put_back(chunk)
  elseif is_over_limit(err) and count > 1 then
    self.size = math.min(self.size, math.ceil(count / 2))
    self.client.sizes[self.kind] = self.size
    return self:split(chunk, self.size)
  elseif err.kind == "rate_limited" and self.limited < LIMITED and not self:waits_too_long(err) then
    self.limited = self.limited + one
    return self:put_back(chunk)
  elseif is_refusal(err) and not about_request[err.code] then
    local what = self.accepted == 0 and self:evidence(chunk, err)
    if what then
      self[what] = self[what] + one
    end
    if self:is_refused() then
      -- The failure that this one becomes is the first of those.
      self.blamed = not self.stopped and #self.failures + 1 or self.blamed
      self:stop(err)
    elseif self.isolate and count > 1 then
      return self:split(chunk, math.floor(count / 2))
    end
  elseif hopeless[err.kind] or err.kind == "rate_limited" or is_refusal(err) then
    self:stop(err)
  else
    self.unanswered = self.unanswered + one
    if self.unanswered >= UNANSWERED then
      self:stop(err)
    end
  end
  self:fail(chunk, err)
end

-- Which count a refusal adds to, if any.
function Job:evidence(chunk, err)
  if not about_item[err.code] then
    return "refused"
  elseif self.alone >= REFUSALS and self.untried >= REFUSALS then
    return "pieces"
  end
  return #chunk.items == 1 and "alone" or chunk.fresh and "untried"
end

function Job:is_refused()
  return self.refused > REFUSALS or self.pieces > REFUSALS
end

function Job:waits_too_long(err)
  return err.retry_after and err.retry_after > self.max_retry_wait
end

function Job:ended(part, result, err)
  local chunk = self.parts[part]
  if chunk and result then
    self:accepted_one(chunk, result)
  elseif chunk then
    self:refused_one(chunk, err)
  end
  if chunk then
    self.parts[part] = nil
    self.in_flight = self.in_flight - 1
    self:progress()
  end
  self:go_on()
end

-- ---- sending ----

function Job:send(chunk)
  local params = { zone_id = self.base.zone_id, environment_id = self.base.environment_id, [self.kind] = chunk.items }
  chunk.counted, chunk.cut, chunk.ids, chunk.messages = false, false, 0, 0
  local part, err = self.client:part(params, requests.left(self.options, self.ends), self.handle)
  if part then
    self.parts[part] = chunk
    self.in_flight = self.in_flight + 1
    self.requests = self.requests + 1
    self.sent = self.sent + #chunk.items
    self.current = false
    if self.in_flight == 1 then
      -- Reading the rest may wait, or end with the coroutine.
      self.client:drive()
    end
  else
    self:refused_here(chunk, err)
    self.current = not self.stopped and #chunk.items > 0 and chunk
  end
end

function Job:send_all()
  while not self.stopped and self.in_flight < self.max_in_flight do
    self.current = self.current or self:next_chunk()
    if self.stopped then
      -- By the iterator, which has cancelled or let the client report.
      break
    elseif self.raised ~= NONE then
      self:stop(M.iterator_error(self.kind, self.raised))
    elseif not self.current then
      break
    elseif self.ends and core.now() >= self.ends then
      self:stop(core.error("timeout", "the deadline passed"))
    elseif #self.current.items > self.size then
      self:cut(self.current, self.size)
    else
      self:send(self.current)
    end
  end
end

function Job:go_on()
  -- An iterator that came back to the client: whoever called it goes on.
  if self.is_going then
    return
  end
  self.is_going = true
  local ok, raised = pcall(self.send_all, self)
  self.is_going = false
  if not ok then
    error(raised, 0)
  end
  if self.in_flight == 0 and not self.finished then
    self:finish()
    self.finished = true
  end
end

function Job:cancel()
  self.blamed = false
  self:stop(core.error("cancelled", "cancelled"))
  for part in tables.entries(self.parts) do
    self.client.core:cancel(part.id)
  end
  self:go_on()
end

-- ---- the account ----

function Job:progress()
  if self.on_progress then
    local seconds = core.now() - self.started
    local rate = seconds > 0 and self.accepted / seconds or 0
    self.client:call(self.on_progress, {
      accepted = self.accepted,
      failed = self.failed,
      sent = self.sent,
      total = self.total,
      rate = rate,
      eta = self.total and rate > 0 and (self.total - self.accepted - self.failed) / rate or nil,
    })
  end
end

local function stands_before(a, b)
  return a.at < b.at
end

-- Exactly what was not accepted, in the source's order: a list, or an iterator where the source is one that has more.
function Job:remaining()
  local chunks, items = { self.current or nil }, {}
  for _, list in ipairs { self.failures, self.again, { self.reading or nil } } do
    for _, chunk in ipairs(list) do
      chunks[#chunks + 1] = chunk
    end
  end
  table.sort(chunks, stands_before)
  for _, chunk in ipairs(chunks) do
    for _, item in ipairs(chunk.items) do
      items[#items + 1] = item
    end
  end
  if self.list then
    for i = self.position + 1, #self.list do
      items[#items + 1] = self.list[i]
    end
    return items
  end
  if self.item ~= NONE then
    items[#items + 1] = self.item
  end
  if self.exhausted then
    return items
  end
  return tables.chained(tables.each(items), self.next_item)
end

--- What an error says of it where all that is in flight is taken back.
function Job:withdrawn(params)
  for _, chunk in tables.entries(self.parts) do
    self.again[#self.again + 1] = chunk
  end
  local remaining = tables.copy(params)
  remaining[self.kind] = self:remaining()
  return { accepted = self.accepted, remaining = remaining }
end

function Job:error(cause)
  local fields, remaining = tables.copy(cause), tables.copy(self.base)
  remaining[self.kind] = self:remaining()
  fields.accepted, fields.failures, fields.remaining = self.accepted, self.failures, remaining
  fields.requests, fields.attempts, fields.ids = self.requests, self.attempts, self.ids
  fields.elapsed = self.requests > 0 and core.now() - self.started or nil
  local message = cause.message
  if self:is_refused() then
    message = ("every one of %d requests was refused, it is not about an item: %s"):format(self.requests, message)
  end
  if self.accepted > 0 or #self.failures > 1 then
    local count = type(remaining[self.kind]) == "table" and #remaining[self.kind] .. " items" or "items"
    message = ("%s were not accepted, %d were: %s"):format(count, self.accepted, message)
  end
  fields.message, fields.kind = nil, nil
  return core.error(cause.kind, message, fields)
end

function Job:finish()
  -- In the source's order, whichever answer came first.
  table.sort(self.failures, stands_before)
  local cause = self.stopped or (self.failures[1] and self.failures[1].error)
  if cause and cause.kind == "cancelled" then
    local remaining = self:remaining()
    if type(remaining) == "table" and #remaining == 0 then
      -- It came too late.
      cause = nil
    end
  end
  if not cause and self.position == 0 then
    cause = core.error("invalid_request", self.kind .. ": must not be empty", { field = self.kind })
  end
  if cause then
    return self.client:complete(self.request, nil, self:error(cause))
  end
  self.client:complete(self.request, {
    id = self.ids[1],
    ids = self.ids,
    accepted = self.accepted,
    requests = self.requests,
    attempts = self.attempts,
    elapsed = core.now() - self.started,
    ray_id = self.ray_id or nil,
    messages = self.messages,
  })
end

-- ---- what the client calls ----

local function new(client, request, kind, call, base)
  local options = tables.copy(call.options)
  local ok, size, max_in_flight, max_retry_wait, isolate, deadline =
    pcall(client.core.limits, client.core, kind, call.options)
  if not (ok and size) then
    return nil, not ok and size or nil, ok and max_in_flight or nil
  end
  local job = setmetatable({
    client = client, request = request, kind = kind, base = base, options = options,
    size = math.min(size, client.sizes[kind] or size), max_in_flight = max_in_flight, max_retry_wait = max_retry_wait,
    isolate = isolate, on_progress = options.on_progress,
    started = call.started, ends = deadline and call.started + deadline,
    item = NONE, reading = false, current = false, again = {}, parts = {}, failures = {}, ids = {}, messages = {},
    position = 0, in_flight = 0, accepted = 0, failed = 0, sent = 0, requests = 0, attempts = 0,
    refused = 0, alone = 0, untried = 0, pieces = 0, unanswered = 0, limited = 0,
    raised = NONE, exhausted = false, stopped = false, blamed = false, is_going = false, finished = false,
    ray_id = false,
  }, Job)
  job.handle = function(part, result, failure)
    job:ended(part, result, failure)
  end
  return job
end

--- Is an iterator that raised this at its end? Where memory was short it may go on.
function M.ends_iterator(raised)
  return raised ~= "not enough memory"
end

---@return cfpurge.Error err of an iterator that raised
function M.iterator_error(kind, raised)
  return core.error("invalid_request", ("%s: the iterator raised: %s"):format(kind, tostring(raised)), { field = kind })
end

--- Sends what `list` holds, a table or an iterator, and completes `request`.
---@return boolean ok, string? raised, cfpurge.Error? err
function M.start(client, request, kind, list, call, base, checked)
  if not M.is_job(request.job) then
    local job, raised, err = new(client, request, kind, call, base)
    if not job then
      return false, raised, err
    end
    list, raised, err = checked(client, call, kind, list, job.size)
    if not list then
      return false, raised, err
    end
    if type(list) == "table" then
      job.next_item, job.total, job.list = tables.each(list), #list, list
    else
      job.next_item, job.total = list, variants.total(list)
    end
    request.job = job
  end
  local ok, raised = pcall(request.job.go_on, request.job)
  -- What is in flight takes it up again.
  if not ok and request.job.in_flight == 0 then
    error(raised, 0)
  end
  return true
end

--- Goes on with a request that failed, where smaller ones may do better. False: they may not.
function M.adopt(client, request, kind, items, err)
  if #items < 2 or not (is_over_limit(err) or (is_refusal(err) and not about_request[err.code])) then
    return false
  end
  local job = M.is_job(request.job) and request.job
  if not job then
    local base = { zone_id = err.remaining.zone_id, environment_id = err.remaining.environment_id }
    job = new(client, request, kind, request.call or request, base)
    if not job or not (job.isolate or is_over_limit(err)) then
      return false
    end
    job.next_item, job.total, job.list, job.exhausted = tables.each {}, #items, {}, true
    job.position, job.requests, job.sent, job.in_flight = #items, 1, #items, 1
    job.parts[request] = new_chunk(items, 1)
    request.job = job
  end
  job:ended(request, nil, err)
  return true
end

function M.is_job(value)
  return getmetatable(value) == Job
end

return M
