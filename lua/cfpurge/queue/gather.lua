--- The adds of one turn, stored as one unit; each ends by itself, with its own counts or its own error.
--
-- An entry is what one add stores, or a part of a longer one. It stands for the id by which completion knows its
-- request. Entries gather in the `open` unit until a step finds none under way: so all that come during one transaction
-- are in the next. A unit that does not fit the capacity as a whole is taken apart: each of its entries becomes a unit.
-- `first` to `last` is a chain of the entries that have ended and that completion has not taken yet; nothing is made
-- when one joins it.
local completion = require "cfpurge.completion"
local core = require "cfpurge.core"
local tables = require "cfpurge.tables"

local Gather = {}
Gather.__index = Gather

--- What one add stores.
---@param place {group: table, terms: table} where it goes; the terms are delay, again, capacity
---@param items string[][] { key, JSON }
---@param refused? fun(entry: table, err: cfpurge.Error): cfpurge.Error what its request ends with in place of `err`
---@param list? table the items as they were given, for `refused`
---@param repeats? integer how many of those were equal to others of it
---@return table entry
function Gather.entry(place, items, refused, list, repeats)
  -- `of` is its group in its unit, where it begins behind `from`.
  return {
    place = place, items = items, refused = refused or false, list = list or false, repeats = repeats or 0,
    of = false, is_alone = false, has_ended = false, is_taken = false, value = false, problem = false, next = false,
  }
end

-- In one unit the order of adds does not matter to the rules: that of purges and invalidates would, and that of an
-- everything and others. A forked child adds to no unit of its parent's.
local function fits(unit, entry, most)
  local first, place = unit.entries[1].place, entry.place
  if unit.size + #entry.items > most or unit.generation ~= core.generation() then
    return false
  end
  return first == place or (first.group.op == place.group.op
    and (first.group.kind == "everything") == (place.group.kind == "everything")
    and first.terms.delay == place.terms.delay and first.terms.again == place.terms.again)
end

function Gather:new_unit(entries)
  local unit
  -- All of its fields: where one is set later no memory is needed.
  unit = {
    entries = entries, size = 0, generation = core.generation(), groups = false, commands = false, decode = false,
    id = false, before = 0, tries = 0, is_listed = false, is_under_way = false, has_ended = false, results = false,
    err = false,
    done = function(value, err)
      self:ended(unit, value, err)
    end,
  }
  return unit
end

