--- The items that the command purges: of its arguments, of a file, of standard input.
--
-- How a file is read is cfpurge/lines.lua's. A file that we write reads back the same.
local core = require "cfpurge.core"
local lines = require "cfpurge.lines"
local tables = require "cfpurge.tables"

local Source = {}
Source.__index = Source

function Source.text_of(item)
  return type(item) == "table" and require "cfpurge.cli.json".encode(item) or tostring(item)
end

-- A file that cannot be read to its end ends early, and `problem` says why.
function Source:items_of()
  local reader = self.lines
  return function()
    local ok, item = pcall(reader)
    if ok then
      return item
    elseif core.interrupted() == 0 then
      -- Ctrl-C gives up a terminal's line: that is no error.
      self.problem = reader.problem or tostring(item)
      if self.kind == "files" and self.problem:find "XML" then
        self.problem = self.problem .. "; --sitemap reads a sitemap"
      end
    end
  end
end

-- The first items are kept, to look at their pages afterwards.
local function with_first_kept(self, next_item, most)
  self.first_items = {}
  return function()
    local item = next_item()
    if item ~= nil and #self.first_items < most then
      self.first_items[#self.first_items + 1] = item
    end
    return item
  end
end

-- The first item with a star is noted: it stands for itself, which may not be what was meant.
local function with_stars_noted(self, next_item)
  return function()
    local item = next_item()
    local text = item and (type(item) == "table" and item.url or item)
    if not self.star and type(text) == "string" and text:find("*", 1, true) then
      self.star = text
    end
    return item
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
local function varied(self, next_item, axes)
  local variants, current, own = require "cfpurge.variants".variants, nil, nil
  return function()
    local item = current and current()
    if not item then
      local base = next_item()
      if base == nil then
        return nil
      elseif not has_variants(base) then
        self.single[#self.single + 1] = self.taken + 1
        self.taken, current = self.taken + 1, nil
        return base
      end
      self.taken = self.taken + self.variants
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

--- How many items there are in all, as far as it can be told by now.
---@return number?
function Source:total()
  if type(self.list) == "table" then
    return #self.list
  end
  local reader = self.lines
  if reader and self.size and reader.bytes > 0 then
    return self.first + reader.count * self.variants * math.max(self.size / reader.bytes, 1)
  end
end

--- Where the n-th item stands: a file and its line; nil for an argument.
---@param n integer
---@return string?
function Source:place(n)
  if not self.lines then
    return nil
  end
  local singles = 0
  while self.single[singles + 1] and self.single[singles + 1] < n do
    singles = singles + 1
  end
  local base = math.ceil((n - singles) / self.variants) + singles
  local line = self.lines:place(base - self.arguments)
  return line and ("%s:%d"):format(self.name, line)
end

--- Did all come from the command line?
function Source:is_typed()
  return not (self.lines or self.read)
end

--- Did it give no item so far?
function Source:is_empty()
  return self.arguments + (self.lines and self.lines.count or self.read or 0) == 0
end

--- All was accepted: nothing remains.
---@return string? problem
function Source:empty_remaining()
  if self.remaining then
    local count, problem = require "cfpurge.cli.remaining".save(self.remaining, function() end, self)
    return not count and "--remaining: " .. problem or nil
  end
end

local M = { text_of = Source.text_of }

-- The file that is to be read, if any is.
local function opened_to_read(args)
  if args.sitemap then
    return nil, (args.from or args.items[1]) and "--sitemap: either a sitemap, or items and --from" or nil
  elseif args.from and args.from ~= "-" then
    local file, problem = io.open(args.from, "rb")
    return file, problem and "--from: " .. problem
  elseif args.from or (not args.items[1] and not core.is_terminal(0)) then
    return io.stdin
  elseif not args.items[1] then
    return nil, ("%s: nothing to %s: give items, --from FILE or standard input"):format(args.kind,
      args.kind == "check" and "ask for" or "purge")
  end
end

---@param args table what was parsed
---@param names table the options of variants
---@return table? source, string? problem
function M.open(args, names)
  local self = setmetatable({
    kind = args.kind == "check" and "files" or args.kind, first = 0, arguments = #args.items, variants = 1, taken = 0,
    single = {},
  }, Source)
  local axes, file, problem
  axes, problem = axes_of(args, names)
  if not problem then
    file, problem = opened_to_read(args)
  end
  -- A dry run sends nothing: what an earlier purge left there still is what remains.
  if not problem and args.remaining and not args.dry_run then
    self.remaining = args.remaining
    problem = require "cfpurge.cli.remaining".problem(args.remaining)
    problem = problem and "--remaining: " .. problem
  end
  if problem then
    return nil, problem
  end
  local items = {}
  for i, item in ipairs(args.items) do
    items[i] = lines.item_of(item, self.kind)
  end
  local next_item = tables.each(items)
  if file then
    self.name = args.from and args.from ~= "-" and args.from or "standard input"
    self.lines = lines.of_file(file, args.from and "--from " .. args.from or "standard input", self.kind)
    -- Of a pipe it cannot be told; of standard input somebody else may have read the beginning.
    local at = file:seek()
    local size = at and file:seek "end"
    self.size = size and file:seek("set", at) and size - at
    local read = self:items_of()
    next_item = items[1] and tables.chained(items, read) or read
  end
  if args.sitemap then
    next_item = require "cfpurge.cli.sitemap".items(self, args)
  end
  if self.kind == "files" or self.kind == "prefixes" then
    next_item = with_stars_noted(self, next_item)
  end
  if axes then
    for _, values in pairs(axes) do
      self.variants = self.variants * #values
    end
    next_item = varied(self, next_item, axes)
  end
  if args.check then
    next_item = with_first_kept(self, next_item, require "cfpurge.cli.check".MOST)
  end
  if file or args.sitemap then
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
