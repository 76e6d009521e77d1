--- The file of --remaining: a new one beside it, moved into place when it has everything. It may be the file that is
--- read.
local core = require "cfpurge.core"
local lines = require "cfpurge.lines"

local M = {}

-- Items that are written at once.
local BLOCK = 256

-- /dev/stdout may be a regular file, and is no file to replace. /dev/shm has files like any other.
local function is_written_as_it_is(path)
  return path:find "^/dev/std" ~= nil or path:find "^/dev/fd/" ~= nil or path:find "^/proc/[^/]+/fd/" ~= nil
end

--- Can it be written? It is asked before anything is sent.
---@param path string
---@return string? problem
function M.problem(path)
  if path == "" or path == "-" then
    return "names no file; without it the items go to standard output"
  elseif is_written_as_it_is(path) then
    return nil
  end
  local beside, target = core.create_beside(path)
  if not beside then
    return path .. ": " .. target
  elseif beside ~= target then
    os.remove(beside)
  end
end

-- `state.bytes` of the file hold whole items; `state.block` has those that may not be in it.
local function write(file, next_item, text_of, state)
  repeat
    local texts, block = {}, {}
    for i = 1, BLOCK do
      block[i] = next_item()
      if block[i] == nil then
        break
      end
      texts[i] = text_of(block[i]) .. "\n"
    end
    state.block = block
    local text = table.concat(texts)
    local ok, problem = file:write(text)
    if ok then
      ok, problem = file:flush()
    end
    if not ok then
      return nil, problem
    end
    state.bytes, state.count, state.block = state.bytes + #text, state.count + #block, {}
  until #block < BLOCK
  return true
end

-- The items again that are in `reader`, then those of the block, then the others.
local function again(state, reader, kind, next_item, at_end)
  local i = 0
  return function()
    if reader and state.bytes > 0 then
      local line = core.read_line(reader)
      if line then
        state.bytes = state.bytes - #line - 1
        return lines.item_of(line, kind)
      end
    end
    if reader then
      reader:close()
      reader = nil
      at_end()
    end
    i = i + 1
    if state.block[i] ~= nil then
      return state.block[i]
    end
    return next_item()
  end
end

--- Writes the items there. Where it fails, `rest` has them for another place: all, or what a device did not take.
---@param path string
---@param next_item function
---@param source table cli/items.lua's
---@return integer? count, string path_or_problem, function? rest, integer? written where the rest lacks some
function M.save(path, next_item, source)
  local beside, target = path, path
  if not is_written_as_it_is(path) then
    beside, target = core.create_beside(path)
  end
  if not beside then
    return nil, path .. ": " .. target, next_item, 0
  end
  local state = { bytes = 0, count = 0, block = {} }
  local is_new = beside ~= target
  -- It was made just now: nothing is made where it has gone again.
  local file, problem = io.open(beside, is_new and "r+" or "a")
  local reader = is_new and file and io.open(beside)
  local ok = file
  if ok then
    ok, problem = write(file, next_item, source.text_of, state)
    local closed, why = file:close()
    if ok and not closed then
      ok, problem = nil, why
    end
  end
  -- What could not be read may be in the old file alone: what was written stays beside it.
  local is_kept = source.problem ~= nil
  if ok and is_new and not is_kept then
    ok, problem = core.replace(beside, target)
  end
  if ok then
    if reader then
      reader:close()
    end
    return state.count, is_kept and beside or path
  end
  local function remove()
    if is_new then
      os.remove(beside)
    end
  end
  if not reader then
    -- A device has what it has.
    state.bytes = 0
    remove()
  end
  return nil, path .. ": " .. tostring(problem), again(state, reader, source.kind, next_item, remove),
    is_new and 0 or state.count
end

return M
