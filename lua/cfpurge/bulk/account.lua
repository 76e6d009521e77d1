--- A job's account: its progress, what remains of its list, and the result or error that it ends with.
--
-- These are methods of bulk/job.
local chunks = require "cfpurge.bulk.chunks"
local completion = require "cfpurge.completion"
local core = require "cfpurge.core"
local policy = require "cfpurge.bulk.policy"
local requests = require "cfpurge.request"
local tables = require "cfpurge.tables"

local Account = {}

-- The failures are in the list's order, whichever answer came first.
function Account:add_failure(failure)
  local failures = self.failures
  local i = #failures
  while i > 0 and failures[i].at > failure.at do
    i = i - 1
  end
  table.insert(failures, i + 1, failure)
end

function Account:progress()
  if self.on_progress then
    local seconds, accepted, total = core.now() - self.started, self:accepted(), self.source:total()
    local rate = seconds > 0 and accepted / seconds or 0
    local thread = requests.enter(self)
    completion.call_for(self.state, self, self.on_progress, {
      accepted = accepted,
      failed = self.failed + self.source.refusals.count,
      sent = self.sent + self.source.duplicates,
      total = total,
      rate = rate,
      eta = total and rate > 0 and (total - accepted - self.failed - self.source.refusals.count) / rate or nil,
    })
    requests.leave(self, thread)
  end
end

-- What was read and is not accepted.
function Account:not_accepted()
  local parts = self:unsent()
  parts[#parts + 1] = self.source.reading or nil
  for _, chunk in tables.entries(self.parts) do
    parts[#parts + 1] = not chunk.failed and chunk or nil
  end
  for _, failure in ipairs(self.failures) do
    parts[#parts + 1] = failure
  end
  return parts
end

--- How many items were accepted; one that is the same as another is accepted with it.
---@return integer
function Account:accepted()
  local source = self.source
  if source.duplicates == 0 then
    return self.counters.accepted
  end
  return self.counters.accepted + source.duplicates - source:equal_to(self:not_accepted())
end

-- The chunks that were read, and are neither accepted nor failed nor in flight; one that is being read is the source's.
function Account:unsent()
  local others = { self.current or nil }
  for _, chunk in ipairs(self.again) do
    others[#others + 1] = chunk
  end
  return others
end

function Account:remaining()
  return self.source:remaining(self.failures, self:unsent())
end

-- What ended the list is among the failures, with what was read and not sent because of it.
function Account:note_end()
  local stopped = self.stopped
  for _, failure in ipairs(stopped and self.failures or {}) do
    if failure.error.kind == stopped.kind then
      return
    end
  end
  if stopped then
    local items, places, unsent, none = {}, {}, self:unsent(), {}
    unsent[#unsent + 1] = self.source.reading or nil
    table.sort(unsent, function(a, b) return a.at < b.at end)
    for _, chunk in ipairs(unsent) do
      for i, item in ipairs(chunk.items) do
        items[#items + 1], places[#places + 1] = item, chunks.place_of(chunk, i)
      end
    end
    local at = places[1] or self.source.position + 1
    self:add_failure({ error = stopped, items = items, at = at, places = places })
    -- They stand there alone: where memory is short this account begins anew.
    self.current, self.again, self.source.reading = false, none, false
  end
end

-- The kind of its error. Who cancels or closes is told so, and needs no other cause.
function Account:kind_of_error(cause)
  local is_own = cause.kind == "cancelled" or cause.kind == "closed"
  local is_partial = self.counters.accepted > 0
  for _, failure in ipairs(self.failures) do
    is_partial = is_partial or failure.error.kind ~= cause.kind
  end
  return is_partial and not is_own and "partial" or cause.kind
end

--- Its error where all that is in flight is taken back.
---@return cfpurge.Error
function Account:withdrawn(params, problem)
  for _, chunk in tables.entries(self.parts) do
    self.again[#self.again + 1] = chunk
  end
  self.parts = {}
  local remaining = tables.copy(params)
  remaining[self.kind] = self:remaining()
  self.stopped, self.finished = core.error("invalid_request", problem), true
  local err = self.counters.accepted > 0 and self:error(self.stopped) or self.stopped
  err.remaining = remaining
  return err
end

function Account:error(cause)
  local fields, remaining = tables.copy(cause), tables.copy(self.base)
  remaining[self.kind] = self:remaining()
  local accepted = self:accepted()
  self:note_end()
  local kind = self:kind_of_error(cause)
  for _, failure in ipairs(self.failures) do
    fields.retryable = fields.retryable or failure.error.retryable
  end
  fields.accepted, fields.failures, fields.remaining = accepted, self.failures, remaining
  fields.requests, fields.attempts, fields.ids = self.requests, self.attempts, self.ids
  fields.elapsed = self.requests > 0 and core.now() - self.started or nil
  local message = cause.message
  if policy.is_refused(self.counters) then
    message = ("every one of %d requests was refused, so it is not about an item: %s"):format(self.requests, message)
  end
  if kind == "partial" then
    message = ("%s: %s"):format(cause.kind, message)
  end
  if accepted > 0 or #self.failures > 1 then
    local count = type(remaining[self.kind]) == "table" and #remaining[self.kind]
    message = ("%s not accepted, %d accepted: %s"):format(
      count == 1 and "1 item" or count and count .. " items" or "items", accepted, message)
  end
  fields.message, fields.kind = nil, nil
  return core.error(kind, message, fields)
end

function Account:finish()
  self.source.is_over = true
  self:note_refused()
  local cause = self.stopped or (self.failures[1] and self.failures[1].error)
  if cause and cause.kind == "cancelled" then
    local remaining = self:remaining()
    if type(remaining) == "table" and #remaining == 0 then
      -- It came too late.
      cause = nil
    end
  end
  if not cause and self.source.position == 0 then
    cause = core.error("invalid_request", self.kind .. ": must not be empty", { field = self.kind })
  end
  if cause then
    return completion.complete(self.state, self.request, nil, self:error(cause))
  end
  completion.complete(self.state, self.request, {
    id = self.ids[1],
    ids = self.ids,
    accepted = self:accepted(),
    requests = self.requests,
    attempts = self.attempts,
    elapsed = core.now() - self.started,
    ray_id = self.ray_id or nil,
    messages = self.messages,
  })
end

return Account
