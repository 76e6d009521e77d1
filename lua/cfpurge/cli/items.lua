--- The items that the command purges: of its arguments, of a file, of standard input; and the file of those that
--- remain.
--
-- A line is one item, without the space around it; empty ones count for nothing. Of `files` a line that begins with {
-- is {"url": ..., "headers": {...}}. A file that we write reads back the same.
local core = require "cfpurge.core"
local tables = require "cfpurge.tables"

-- Modules that few calls need are loaded when they are needed: the command is to start as fast as curl.
local function json()
  return require "cfpurge.cli.json"
end

local Source = {}
Source.__index = Source

-- A line that is no JSON object goes through as it is: it will be refused like any other bad URL. An empty one as well,
-- which would be written as a list.
local function item_of(line, kind)
  if kind == "files" and line:byte() == 0x7B then
    local item = json().decode(line)
    return type(item) == "table" and next(item) and item or line
  end
  return line
end

function Source.text_of(item)
  return type(item) == "table" and json().encode(item) or tostring(item)
end

-- The items of `file`, read as they are asked for; `name` is what it is called where it cannot be read.
function Source:lines_of(file, name)
  local is_files, read, byte = self.kind == "files", core.read_line, string.byte
  return function()
    while true do
      local line, problem = read(file)
      if not line then
        -- Ctrl-C gives up a terminal's line: that is no error.
        if problem and not core.interrupted() then
          self.problem = name .. ": " .. problem
          -- The lines that were not read are nowhere else: the file is not to be replaced.
          if self.out then
            self.out.path = self.out.part
          end
        end
        return nil
      end
      self.bytes = self.bytes + #line + 1
      local first, last = byte(line, 1), byte(line, -1)
      -- Only where there is something to trim: a pattern over every line would take longer than all else.
      if first and (first <= 0x20 or last <= 0x20) then
        line = line:match "^%s*(.-)%s*$"
        first = byte(line, 1)
      end
      if first then
        self.given = self.given + 1
        return is_files and first == 0x7B and item_of(line, "files") or line
      end
    end
  end
end

local type_of = { url = "string", headers = "table" }

local function has_variants(base)
  for name, value in pairs(type(base) == "table" and base or {}) do
    if type(value) ~= type_of[name] then
      return false
    end
  end
  return type(base) == "string" or base.url ~= nil
end

-- Every variant of every item; the other headers that an item brings stay. An item that is no { url, headers } goes
-- through as it is: the library says what is wrong with it.
local function varied(next_item, axes)
  local variants, current, own = require "cfpurge.variants".variants, nil, nil
  return function()
    local item = current and current()
    if not item then
      local base = next_item()
      if base == nil or not has_variants(base) then
        return base
      end
      own = type(base) == "table" and base.headers or {}
      current = variants({ type(base) == "table" and base.url or base }, axes)
      item = current()
    end
    local named = {}
    for name in pairs(item.headers) do
      named[name:lower()] = true
    end
    for name, value in pairs(own) do
      if not named[tostring(name):lower()] then
        item.headers[name] = value
      end
    end
    return item
  end
end

local function axes_of(args, names)
  local axes
  for _, entry in ipairs(names) do
    local axis = entry[1]
    if args[axis] then
      axes = axes or {}
      axes[axis] = {}
      for value in args[axis]:gmatch "[^,]+" do
        table.insert(axes[axis], value:match "^%s*(.-)%s*$")
      end
      if #axes[axis] == 0 then
        return nil, "--" .. axis .. ": nothing is in the list"
      end
    end
  end
  return axes
end

-- Written beside it and moved there at the end: it may be what is being read. A device is no file to replace.
local function opened_to_write(path)
  if path == "" or path == "-" then
    return nil, "names no file; without it they go to standard output"
  end
  local part = path:find "^/dev/" and path or path .. ".part"
  local file, problem = io.open(part, "w")
  return file and { file = file, part = part, path = path }, problem
end

--- How many items there are in all, as far as it can be told by now.
---@return number?
function Source:total()
  if type(self.list) == "table" then
    return #self.list
  end
  if self.size and self.bytes > 0 then
    return self.first + self.given * self.variants * math.max(self.size / self.bytes, 1)
  end
end

--- Writes what was not accepted to the file of --remaining, if there is one.
---@param remaining table|function
---@return integer? items, string? problem
function Source:save(remaining)
  local out, count = self.out, 0
  if out then
    local ok, problem = true, nil
    for item in tables.each(remaining) do
      if ok then
        ok, problem = out.file:write(self.text_of(item), "\n")
      end
      count = count + 1
    end
    if ok then
      ok, problem = out.file:close()
    end
    if ok and out.part ~= out.path then
      ok, problem = os.rename(out.part, out.path)
    end
    if not ok then
      return nil, "--remaining: " .. tostring(problem)
    end
  end
  return count
end

local M = { text_of = Source.text_of }

-- The file that is to be read, if any is.
local function opened_to_read(args)
  if args.from and args.from ~= "-" then
    local file, problem = io.open(args.from)
    return file, problem and "--from: " .. problem
  elseif args.from or (not args.items[1] and not core.is_terminal(0)) then
    return io.stdin
  elseif not args.items[1] then
    return nil, args.kind .. ": nothing to purge: give items, --from FILE or standard input"
  end
end

---@param args table what was parsed
---@param names table the options of variants
---@return table? source, string? problem
function M.open(args, names)
  local self = setmetatable({ kind = args.kind, first = 0, given = 0, bytes = 0, variants = 1 }, Source)
  local axes, file, problem
  axes, problem = axes_of(args, names)
  if not problem then
    file, problem = opened_to_read(args)
  end
  -- A dry run sends nothing: what an earlier purge left there still is what remains.
  if not problem and args.remaining and not args.dry_run then
    self.out, problem = opened_to_write(args.remaining)
    problem = problem and "--remaining: " .. problem
  end
  if problem then
    return nil, problem
  end
  local items = {}
  for i, item in ipairs(args.items) do
    items[i] = item_of(item, self.kind)
  end
  local next_item = tables.each(items)
  if file then
    -- Of a pipe it cannot be told; of standard input somebody else may have read the beginning.
    local at = file:seek()
    local size = at and file:seek "end"
    self.size = size and file:seek("set", at) and size - at
    local lines = self:lines_of(file, args.from and "--from " .. args.from or "standard input")
    next_item = items[1] and tables.chained(items, lines) or lines
  end
  if axes then
    next_item = varied(next_item, axes)
    for _, values in pairs(axes) do
      self.variants = self.variants * #values
    end
  end
  if file then
    self.first, self.list = #items * self.variants, next_item
  else
    self.list = {}
    for item in next_item do
      table.insert(self.list, item)
    end
  end
  return self
end

return M
