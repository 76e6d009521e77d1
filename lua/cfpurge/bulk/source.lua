--- Reads a list's items, from a table or an iterator, in chunks; bulk/remaining tells what of it remains.
--
-- An item is checked as it is read: one that breaks a rule is in no chunk, but among the `refusals`. Equal items of a
-- table are found as well. In one turn at most `budget` items are read of a table, and refused of an iterator, so that
-- a list of any length holds its host only for a moment. Where memory is short reading goes on later: an item counts as
-- read when it is in the chunk, and not before.
local chunks = require "cfpurge.bulk.chunks"
local core = require "cfpurge.core"
local loops = require "cfpurge.loop"
local refusals = require "cfpurge.bulk.refusals"
local tables = require "cfpurge.tables"
local validate = require "cfpurge.validate"
local variants = require "cfpurge.variants"

local M = {
  --- Items of a table that are checked in one turn.
  TURN = 500,
}

-- No iterator gives or raises this.
local NONE = {}

local WEAK = { __mode = "v" }

--- Is an iterator that raised this at its end? Where memory was short it may go on.
function M.ends_iterator(raised)
  return raised ~= "not enough memory"
end

---@return cfpurge.Error err of an iterator that raised
function M.iterator_error(kind, raised)
  return core.error("invalid_request", ("%s: the iterator raised: %s"):format(kind, tostring(raised)), { field = kind })
end

local newproxy = rawget(_G, "newproxy")

-- A value whose collection calls `fn`.
local function on_collection(fn)
  local value = newproxy and newproxy(true) or setmetatable({}, { __gc = fn })
  if newproxy then
    getmetatable(value).__gc = fn
  end
  return value
end

local Source = { NONE = NONE }
Source.__index = Source
for name, method in tables.entries(require "cfpurge.bulk.remaining") do
  Source[name] = method
end

-- Where the client is closed sending it will say so.
local function is_wrong(err)
  return err and err.kind == "invalid_request"
end

function Source:refuse(item, err)
  local at = self.position + 1
  self.refusals:add(item, at, err)
  self.position, self.in_a_row = at, self.in_a_row + 1
end

-- ---- an iterator ----

local function call(next_item)
  return true, next_item()
end

-- Calls the iterator. It may yield, and come back when the list has ended.
function Source:ask()
  -- Under Lua 5.1 nothing yields through pcall: there `read_late` is told of what it raises.
  local is_bare = self.reader and not loops.yields_over_pcall
  self.is_asking = true
  local ok, item = (is_bare and call or pcall)(self.next_item)
  self.is_asking = false
  return ok, item
end

-- What lies in a coroutine that is collected while its iterator has yielded tells of it: that one never comes back.
local function sentinel(self)
  local turn = self.turn + 1
  self.turn = turn
  return on_collection(function()
    -- Where the client is collected too its own end tells of the list.
    if self.is_asking and self.turn == turn and not self.is_over and self.weak.core then
      self.is_lost = true
      self.come_back()
    end
  end)
end

function Source:read_iterator(chunk, size)
  local lies_here = sentinel(self)
  local items, handle, kind = chunk.items, self.core, self.kind
  while self.filled < size and not self.exhausted and self.raised == NONE and self.budget > 0
    and self.in_a_row < self.most_in_a_row and not self.is_over do
    if self.item == NONE then
      local ok, item = self:ask()
      if not ok then
        self.raised = item
        self.exhausted = M.ends_iterator(item)
      elseif item ~= nil then
        self.item = item
      else
        self.exhausted = true
      end
    end
    if self.item ~= NONE and not self.is_over then
      local at = self.position + 1
      items[self.filled + 1] = self.item
      if chunk.places or at ~= chunk.at + self.filled then
        chunks.note_place(chunk, self.filled, at)
      end
      local ok, raised, err = pcall(handle.add, handle, nil, kind, self.item)
      if not ok then
        err = refusals.wrong_type(raised)
      end
      if is_wrong(err) then
        self.budget = self.budget - 1
        self:refuse(self.item, err)
      else
        self.filled, self.position, self.in_a_row = self.filled + 1, at, 0
      end
      self.item = NONE
    end
  end
  return lies_here
