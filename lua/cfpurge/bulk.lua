--- Lists of any length: split, stream, isolate, account for every item.
--
-- A job fills one request of the client. Its chunks are { items, at = the first one's place in the source }; what to
-- send next comes from `again` (chunks that were split or put back), then from the source. It moves only when one of
-- its chunks has ended, so that it works the same in every host.
local core = require "cfpurge.core"
local variants = require "cfpurge.variants"

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

-- Requests refused, none accepted, none for certain about an item: it is the request that is refused.
local REFUSALS = 12
-- Requests without a usable answer in a row: the API is out of reach.
local UNANSWERED = 3
-- 429 in a row, although every one was waited for as told.
local LIMITED = 20

-- ---- chunks ----

local function slice(chunk, from, to)
  local items = {}
  for i = from, to do
    items[#items + 1] = chunk.items[i]
  end
  return { items = items, at = chunk.at + from - 1 }
end

function Job:put_back(chunk, from, to)
  if from <= to then
    table.insert(self.again, self.refused > 0 and 1 or #self.again + 1, slice(chunk, from, to))
  end
end

-- The earlier part is taken first.
function Job:split(chunk, size)
  self:put_back(chunk, size + 1, #chunk.items)
  self:put_back(chunk, 1, size)
end

-- At most `size` items of the source; nil at its end. An iterator that raises ends it.
function Job:read()
  local items = {}
  while not self.exhausted and #items < self.size do
    local ok, item = pcall(self.next_item)
    if not ok then
      self:stop(core.error("invalid_request", ("%s: the iterator raised: %s"):format(self.kind, tostring(item)),
        { field = self.kind }))
    end
    if not ok or item == nil then
      self.exhausted = true
    else
      items[#items + 1] = item
    end
  end
  self.position = self.position + #items
  return #items > 0 and { items = items, at = self.position - #items + 1 } or nil
end

-- While all is refused, what was never tried goes first, and all halves before a quarter: one item accepted shows that
-- the request is not at fault.
function Job:next_chunk()
  local chunk = self.refused > 0 and self:read() or table.remove(self.again)
  if chunk and #chunk.items > self.size then
    self:split(chunk, self.size)
    chunk = table.remove(self.again)
  end
  return chunk or self:read()
end

-- ---- how a chunk ended ----

-- Nothing more is sent; what is in flight still counts.
function Job:stop(err)
  self.stopped = self.stopped or err
end

function Job:fail(chunk, err)
  self.failed = self.failed + #chunk.items
  self.failures[#self.failures + 1] = { error = err, items = chunk.items, at = chunk.at }
end

-- The validation refused one item of an iterator: it fails alone.
function Job:refused_here(chunk, err)
  local place = tonumber((err.field or ""):match "%[(%d+)%]")
  if not place then
    self:fail(chunk, err)
    return self:stop(err)
  end
  local at = ("[%d]"):format(chunk.at + place - 1)
  err.field, err.message = err.field:gsub("%[%d+%]", at, 1), err.message:gsub("%[%d+%]", at, 1)
  err.remaining = nil
  self:fail(slice(chunk, place, place), err)
  self:put_back(chunk, place + 1, #chunk.items)
  self:put_back(chunk, 1, place - 1)
end

function Job:accepted_one(chunk, result)
  self.accepted = self.accepted + #chunk.items
  self.refused, self.unanswered, self.limited = 0, 0, 0
  self.attempts = self.attempts + result.attempts
  self.ray_id = result.ray_id
  for _, id in ipairs(result.ids) do
    self.ids[#self.ids + 1] = id
  end
  for _, message in ipairs(result.messages) do
    self.messages[#self.messages + 1] = message
  end
end

local function is_refusal(err)
  return err.kind == "bad_request" or err.kind == "unprocessable"
end

local function is_over_limit(err)
  return err.status == 413 or over_limit[err.code]
end

function Job:refused_one(chunk, err)
  local count = #chunk.items
  self.attempts = self.attempts + err.attempts
  if is_over_limit(err) and count > 1 then
    self.size = math.min(self.size, math.ceil(count / 2))
    self.client.sizes[self.kind] = self.size
    return self:split(chunk, self.size)
  elseif err.kind == "rate_limited" and self.limited < LIMITED and not self:waits_too_long(err) then
    self.limited = self.limited + 1
    return self:put_back(chunk, 1, count)
  elseif is_refusal(err) and not about_request[err.code] then
    if self.accepted == 0 and not about_item[err.code] then
      self.refused = self.refused + 1
    end
    if self.refused > REFUSALS then
      self:stop(err)
    elseif self.isolate and count > 1 then
      return self:split(chunk, math.floor(count / 2))
    end
  elseif hopeless[err.kind] or err.kind == "rate_limited" or is_refusal(err) then
    self:stop(err)
  else
    self.unanswered = self.unanswered + 1
    if self.unanswered >= UNANSWERED then
      self:stop(err)
    end
  end
  self:fail(chunk, err)
end

function Job:waits_too_long(err)
  return err.retry_after and err.retry_after > self.max_retry_wait
end

function Job:ended(part, chunk, result, err)
  self.parts[part] = nil
  self.in_flight = self.in_flight - 1
  if result then
    self:accepted_one(chunk, result)
  else
    self:refused_one(chunk, err)
  end
  self:progress()
  self:go_on()
end

-- ---- sending ----

function Job:options_now()
  if not self.ends then
    return self.options
  end
  local options = {}
  for name, value in pairs(self.options or {}) do
    options[name] = value
  end
  options.deadline = math.max(self.ends - core.now(), 0.001)
  return options
end

function Job:send(chunk)
  local part, err
  local params = { zone_id = self.base.zone_id, environment_id = self.base.environment_id, [self.kind] = chunk.items }
  part, err = self.client:part(params, self:options_now(), function(result, failure)
    self:ended(part, chunk, result, failure)
  end)
  if part then
    self.parts[part] = true
    self.in_flight = self.in_flight + 1
    self.requests = self.requests + 1
    self.sent = self.sent + #chunk.items
  else
    self:refused_here(chunk, err)
  end
end

function Job:go_on()
  -- An iterator that came back to the client: whoever called it goes on.
  if self.is_going then
    return
  end
  self.is_going = true
  while not self.stopped and self.in_flight < self.max_in_flight do
    local chunk = self:next_chunk()
    if self.ends and core.now() >= self.ends then
      self:stop(core.error("timeout", "the deadline passed"))
    end
    if not chunk then
      break
    elseif self.stopped then
      self:put_back(chunk, 1, #chunk.items)
    else
      self:send(chunk)
    end
  end
  self.is_going = false
  if self.in_flight == 0 and not self.finished then
    self.finished = true
    self:finish()
  end
end

function Job:cancel()
  self:stop(core.error("cancelled", "cancelled"))
  for part in pairs(self.parts) do
    self.client.core:cancel(part.id)
  end
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

-- Exactly what was not accepted, in the source's order: a list, or an iterator where the source is one that has more.
function Job:remaining()
  local chunks, items = {}, {}
  for _, list in ipairs { self.failures, self.again } do
    for _, chunk in ipairs(list) do
      chunks[#chunks + 1] = chunk
    end
  end
  table.sort(chunks, function(a, b)
    return a.at < b.at
  end)
  for _, chunk in ipairs(chunks) do
    for _, item in ipairs(chunk.items) do
      items[#items + 1] = item
    end
  end
  if not self.is_stream then
    for item in self.next_item do
      items[#items + 1] = item
    end
  end
  if not self.is_stream or self.exhausted then
    return items
  end
  local i, next_item = 0, self.next_item
  return function()
    i = i + 1
    if items[i] ~= nil then
      return items[i]
    end
    return next_item()
  end
end

function Job:error(cause)
  local fields = {}
  for name, value in pairs(cause) do
    fields[name] = value
  end
  local remaining = {}
  for name, value in pairs(self.base) do
    remaining[name] = value
  end
  remaining[self.kind] = self:remaining()
  fields.accepted, fields.failures, fields.remaining = self.accepted, self.failures, remaining
  fields.requests, fields.attempts, fields.ids = self.requests, self.attempts, self.ids
  local message = cause.message
  if self.refused > REFUSALS then
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
  local cause = self.stopped or (self.failures[1] and self.failures[1].error)
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
    ray_id = self.ray_id,
    messages = self.messages,
  })
end

-- ---- what the client calls ----

local function new(client, request, kind, call, base)
  local options = {}
  for name, value in pairs(call.options or {}) do
    options[name] = value
  end
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
    again = {}, parts = {}, failures = {}, ids = {}, messages = {},
    position = 0, in_flight = 0, accepted = 0, failed = 0, sent = 0, requests = 0, attempts = 0,
    refused = 0, unanswered = 0, limited = 0,
  }, Job)
  request.job = job
  return job
end

local function iterate(items)
  local i = 0
  return function()
    i = i + 1
    return items[i]
  end
end

-- Without the items that are the same to the API.
local function distinct(client, kind, list)
  local seen, items = {}, {}
  for _, item in ipairs(list) do
    local key = client.core:key(kind, item)
    if not seen[key] then
      seen[key] = true
      items[#items + 1] = item
    end
  end
  return items
end

local M = {}

--- Sends what `list` holds, a table or an iterator, and completes `request`.
---@return boolean ok, string? raised, cfpurge.Error? err
function M.start(client, request, kind, list, call, base, check_list)
  local job, raised, err = new(client, request, kind, call, base)
  if not job then
    return false, raised, err
  end
  local ok
  ok, raised, err = check_list(client, call, kind, list, job.size)
  if not ok then
    return ok, raised, err
  end
  if type(list) == "table" then
    list = distinct(client, kind, list)
    job.next_item, job.total = iterate(list), #list
  else
    job.next_item, job.total = list, variants.total(list)
    job.is_stream = true
  end
  job:go_on()
  return true
end

--- Goes on with a request that failed, where smaller ones may do better. False: they may not.
function M.adopt(client, request, kind, items, err)
  if #items < 2 or not (is_over_limit(err) or (is_refusal(err) and not about_request[err.code])) then
    return false
  end
  local base = { zone_id = err.remaining.zone_id, environment_id = err.remaining.environment_id }
  local job = new(client, request, kind, request.call or request, base)
  if not job or not (job.isolate or is_over_limit(err)) then
    request.job = nil
    return false
  end
  job.next_item, job.total, job.exhausted = iterate {}, #items, true
  job.position, job.requests, job.sent = #items, 1, #items
  job:refused_one({ items = items, at = 1 }, err)
  job:go_on()
  return true
end

return M
