--- Copies and parts of tables, and iterators over them.
local M = {}

-- LuaJIT (Debian's of 2023 at least) makes an instruction of its own of a loop over `pairs` or `next`, by these names.
-- Once compiled it never ends in a finalizer that meets it with another kind of table; and a client that is collected
-- reports in one.
local following = next

--- The same as `pairs`, without a metamethod, for code that may run in a finalizer.
function M.entries(t)
  return following, t
end

--- Nobody's metamethods are run.
---@param from? table
---@return table copy
function M.copy(from)
  local copy = {}
  for name, value in following, from or copy do
    copy[name] = value
  end
  return copy
end

--- A copy with copies of the tables in it, so that nobody else changes it; anything but a table is itself.
function M.snapshot(value)
  if type(value) ~= "table" then
    return value
  end
  local copy = M.copy(value)
  for name, inner in following, copy do
    if type(inner) == "table" then
      copy[name] = M.copy(inner)
    end
  end
  return copy
end

--- Itself where it has no metatable, or else a copy: nobody's metamethods are run.
function M.bare(value)
  return type(value) == "table" and getmetatable(value) ~= nil and M.copy(value) or value
end

--- A function, or a table that can be called.
---@return boolean
function M.is_iterator(value)
  local metatable = type(value) == "table" and getmetatable(value)
  return type(value) == "function" or (type(metatable) == "table" and rawget(metatable, "__call") ~= nil)
end

--- The length of a list; its metatable is not asked. In Lua 5.1 a table's never is.
M.length = rawget(_G, "rawlen") or function(list)
  return #list
end

---@return table items from the `first` to the `last`, where there are as many
function M.slice(list, first, last)
  local items = {}
  for i = first, math.min(last, M.length(list)) do
    items[#items + 1] = rawget(list, i)
  end
  return items
end

---@param list table|function an iterator is its own
---@return function next_item
function M.each(list)
  local i = 0
  return type(list) == "function" and list or function()
    i = i + 1
    return list[i]
  end
end

-- An iterator that M.chained has made -> the lists that come before its rest, the next one last.
local waiting = setmetatable({}, { __mode = "k" })

--- The items of `list`, and then those of `rest`. An iterator that this has made is used again as `rest`: however often
--- a part of it is read and put back, it stays one function.
---@param list table|function
---@param rest function an iterator
---@return function next_item
function M.chained(list, rest)
  local stack = waiting[rest]
  if stack then
    stack[#stack + 1] = M.each(list)
    return rest
  end
  stack = { M.each(list) }
  local function next_item()
    local first = stack[#stack]
    while first do
      local item = first()
      if item ~= nil then
        return item
      end
      stack[#stack] = nil
      first = stack[#stack]
    end
    return rest()
  end
  waiting[next_item] = stack
  return next_item
end

return M
