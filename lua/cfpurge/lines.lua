--- Reads the items of a file, one a line, as they are asked for.
--
-- The space around a line, blank lines, comments and a byte order mark count for nothing. A file that cannot be read to
-- its end, or that holds no lines of items, raises: a purge of the half would look like all of it.
local core = require "cfpurge.core"

local read_line, byte = core.read_line, string.byte

local BOM = "\239\187\191"

-- What the beginning of a file says of it. A tag may begin with <.
local foreign = {
  { "^\255\254", "it is UTF-16: save it as UTF-8" },
  { "^\254\255", "it is UTF-16: save it as UTF-8" },
  { "^%s*<[?!]", "it looks like XML or HTML, not like one item a line" },
  { "^%s*<urlset", "it looks like XML, not like one item a line" },
  { "^%s*<sitemapindex", "it looks like XML, not like one item a line" },
  { "^%s*<html", "it looks like HTML, not like one item a line" },
}

local kinds = {}
for _, kind in ipairs(core.kinds) do
  kinds[kind] = true
end

-- A callable table can tell more than a function can. `count`: the items that it gave; `bytes`: those that it has read;
-- `line`: the line that it has read last; `problem`: why it raised.
--
-- `firsts`, `places` and `strides` are runs of items: the item firsts[i] stands in the line places[i], and those after
-- it strides[i] lines further each. A file has few, however long it is.
---@class cfpurge.Lines
---@field count integer
---@field bytes integer
---@field line integer
---@field problem? string
---@operator call: cfpurge.File?
local Lines = {}
Lines.__index = Lines

--- A line of `files` that is a JSON object as a table. One that is no JSON goes through as it is: it will be refused
--- like any other bad URL. An empty one as well, which would be written as a list.
---@return cfpurge.File
local function item_of(line, kind)
  if kind == "files" and byte(line) == 0x7B then
    local ok, item = pcall(require "cfpurge.json".decode, line)
    return ok and type(item) == "table" and next(item) and item or line
  end
  return line
end

local function fail(self, problem)
  self.problem, self.ended = self.name .. ": " .. problem, true
  if self.is_ours then
    self.file:close()
  end
  error(self.problem, 0)
end

local function note_place(self)
  local count, line, runs = self.count, self.line, self.runs
  local first, place, stride = self.firsts[runs], self.places[runs], self.strides[runs]
  if first and stride == 0 then
    self.strides[runs] = line - place
  elseif not first or line ~= place + (count - first) * stride then
    runs = runs + 1
    self.runs, self.firsts[runs], self.places[runs], self.strides[runs] = runs, count, line, 0
  end
end

-- The next line without its byte order mark; nil at the end.
local function read(self)
  local line, problem = read_line(self.file)
  if not line then
    if problem then
      fail(self, problem)
    end
    self.ended = true
    if self.is_ours then
      self.file:close()
    end
    return nil
  end
  self.bytes, self.line = self.bytes + #line + 1, self.line + 1
  if self.line == 1 then
    line = line:sub(1, 3) == BOM and line:sub(4) or line
  end
  if self.count == 0 then
    local start = line:sub(1, 100):lower()
    for _, entry in ipairs(foreign) do
      if start:find(entry[1]) then
        fail(self, ("line %d: %s"):format(self.line, entry[2]))
      end
    end
  end
  return line
end

function Lines:__call()
  while not self.ended do
    local line = read(self)
    local first, last = line and byte(line, 1), line and byte(line, -1)
    local is_comment = line and self.comment ~= nil and line:find(self.comment) ~= nil
    -- Only where there is something to trim: a pattern over every line would take longer than all else.
    if first and (first <= 0x20 or last <= 0x20) then
      line = line:match "^%s*(.-)%s*$"
      first = byte(line, 1)
    end
    if first and not is_comment then
      self.count = self.count + 1
      note_place(self)
      return self.kind == "files" and first == 0x7B and item_of(line, "files") or line
    end
  end
end

--- The line of the file in which the n-th item stands; nil where it was not read yet.
---@param n integer
---@return integer?
function Lines:place(n)
  local low, high = 1, self.runs
  if n < 1 or n > self.count then
    return nil
  end
  while low < high do
    local middle = math.ceil((low + high) / 2)
    if self.firsts[middle] <= n then
      low = middle
    else
      high = middle - 1
    end
  end
  return self.places[low] + (n - self.firsts[low]) * self.strides[low]
end

--- The items of an open file, which `name` stands for in messages.
---@return cfpurge.Lines
local function of_file(file, name, kind)
  return setmetatable({
    file = file, name = name, kind = kind, is_ours = false, ended = false,
    comment = (kind == nil or kind == "tags") and "^%s*#[ \t]" or "^%s*#",
    count = 0, bytes = 0, line = 0, runs = 0, firsts = {}, places = {}, strides = {},
  }, Lines)
end

--- The items of a file, for `client:purge { tags = assert(cfpurge.lines("tags.txt", "tags")) }`. A line that begins
--- with # is a comment of files, hosts and prefixes; of tags, and where no kind is given, only where a space follows. A
--- line of files may be {"url": ..., "headers": {...}}.
---@param path string|file* a file that is given open is left open
---@param kind? cfpurge.ListKind
---@return cfpurge.Lines? lines, cfpurge.Error? err
local function lines(path, kind)
  if kind ~= nil and not kinds[kind] then
    error(("bad argument #2 to 'lines' (one of %s expected)"):format(table.concat(core.kinds, ", ")), 2)
  elseif io.type(path) == "file" then
    return of_file(path, "the file", kind)
  elseif type(path) ~= "string" then
    error(("bad argument #1 to 'lines' (a path or an open file expected, got %s)"):format(
      io.type(path) or type(path)), 2)
  end
  local file, problem = io.open(path, "rb")
  if not file then
    return nil, core.error("invalid_request", problem, { field = "path" })
  end
  local self = of_file(file, path, kind)
  self.is_ours = true
  return self
end

return { lines = lines, of_file = of_file, item_of = item_of }
