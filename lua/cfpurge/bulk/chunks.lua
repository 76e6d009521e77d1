--- Parts of a list: items, and where each stands in the list.
--
-- A chunk is { items, at = the first one's place, places = that of each where they do not follow one another }. So is a
-- failure. Chunks never overlap, though an item that was refused may stand between those of one.
local tables = require "cfpurge.tables"

local M = {}

---@param places? integer[]
---@return table chunk
function M.chunk(items, at, places)
  -- fresh: as it was read; counted: its end is in the job's numbers; cut: the rest of it went back; whole: what the
  -- policy said of the request that it is a half of; sent: in a request, or a part of what was in one; failed:
  -- among the failures; ids, messages: how many of its answer's are in the job's lists.
  return {
    items = items, at = at, places = places, fresh = false, counted = false, cut = false, whole = false, sent = false,
    failed = false, ids = 0, messages = 0,
  }
end

--- The place in the list of the i-th item of a chunk or failure.
---@return integer
function M.place_of(part, i)
  return part.places and part.places[i] or part.at + i - 1
end

---@return table chunk
function M.part(chunk, from, to)
  local part = M.chunk(tables.slice(chunk.items, from, to), M.place_of(chunk, from),
    chunk.places and tables.slice(chunk.places, from, to))
  part.sent = chunk.sent
  return part
end

--- The item `filled + 1` of a chunk stands in the list at `at`. It may still be that it is not taken.
function M.note_place(chunk, filled, at)
  if filled == 0 then
    chunk.at, chunk.places = at, nil
  elseif not chunk.places and at ~= chunk.at + filled then
    local places = {}
    for i = 1, filled do
      places[i] = chunk.at + i - 1
    end
    chunk.places = places
  end
  if chunk.places then
    chunk.places[filled + 1] = at
  end
end

--- Behind its end an item may stand that was not taken.
function M.trim(chunk, filled)
  chunk.items[filled + 1] = nil
  if chunk.places then
    chunk.places[filled + 1] = nil
  end
end

local function stands_before(a, b)
  return a.at < b.at
end

--- An iterator over the items of chunks and failures in the list's order, and their number. The items of the failures
--- `refused` may stand within any.
---@return function next_item, integer count
function M.in_order(refused, failures, chunks)
  local parts, rows, is_row, length = tables.slice(chunks, 1, #chunks), tables.slice(refused, 1, #refused), {}, 0
  for _, row in ipairs(rows) do
    is_row[row], length = true, length + #row.places
  end
  for _, failure in ipairs(failures) do
    parts[#parts + 1] = not is_row[failure] and failure or nil
  end
  table.sort(parts, stands_before)
  for _, part in ipairs(parts) do
    length = length + #part.items
  end
  local first, seen = 1, {}
  for i = 1, #rows + 1 do
    seen[i] = 0
  end
  local function next_item()
    local best, best_place
    while parts[first] and seen[#seen] == #parts[first].items do
      first, seen[#seen] = first + 1, 0
    end
    for i = 1, #seen do
      local part = rows[i] or parts[first]
      local place = part and seen[i] < #(part.places or part.items) and M.place_of(part, seen[i] + 1)
      if place and (not best_place or place < best_place) then
        best, best_place = i, place
      end
    end
    if best then
      seen[best] = seen[best] + 1
      return (rows[best] or parts[first]).items[seen[best]]
    end
  end
  return next_item, length
end

return M