--- `request` ends when the entry is stored, or is not.
function Gather:put(request, entry)
  if self.open and not fits(self.open, entry, self.link.store.UNIT) then
    self:flush()
  end
  local unit = self.open or self:new_unit {}
  unit.entries[#unit.entries + 1] = entry
  unit.size = unit.size + #entry.items
  self.open = unit
  completion.register(self.link.state, request, entry)
  completion.put_off(self.link.state, self)
end

-- One list a lane.
local function groups_of(unit)
  local groups, by_name, by_place = {}, {}, {}
  for _, entry in ipairs(unit.entries) do
    local group, known, name = entry.place.group, by_place[entry.place], nil
    if not known then
      name = group.zone .. "\0" .. group.environment .. "\0" .. group.kind
      known = by_name[name]
    end
    if entry.has_ended then
      entry.of = false
    elseif known then
      if known.is_borrowed then
        known.items, known.is_borrowed = tables.slice(known.items, 1, #known.items), false
      end
      entry.of, by_place[entry.place] = known, known
      local size = #known.items
      for i, item in ipairs(entry.items) do
        known.items[size + i] = item
      end
    else
      entry.of = {
        zone = group.zone, environment = group.environment, op = group.op, kind = group.kind, items = entry.items,
        is_borrowed = true,
      }
      groups[#groups + 1], by_name[name], by_place[entry.place] = entry.of, entry.of, entry.of
    end
  end
  return groups
end

function Gather:submit(unit)
  unit.groups = groups_of(unit)
  local first = unit.entries[1].place.terms
  if unit.groups[1] and unit.generation ~= core.generation() then
    self.link:refuse(unit, "forked")
  elseif unit.groups[1] then
    if not unit.is_under_way then
      unit.is_under_way, self.in_flight = true, self.in_flight + 1
    end
    unit.commands, unit.decode = self.link.store.add(unit.groups, {
      delay = first.delay, again = first.again, capacity = first.capacity, tells_each = unit.entries[2] ~= nil,
    })
    self.link:carry_out(unit)
  end
end

--- Hands the open unit to the store. It stays open where memory is short.
function Gather:flush()
  if self.open then
    self:submit(self.open)
    self.open = false
  end
end

--- A step goes on with it. While a unit is under way, or those who wait for its end have not been told, more may come.
--- An open one that is under way has had no memory.
function Gather:go_on()
  if (self.in_flight == 0 and self.count == 0) or (self.open and self.open.is_under_way) then
    self:flush()
  end
end

-- Where the last one has been told, the open unit goes with the next step.
local function look_on(self)
  if self.open and self.count == 0 then
    completion.put_off(self.link.state, self)
  end
end

-- ---- ends ----

local function tell(self, entry)
  entry.has_ended, entry.next = true, false
  if self.first then
    self.last.next = entry
  else
    self.first = entry
  end
  self.last, self.count = entry, self.count + 1
end

-- An item that several entries have was added by the first of them. Makes its table before it changes anything.
local function counts(unit, entry, value)
  local size, mine = #entry.items, { added = 0, merged = 0 }
  local fresh = value.fresh[entry.of]
  if not unit.entries[2] then
    mine.added = value.added
  elseif fresh == true then
    mine.added = size
  else
    for i = 1, size do
      local key = entry.items[i][1]
      if fresh[key] then
        fresh[key], mine.added = nil, mine.added + 1
      end
    end
  end
  mine.merged = size - mine.added + entry.repeats
  return mine
end

--- What this process has added; a forked child begins anew.
---@return {added: integer, merged: integer}
function Gather:counts()
  local counted = self.counted
  if counted.generation ~= core.generation() then
    counted.added, counted.merged, counted.generation = 0, 0, core.generation()
  end
  return counted
end

function Gather:note(added, merged)
  local counted = self:counts()
  counted.added, counted.merged = counted.added + added, counted.merged + merged
end

function Gather:ended(unit, value, err)
  local is_apart = err and err.kind == "queue_full" and unit.entries[2]
  for _, entry in ipairs(unit.entries) do
    if is_apart and not (entry.has_ended or entry.is_alone) then
      self:submit(self:new_unit { entry })
      entry.is_alone = true
    elseif value and not entry.has_ended then
      entry.value = entry.value or counts(unit, entry, value)
    end
  end
  local added, merged = 0, 0
  for _, entry in ipairs(unit.entries) do
    if not (is_apart or entry.has_ended) then
      entry.problem = err or false
      tell(self, entry)
      if value then
        added, merged = added + entry.value.added, merged + entry.value.merged
      end
    end
  end
  self:note(added, merged)
  if unit.is_under_way then
    unit.is_under_way, self.in_flight = false, self.in_flight - 1
  end
  look_on(self)
  if value then
    self.link.state.worker:hear(unit.entries[1].place.terms.delay)
  end
end

--- It ends as cancelled, and may be stored all the same. False: it had ended.
function Gather:cancel(entry)
  if entry.has_ended then
    return false
  end
  entry.problem = core.error("cancelled", "cancelled")
  tell(self, entry)
  return true
end

--- An entry that has ended, this or any, and what came of it.
function Gather:take(entry)
  while self.first and self.first.is_taken do
    self.first = self.first.next
  end
  entry = entry or self.first
  if not entry or not entry.has_ended or entry.is_taken then
    return nil
  end
  local value, err = entry.value or nil, entry.problem or nil
  if err and entry.refused then
    err = entry.refused(entry, err)
  end
  entry.is_taken, self.count = true, self.count - 1
  look_on(self)
  return entry, value, err
end

--- The one of a link.
function Gather.new(link)
  return setmetatable({
    link = link, open = false, in_flight = 0, first = false, last = false, count = 0,
    is_put_off = false, next_put_off = false,
    counted = { added = 0, merged = 0, generation = core.generation() },
  }, Gather)
end

return Gather
