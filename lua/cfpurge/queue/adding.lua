--- The job of an `add`: reads a list slice by slice, stores it unit by unit, accounts for every item.
local completion = require "cfpurge.completion"
local core = require "cfpurge.core"
local items = require "cfpurge.queue.items"
local refusals = require "cfpurge.bulk.refusals"
local requests = require "cfpurge.request"
local sources = require "cfpurge.bulk.source"
local tables = require "cfpurge.tables"

-- Units in flight: one is read while another is stored.
local UNITS = 4

local M, Adding = {}, {}
Adding.__index = Adding

--- Counts of items: those of this process, for a forked child begins anew.
function M.counts(adds)
  if adds.generation ~= core.generation() then
    adds.added, adds.merged, adds.generation = 0, 0, core.generation()
  end
  return adds
end

local function count(adds, added, merged)
  M.counts(adds)
  adds.added, adds.merged = adds.added + added, adds.merged + merged
end

function Adding:stop(err)
  self.stopped = self.stopped or err
end

function Adding:fail(chunk, err)
  self.failures[#self.failures + 1] = { error = err, items = chunk.items, at = chunk.at, places = chunk.places }
end

-- The items that were refused as they were read fail alone.
function Adding:note_refused()
  local refused = self.source.refusals.failures
  while self.noted < #refused do
    self.noted = self.noted + 1
    self.failures[#self.failures + 1] = refused[self.noted]
  end
end

function Adding:ended(part, value, err)
  local chunk = self.parts[part]
  if not chunk then
    return
  end
  self.parts[part] = nil
  self.in_flight = self.in_flight - 1
  if value then
    self.added, self.merged = self.added + value.added, self.merged + value.merged
    count(self.adds, value.added, value.merged)
  else
    self:stop(err)
    self:fail(chunk, err)
  end
  self:go_on()
end

function Adding:send(chunk)
  local group = tables.copy(self.group)
  group.items = items.encode(self.handle, group.kind, chunk.items)
  local commands, decode = self.store.add({ group }, self.options)
  local part, failure
  part = self.link:begin(commands, decode, function(value, err)
    if part then
      self:ended(part, value, err)
    else
      failure = err
    end
  end)
  if part then
    self.parts[part] = chunk
    self.in_flight = self.in_flight + 1
  else
    self:stop(failure)
    self:fail(chunk, failure)
  end
end

function Adding:send_all()
  local source = self.source
  source.budget = sources.TURN
  source.most_in_a_row = self.added + self.merged == 0 and refusals.IN_A_ROW or math.huge
  while not self.stopped and self.in_flight < UNITS do
    local chunk = source:read(self.store.UNIT)
    self:note_refused()
    local problem = source:error() or (self.added + self.merged == 0 and source:hopeless()) or nil
    if self.stopped then
      self.left = chunk
      break
    elseif problem then
      self.left = chunk
      self:stop(problem)
    elseif chunk then
      self:send(chunk)
    else
      if source:has_more() then
        completion.put_off(self.state, self)
      end
      break
    end
  end
end

function Adding:go_on()
  if self.finished then
    return
  end
  local is_asked = self.is_going
  if not is_asked then
    self.is_going = true
    local ok, raised = pcall(self.send_all, self)
    self.is_going = false
    if not ok then
      error(raised, 0)
    end
  end
  if self.in_flight == 0 and not self.finished and (self.stopped or not (is_asked or self.is_put_off)) then
    self.finished = true
    self:finish()
  end
end

--- Ends it at once, whatever its iterator does. A unit that is under way may be stored all the same.
---@param err? cfpurge.Error
function Adding:cancel(err)
  self:stop(err or core.error("cancelled", "cancelled"))
  completion.cancel_all(self.state, self.parts)
  self:go_on()
end

function Adding:stall()
  self:cancel(self.source:stalled())
end

function Adding:remaining()
  local remaining = tables.copy(self.where)
  remaining[self.group.kind] = self.source:remaining(self.failures, { self.left })
  return remaining
end

--- Nobody can wait for it. A unit that is under way may be stored all the same.
---@return cfpurge.Error
function Adding:withdrawn(_, problem)
  self.stopped, self.finished = core.error("invalid_request", problem), true
  for _, chunk in tables.entries(self.parts) do
    self:fail(chunk, self.stopped)
  end
  return core.error("invalid_request", problem, { accepted = self.added + self.merged, remaining = self:remaining() })
end

function Adding:finish()
  table.sort(self.failures, function(a, b)
    return a.at < b.at
  end)
  local cause = self.stopped or (self.failures[1] and self.failures[1].error)
  if not cause and self.source.position == 0 then
    cause = core.error("invalid_request", self.group.kind .. ": must not be empty", { field = self.group.kind })
  end
  if not cause then
    self.worker:hear(self.options.delay)
    -- The duplicates of a table are not even asked about.
    count(self.adds, 0, self.source.duplicates)
    return self.done { added = self.added, merged = self.merged + self.source.duplicates }
  end
  local fields = tables.copy(cause)
  fields.kind, fields.message = nil, nil
  fields.accepted, fields.failures, fields.remaining = self.added + self.merged, self.failures, self:remaining()
  self.done(nil, core.error(cause.kind, cause.message, fields))
end

--- Stores what `list` holds, and calls `done(result, err)`.
---@param queue table { state, link, store, handle, worker, adds }
---@param where table the zone and the environment, as `remaining` is to have them
function M.start(queue, request, group, list, options, where, done)
  local job = setmetatable({
    state = queue.state, link = queue.link, store = queue.store, handle = queue.handle, worker = queue.worker,
    adds = queue.adds, group = group, options = options, where = where, done = done,
    source = sources.new(queue.handle, group.kind, list),
    parts = {}, failures = {}, in_flight = 0, noted = 0, added = 0, merged = 0, left = nil,
    stopped = false, is_going = false, finished = false, is_put_off = false, next_put_off = false,
  }, Adding)
  requests.give_job(request, job)
  job:go_on()
end

--- The one item of a kind that has no list.
function M.everything(queue, group, options, where, done)
  local whole = tables.copy(group)
  whole.items = { { "", "" } }
  local commands, decode = queue.store.add({ whole }, options)
  queue.link:begin(commands, decode, function(value, err)
    if value then
      count(queue.adds, value.added, value.merged)
      queue.worker:hear(options.delay)
    else
      err.remaining = tables.copy(where)
      err.remaining.purge_everything = true
    end
    done(value, err)
  end)
end

return M