end

--- Memory was short where the iterator was asked, before it was called or after it had returned.
function Source:cut_off()
  self.is_asking = self.is_asking and self.reader ~= false
end

-- ---- an iterator in a coroutine of its own ----

function Source:read_late(ok, ...)
  local is_asking, raised = self.is_asking, ...
  if not ok then
    self.reader, self.is_asking = false, false
    if not is_asking then
      error(raised, 0)
    end
    self.raised, self.exhausted = raised, M.ends_iterator(raised)
  elseif is_asking and raised ~= nil then
    self.problem = core.error("invalid_request", self.kind .. ": the iterator yields a value, which nobody takes here",
      { field = self.kind })
  end
end

-- Whoever has been given its coroutine resumes it: a callback, a scheduler. Until then the others go on.
function Source:read_apart(chunk, size)
  local is_late = false
  self.reader = coroutine.create(function()
    self:read_iterator(chunk, size)
    self.reader = false
    if is_late and not self.is_over then
      self.come_back()
    end
  end)
  self:read_late(coroutine.resume(self.reader))
  is_late = true
end

--- Resumes the iterator where it has yielded, and `thread` is the coroutine that began the list.
function Source:pass(thread, ...)
  if self.reader and self.is_asking and self.weak.owner == thread and coroutine.status(self.reader) == "suspended" then
    coroutine.resume(self.reader, ...)
  end
end

-- ---- a table ----

-- Twice as fast as the items: where all have been read, all keys have been seen, or nearly. Holes and names hide
-- nothing.
function Source:walk_keys(most)
  local list, count = self.list, self.count
  for _ = 1, most do
    local key = self.following(list, self.key)
    if key == nil then
      self.is_walked = true
      return
    elseif type(key) ~= "number" or key < 1 or key > count or key % 1 ~= 0 then
      self.problem = core.error("invalid_request", ("%s: is not a list: it has keys that are not 1 to %d"):format(
        self.kind, count), { field = self.kind })
      return
    end
    self.key = key
  end
end

-- An item is the same as the one at `first`.
function Source:note_equal(first)
  self.equals[first] = (self.equals[first] or 0) + 1
  self.duplicates = self.duplicates + 1
end

--- How many of the items that are the same as another stand for one of these chunks and failures.
---@return integer
function Source:equal_to(parts)
  local count = 0
  for _, part in ipairs(self.duplicates > 0 and parts or {}) do
    for i = 1, #part.items do
      count = count + (self.equals[chunks.place_of(part, i)] or 0)
    end
  end
  return count
end

-- A wrong type raises.
function Source:read_table(chunk, size)
  local list, kind, handle, seen, items = self.list, self.kind, self.core, self.seen, chunk.items
  while self.filled < size and self.position < self.count and self.budget > 0
    and self.in_a_row < self.most_in_a_row do
    local at = self.position + 1
    local item = rawget(list, at)
    if item == nil then
      local field = ("%s[%d]"):format(kind, at)
      self.problem = core.error("invalid_request", field .. ": the list has a hole here", { field = field })
      return
    end
    self.budget = self.budget - 1
    -- It is in the chunk before the set has it, and counts when both have it.
    items[self.filled + 1] = item
    if chunk.places or at ~= chunk.at + self.filled then
      chunks.note_place(chunk, self.filled, at)
    end
    local is_new, err, first = handle:add(seen, kind, item, at)
    if is_wrong(err) then
      self:refuse(item, err)
    elseif is_new == false then
      self:note_equal(first)
      self.position = at
    else
      self.filled, self.position, self.in_a_row = self.filled + 1, at, 0
    end
  end
end

function Source:read_checked(chunk, size)
  local ok, raised
  repeat
    ok, raised = pcall(self.read_table, self, chunk, size)
    if not ok then
      self:refuse(rawget(self.list, self.position + 1), refusals.wrong_type(raised))
    end
  until ok
  if not (self.problem or self.is_walked) then
    self:walk_keys(2 * M.TURN)
  end
  self.exhausted = self.position == self.count and self.is_walked
end

-- ---- both ----

