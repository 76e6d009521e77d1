--- What an `add` does: one entry of the turn's unit, or the job of a longer list, which is read slice by slice, stored
--- unit by unit, every item accounted for.
local completion = require "cfpurge.completion"
local core = require "cfpurge.core"
local gather = require "cfpurge.queue.gather"
local items = require "cfpurge.queue.items"
local refusals = require "cfpurge.bulk.refusals"
local requests = require "cfpurge.request"
local sources = require "cfpurge.bulk.source"
local tables = require "cfpurge.tables"
local validate = require "cfpurge.validate"

-- Units in flight: one is read while another is stored.
local UNITS = 4

local Adding = {}
Adding.__index = Adding

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
  else
    self:stop(err)
    self:fail(chunk, err)
  end
  self:go_on()
end

function Adding:send(chunk)
  local part = requests.new(self.state, nil, function(part, value, err)
    self:ended(part, value, err)
  end)
  local entry = gather.entry(self.place, items.encode(self.handle, self.place.group.kind, chunk.items))
  self.parts[part] = chunk
  self.in_flight = self.in_flight + 1
  self.gather:put(part, entry)
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
  local remaining = tables.copy(self.place.where)
  remaining[self.place.group.kind] = self.source:remaining(self.failures, { self.left })
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
  local cause, kind = self.stopped or (self.failures[1] and self.failures[1].error), self.place.group.kind
  if not cause and self.source.position == 0 then
    cause = core.error("invalid_request", kind .. ": must not be empty", { field = kind })
  end
  if not cause then
    -- The duplicates of a table are not even asked about.
    self.gather:note(0, self.source.duplicates)
    return completion.complete(self.state, self.request,
      { added = self.added, merged = self.merged + self.source.duplicates })
  end
  local fields = tables.copy(cause)
  fields.kind, fields.message = nil, nil
  fields.accepted, fields.failures, fields.remaining = self.added + self.merged, self.failures, self:remaining()
  completion.complete(self.state, self.request, nil, core.error(cause.kind, cause.message, fields))
end

-- Stores what `list` holds.
local function start(queue, request, place, list)
  local job = setmetatable({
    state = queue.state, gather = queue.link.gather, store = queue.store, handle = queue.handle, request = request,
    place = place, source = sources.new(queue.handle, place.group.kind, list),
    parts = {}, failures = {}, in_flight = 0, noted = 0, added = 0, merged = 0, left = nil,
    stopped = false, is_going = false, finished = false, is_put_off = false, next_put_off = false,
  }, Adding)
  requests.give_job(request, job)
  job:go_on()
end

-- ---- what is one entry ----

-- Of the entry of an add that has no job: nothing of it is stored.
local function refused(entry, err)
  local fields, list = tables.copy(err), entry.list
  fields.kind, fields.message = nil, nil
  fields.remaining = tables.copy(entry.place.where)
  fields.remaining[list and entry.place.group.kind or "purge_everything"] = list or true
  if list then
    fields.accepted, fields.failures = 0, { { error = err, items = list, at = 1 } }
  end
  return core.error(err.kind, err.message, fields)
end

local function encode(handle, kind, list, count)
  local all, own, seen, size = {}, {}, count > 1 and {} or nil, 0
  for i = 1, count do
    local item = list[i]
    local key, json = handle:key(kind, item)
    if not key then
      return nil
    elseif not (seen and seen[key]) then
      size = size + 1
      all[size] = { key, json }
      if seen then
        seen[key] = true
      end
    end
    own[i] = item
  end
  return all, own, count - size
end

-- The entry of a list that is right and needs no more than one; nil of any other: it is looked at item by item.
local function short(queue, place, list)
  local count, keys = type(list) == "table" and getmetatable(list) == nil and #list or 0, 0
  if count == 0 or count > math.min(queue.store.UNIT, validate.FIRST) then
    return nil
  end
  for _ in tables.entries(list) do
    keys = keys + 1
  end
  if keys ~= count then
    return nil
  end
  local ok, all, own, repeats = pcall(encode, queue.handle, place.group.kind, list, count)
  return ok and all and gather.entry(place, all, refused, own, repeats) or nil
end

-- ---- beginning ----

-- What the core says of it, without the names that it does not know.
local function problem_of(queue, params, options, kind, list)
  local call = {
    params = tables.copy(params),
    options = { zone_id = options.zone_id, environment_id = options.environment_id, invalidate = options.invalidate },
  }
  call.params.zone, call.params.environment = nil, nil
  if params.zone_id == nil and options.zone_id == nil then
    call.params.zone_id = "0"
  end
  local ok, raised, err
  if type(list) == "function" or (type(list) == "table" and tables.length(list) > 0) then
    ok, raised, err = validate.list({ core = queue.handle }, call, kind, list, queue.options.full, validate.FIRST)
  else
    ok, raised, err = pcall(queue.handle.check, queue.handle, call.params, call.options)
    ok, err = ok and raised, ok and err or nil
  end
  if not ok then
    local problem = tostring(raised):match "^bad argument .-%((.*)%)$" or tostring(raised)
    return err or core.error("invalid_request", problem, { field = problem:match "^[%w_]+" })
  end
end

-- Where an add goes, and when: `group`, `terms`, and `where`, the zone and the environment as the caller gave them;
-- `params` and `options` are all that it said, but for its list, in so many `words`.
local function place_of(queue, params, options)
  local terms, err = items.options(options)
  local group, list
  if terms then
    group, list, err = items.group(queue.state, params, options)
  end
  err = err or (not queue.state.open and core.error("closed", "the queue was closed"))
    or problem_of(queue, params, options, group.kind, list)
  if err then
    return nil, err
  end
  terms.capacity = queue.options.capacity
  local place = {
    group = group, terms = terms, where = {}, params = tables.copy(params), options = tables.copy(options), words = 1,
  }
  for _, name in ipairs { "zone", "zone_id", "environment", "environment_id" } do
    place.where[name] = params[name] or options[name]
  end
  place.params[group.kind] = nil
  for _, said in ipairs { place.params, place.options } do
    for _ in tables.entries(said) do
      place.words = place.words + 1
    end
  end
  return place, list
end

-- Is it an add in the same words, but for its list? Then nothing else of it is wrong.
local function is_place(place, params, options)
  local kind, left = place.group.kind, place.words
  for name, value in tables.entries(params) do
    left = left - 1
    if name ~= kind and place.params[name] ~= value then
      return false
    end
  end
  for name, value in tables.entries(options) do
    left = left - 1
    if place.options[name] ~= value then
      return false
    end
  end
  return left == 0 and params[kind] ~= nil
end

local M = {}

--- Begins an add: `request` ends when it is stored, or is not; at once where the add is wrong.
---@param queue table { state, link, store, handle, options, place }
function M.begin(queue, request, params, options)
  local last = queue.state.open and queue.place
  local entry = last and is_place(last, params, options) and short(queue, last, params[last.group.kind])
  if not entry then
    local place, list = place_of(queue, params, options)
    if not place then
      -- In its place the error stands.
      list.remaining = params
      return completion.complete(queue.state, request, nil, list)
    elseif place.group.kind == "everything" then
      entry = gather.entry(place, { { "", "" } }, refused)
    else
      queue.place = place
      entry = short(queue, place, list)
      if not entry then
        return start(queue, request, place, list)
      end
    end
  end
  queue.link.gather:put(request, entry)
end

return M
