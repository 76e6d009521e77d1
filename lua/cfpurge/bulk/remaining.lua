--- What of a list was not accepted: read or not, in its order.
--
-- These are methods of bulk/source.
local chunks = require "cfpurge.bulk.chunks"
local tables = require "cfpurge.tables"

-- Of more items than this the rest is an iterator: a list of them would take too long to make.
local LONG = 10000

local Remaining = {}

-- An iterator over the items that a table has beyond its end, where it is no list; looked for from the last key seen
-- on.
local function beyond(self)
  local list, count, key = self.list, self.count, self.key
  local is_done = self.is_walked
  return function()
    while not is_done do
      local value
      key, value = self.following(list, key)
      is_done = key == nil
      if type(key) == "number" and key > count then
        return value
      end
    end
  end
end

--- Exactly what was not accepted, in the list's order: `failures`, other chunks, then what was not read. A list where
--- it is short and read to its end, or else an iterator.
---@return table|function
function Remaining:remaining(failures, others)
  if self.reading then
    chunks.trim(self.reading, self.filled)
    others[#others + 1] = self.reading
  end
  local kept, length = chunks.in_order(self.refusals.failures, failures, others)
  local list, position, count, rest = self.list, self.position, self.count, {}
  if self.item ~= self.NONE then
    rest[1] = self.item
  end
  local is_some = length > 0
  length = length + #rest + (list and count - position or 0)
  if length <= LONG and (list or self.exhausted) then
    local items = {}
    for item in kept do
      items[#items + 1] = item
    end
    for i = position + 1, list and count or 0 do
      items[#items + 1] = rawget(list, i)
    end
    for item in list and beyond(self) or tables.each(rest) do
      items[#items + 1] = item
    end
    return items
  end
  local next_item = tables.each(rest)
  if list then
    next_item = self:unread(beyond(self))
  elseif self.is_asking then
    next_item = self:late()
  elseif not self.exhausted then
    next_item = rest[1] ~= nil and tables.chained(rest, self.next_item) or self.next_item
  end
  return is_some and tables.chained(kept, next_item) or next_item
end

-- The rest of an iterator that is still asked for an item: the one that it comes back with is the next, or, where it is
-- asked again before that, a later one.
function Remaining:late()
  return function()
    local item = self.item
    if item ~= self.NONE then
      self.item = self.NONE
      return item
    elseif not self.exhausted then
      return self.next_item()
    end
  end
end

-- An iterator over what of a table was not read, and then `rest`.
function Remaining:unread(rest)
  local list, position, count = self.list, self.position, self.count
  return function()
    while position < count do
      position = position + 1
      local item = rawget(list, position)
      if item ~= nil then
        return item
      end
    end
    return rest()
  end
end

return Remaining