--- Why a list of which nothing was accepted ends.
---@return cfpurge.Error?
function Source:hopeless()
  if self.in_a_row >= self.most_in_a_row and self.filled == 0 then
    return self.refusals:cause(self.in_a_row)
  end
end

--- A chunk of at most `size` items. Nil at the end, where `error` or `hopeless` may say why, and where the turn's
--- budget is used up: then it has more.
---@return table? chunk
function Source:read(size)
  if self.is_asking then
    return nil
  end
  local chunk = self.reading or chunks.chunk({}, self.position + 1)
  self.reading = chunk
  if self.list and not self.exhausted then
    self:read_checked(chunk, size)
  elseif not self.list and self.is_apart and self.filled < size and not self.exhausted then
    self:read_apart(chunk, size)
    if self.is_asking then
      return nil
    end
  elseif not self.list then
    self:read_iterator(chunk, size)
  end
  local is_at_end = self.list and self.position == self.count or self.exhausted or self.raised ~= NONE
  if self.problem or (self.filled < size and not is_at_end and self.in_a_row < self.most_in_a_row) then
    return nil
  end
  chunks.trim(chunk, self.filled)
  self.reading, self.filled, chunk.fresh = false, 0, true
  return #chunk.items > 0 and chunk or nil
end

--- Does it hold something that a later turn will read?
function Source:has_more()
  return not (self.exhausted or self.problem or self.is_asking) and self.raised == NONE
end

--- The error that the iterator raised, as one of ours.
---@return cfpurge.Error?
function Source:error()
  if self.is_lost and not self.problem then
    local problem = self.kind .. ": the coroutine in which the iterator had yielded is gone"
    self.problem = core.error("invalid_request", problem, { field = self.kind })
  end
  return self.problem or self.raised ~= NONE and M.iterator_error(self.kind, self.raised) or nil
end

---@return cfpurge.Error err of an iterator that has yielded where nobody resumes it
function Source:stalled()
  local problem = self.kind .. ": the iterator has yielded, and nobody resumes it here"
  return core.error("invalid_request", problem, { field = self.kind })
end

--- How many items it has in all; nil of an iterator that is not ours.
---@return integer?
function Source:total()
  if self.list then
    return self.count
  end
  return self.known_total
end

--- Of a list that was one request and is now split: all of it has been read.
---@param items table those that were sent, equal ones once
---@param asked? table the whole list, where it has equal ones
---@return table source, table chunk
function M.read_already(handle, kind, items, asked)
  local self, places = M.new(handle, kind, {}), nil
  for at, item in ipairs(asked or {}) do
    local is_new, _, first = handle:add(self.seen, kind, item, at)
    places = places or {}
    if is_new then
      places[#places + 1] = at
    elseif first then
      self:note_equal(first)
    end
  end
  self.count = asked and #asked or #items
  self.position, self.exhausted = self.count, true
  return self, chunks.chunk(items, 1, places)
end

---@param handle userdata the core's client
---@param list table|function
---@return table source
function M.new(handle, kind, list)
  local is_table = type(list) == "table"
  local count = is_table and tables.length(list) or 0
  return setmetatable({
    core = handle, kind = kind, list = is_table and list, next_item = not is_table and list, count = count,
    known_total = not is_table and variants.total(list) or nil,
    -- The keys of a list that is not longer have been looked at before.
    following = tables.entries {}, key = nil, is_walked = count <= validate.FIRST,
    position = 0, filled = 0, budget = M.TURN, duplicates = 0, equals = {}, seen = is_table and handle:set() or nil,
    refusals = refusals.new(kind), in_a_row = 0, most_in_a_row = math.huge,
    item = NONE, reading = false, raised = NONE, problem = nil, exhausted = is_table and count == 0,
    -- Is the iterator asked, and has not come back? Has the list ended, so that nothing more of it is read?
    is_asking = false, is_over = false,
    -- The coroutine of an iterator that has one, who began the list, and how often it was read; is_lost: it never comes
    -- back.
    is_apart = false, reader = false, turn = 0, is_lost = false, come_back = false,
    weak = setmetatable({ core = handle, owner = coroutine.running() }, WEAK),
  }, Source)
end

return M
