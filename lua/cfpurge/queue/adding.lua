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
  local entry = gather.entry(self.group, items.encode(self.handle, self.group.kind, chunk.items), self.options)
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
    -- The duplicates of a table are not even asked about.
    self.gather:note(0, self.source.duplicates)
    return self.done { added = self.added, merged = self.merged + self.source.duplicates }
  end
  local fields = tables.copy(cause)
  fields.kind, fields.message = nil, nil
  fields.accepted, fields.failures, fields.remaining = self.added + self.merged, self.failures, self:remaining()
  self.done(nil, core.error(cause.kind, cause.message, fields))
end

-- Stores what `list` holds, and calls `done(result, err)`; `where` is the zone and the environment as `remaining` is to
-- have them.
local function start(queue, request, group, list, options, where, done)
  local job = setmetatable({
    state = queue.state, gather = queue.link.gather, store = queue.store, handle = queue.handle,
    group = group, options = options, where = where, done = done, source = sources.new(queue.handle, group.kind, list),
    parts = {}, failures = {}, in_flight = 0, noted = 0, added = 0, merged = 0, left = nil,
    stopped = false, is_going = false, finished = false, is_put_off = false, next_put_off = false,
  }, Adding)
  requests.give_job(request, job)
  job:go_on()
end

-- ---- what is one entry ----

-- The zone and the environment as the caller gave them.
local function where_of(params, options)
  local where = {}
  for _, name in ipairs { "zone", "zone_id", "environment", "environment_id" } do
    where[name] = params[name] or options[name]
  end
  return where
end

-- Of the entry of an add that has no job: nothing of it is stored.
local function refused(entry, err)
  local fields, list = tables.copy(err), entry.list
  fields.kind, fields.message = nil, nil
  fields.remaining = tables.copy(entry.where)
  fields.remaining[list and entry.group.kind or "purge_everything"] = list or true
  if list then
    fields.accepted, fields.failures = 0, { { error = err, items = list, at = 1 } }
  end
  return core.error(err.kind, err.message, fields)
end

local function entry_of(group, pairs_, terms, params, options, list)
  local entry = gather.entry(group, pairs_, terms, refused)
  entry.where, entry.list = where_of(params, options), list
  return entry
end

-- The one item of a kind that has no list.
local function everything(group, terms, params, options)
  return entry_of(group, { { "", "" } }, terms, params, options)
end

local function encode(handle, kind, list, count)
  local all, own, seen, size = {}, {}, {}, 0
  for i = 1, count do
    local key, json = handle:key(kind, list[i])
    if not key then
      return nil
    elseif not seen[key] then
      size = size + 1
      seen[key], all[size] = true, { key, json }
    end
    own[i] = list[i]
  end
  return all, own, count - size
end

-- The entry of a list that is right and needs no more than one; nil of any other: it is looked at item by item.
local function short(queue, group, list, terms, params, options)
  local count = type(list) == "table" and #list or 0
  if count == 0 or count > math.min(queue.store.UNIT, validate.FIRST) then
    return nil
  end
  local keys = 0
  for _ in tables.entries(list) do
    keys = keys + 1
  end
  if keys ~= count then
    return nil
  end
  local ok, all, own, repeats = pcall(encode, queue.handle, group.kind, list, count)
  if not ok or not all then
    return nil
  end
  local entry = entry_of(group, all, terms, params, options, own)
  entry.repeats = repeats
  return entry
end

-- ---- beginning ----

local M = {}

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
  if type(list) == "function" or (type(list) == "table" and #list > 0) then
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

local NAMES = { zone = true, zone_id = true, environment = true, environment_id = true }

-- What the core is asked about beside a list, as one text; nil of anything that is unusual.
local function place_of(params, options, kind)
  for name in tables.entries(params) do
    if name ~= kind and not NAMES[name] then
      return nil
    end
  end
  local words = { kind, options.invalidate == true and "invalidate" or "purge" }
  for i, id in ipairs { params.zone_id or false, options.zone_id or false, params.environment_id or false,
    options.environment_id or false, options.invalidate or false } do
    if id and type(id) ~= (i < 5 and "string" or "boolean") then
      return nil
    end
    words[i + 2] = tostring(id)
  end
  return table.concat(words, "\0")
end

-- The problem of an add, or its entry where it needs no more than one.
local function looked_at(queue, params, options, group, list, terms)
  local place = type(list) == "table" and place_of(params, options, group.kind)
  local is_known = place and place == queue.place
  if not queue.state.open then
    return core.error("closed", "the queue was closed")
  end
  local err = not is_known and problem_of(queue, params, options, group.kind, list)
  if err then
    return err
  elseif group.kind == "everything" then
    return nil, everything(group, terms, params, options)
  end
  -- The next one in the same words is as right, but for its items.
  queue.place = place
  local entry = short(queue, group, list, terms, params, options)
  return is_known and not entry and problem_of(queue, params, options, group.kind, list) or nil, entry
end

--- Begins an add. `request` ends by itself, or by `done(result, err)`: at once where the add is wrong.
---@param queue table { state, link, store, handle, options }
function M.begin(queue, request, params, options, done)
  local terms, err = items.options(options)
  local group, list, entry
  if terms then
    terms.capacity = queue.options.capacity
    group, list, err = items.group(queue.state, params, options)
  end
  if group then
    err, entry = looked_at(queue, params, options, group, list, terms)
  end
  if err then
    err.remaining = params
    done(nil, err)
  elseif entry then
    queue.link.gather:put(request, entry)
  else
    start(queue, request, group, list, terms, where_of(params, options), done)
  end
end

return M
