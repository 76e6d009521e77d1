--- The adds of one turn, stored as one unit; each ends by itself, with its own counts or its own error.
--
-- An entry is what one add stores, or a part of a longer one. It stands for the id by which completion knows its
-- request. Entries gather in the `open` unit until the next step. A unit that does not fit the capacity as a whole is
-- taken apart: each of its entries becomes a unit. `first` to `last` is a chain of the entries that have ended and that
-- completion has not taken yet; nothing is made when one joins it.
local completion = require "cfpurge.completion"
local core = require "cfpurge.core"
local tables = require "cfpurge.tables"

local Gather = {}
Gather.__index = Gather

--- What one add stores.
---@param group {zone: string, environment: string, op: string, kind: string}
---@param items string[][] { key, JSON }
---@param options {delay: number?, again: number?, capacity: integer}
---@param refused? fun(entry: table, err: cfpurge.Error): cfpurge.Error what its request ends with in place of `err`
---@return table entry
function Gather.entry(group, items, options, refused)
  -- `repeats` of its items were equal to others of it. `of` is its group in its unit, where it begins behind `from`.
  return {
    group = group, items = items, options = options, refused = refused or false, repeats = 0, of = false, from = 0,
    is_alone = false, has_ended = false, is_taken = false, value = false, problem = false, next = false,
  }
end

-- In one unit the order of adds does not matter to the rules: that of purges and invalidates would, and that of an
-- everything and others.
local function fits(unit, entry, most)
  local first, options = unit.entries[1], entry.options
  return unit.size + #entry.items <= most and first.group.op == entry.group.op
    and (first.group.kind == "everything") == (entry.group.kind == "everything")
    and first.options.delay == options.delay and first.options.again == options.again
end

function Gather:new_unit(entries)
  local unit
  unit = {
    entries = entries, size = 0, generation = core.generation(),
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
  local groups, by_name = {}, {}
  for _, entry in ipairs(unit.entries) do
    local group = entry.group
    local name = group.zone .. "\0" .. group.environment .. "\0" .. group.kind
    local known = by_name[name]
    if entry.has_ended then
      entry.of = false
    elseif known then
      if known.is_borrowed then
        known.items, known.is_borrowed = tables.slice(known.items, 1, #known.items), false
      end
      entry.of, entry.from = known, #known.items
      for _, item in ipairs(entry.items) do
        known.items[#known.items + 1] = item
      end
    else
      entry.of, entry.from = {
        zone = group.zone, environment = group.environment, op = group.op, kind = group.kind, items = entry.items,
        is_borrowed = true,
      }, 0
      groups[#groups + 1], by_name[name] = entry.of, entry.of
    end
  end
  return groups
end

function Gather:submit(unit)
  unit.groups = groups_of(unit)
  local first = unit.entries[1].options
  if unit.groups[1] and unit.generation ~= core.generation() then
    self.link:refuse(unit, "forked")
  elseif unit.groups[1] then
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

Gather.go_on = Gather.flush

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
  if not unit.entries[2] then
    mine.added = value.added
  else
    local fresh = value.fresh[entry.of]
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
  for _, entry in ipairs(unit.entries) do
    if not (is_apart or entry.has_ended) then
      entry.problem = err or false
      tell(self, entry)
      if value then
        self:note(entry.value.added, entry.value.merged)
      end
    end
  end
  if value then
    self.link.state.worker:hear(unit.entries[1].options.delay)
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
  return entry, value, err
end

--- The one of a link.
function Gather.new(link)
  return setmetatable({
    link = link, open = false, first = false, last = false, count = 0, is_put_off = false, next_put_off = false,
    counted = { added = 0, merged = 0, generation = core.generation() },
  }, Gather)
end

return Gather
