--- Copies and parts of tables, and iterators over them.
local M = {}

-- LuaJIT (Debian's of 2023 at least) makes an instruction of its own of a loop over `pairs` or `next`, by these names.
-- Once compiled it never ends in a finalizer that meets it with another kind of table; and what is in flight when a
-- client is collected is reported in one.
local following = next

--- What `pairs` gives, without a metamethod, for whatever may run in a finalizer.
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

---@return table items from the `first` to the `last`, where there are as many
function M.slice(list, first, last)
  local items = {}
  for i = first, math.min(last, #list) do
    items[#items + 1] = list[i]
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

---@param first function an iterator
---@param second function what comes after it
---@return function next_item
function M.chained(first, second)
  return function()
    local item = first and first()
    if item == nil then
      first = nil
      item = second()
    end
    return item
  end
end

return M
