--- The URLs of a sitemap (sitemaps.org), or of all the sitemaps of an index: files or pages, compressed or not.
--
-- They are read as they are asked for. A sitemap has 50 MB at most, by its protocol; an index that lists an index is
-- followed three deep.
local core = require "cfpurge.core"

local MOST_BYTES, PIECE, DEEPEST = 50 * 1024 * 1024, 65536, 3

local GZIP = "^\31\139"

local Reader = {}
Reader.__index = Reader

-- ---- bytes ----

-- An iterator over the pieces of a file or of what a program writes, and what ends it. `start` was read before.
local function pieces_of(file, start)
  local count = 0
  return function()
    local piece = start or file:read(PIECE)
    start = nil
    count = count + (piece and #piece or 0)
    if count > MOST_BYTES then
      error("it is larger than 50 MB", 0)
    end
    return piece
  end, function()
    file:close()
  end
end

local function quoted(path)
  return "'" .. path:gsub("'", "'\\''") .. "'"
end

-- A terminal's Ctrl-C is gzip's too: it is to write on, for what remains is read to its end.
local function unpacked(path)
  local program = io.popen("trap '' HUP INT TERM; exec gzip -dc < " .. quoted(path) .. " 2>/dev/null", "r")
  return pieces_of(program)
end

local function open_file(path)
  local file, problem = io.open(path, "rb")
  local start = file and file:read(2)
  if not file or not start then
    error(problem or path .. ": is empty or no file", 0)
  elseif start:find(GZIP) then
    local is_whole = file:seek("set", 0)
    file:close()
    if not is_whole then
      -- gzip would miss its beginning.
      error(path .. ": is compressed and no file that can be read twice", 0)
    end
    return unpacked(path)
  end
  return pieces_of(file, start)
end

-- A page is in memory as a whole: at most 50 MB.
local function open_page(self, url)
  self.pages = self.pages or core.pages()
  local page, problem = self.pages:get(url, { follow = true, max = MOST_BYTES, ca_file = self.args.ca_file })
  if not page then
    error(url .. ": " .. problem, 0)
  elseif page.status ~= 200 then
    error(("%s: status %d"):format(url, page.status), 0)
  end
  local path
  if page.body:find(GZIP) then
    path = os.tmpname()
    local file = assert(io.open(path, "wb"))
    local is_written, why = file:write(page.body)
    if not (file:close() and is_written) then
      os.remove(path)
      error(("%s: %s"):format(path, why or "it cannot be written"), 0)
    end
    local next_piece, close = unpacked(path)
    -- gzip has opened it by now; nothing is left behind, however the command ends.
    local start = next_piece()
    os.remove(path)
    return function()
      local piece = start or next_piece()
      start = nil
      return piece
    end, close
  end
  local at = 1
  return function()
    local piece = page.body:sub(at, at + PIECE - 1)
    at = at + #piece
    return piece ~= "" and piece or nil
  end, function() end
end

-- ---- XML ----

local function local_name(name)
  return name:match "[^|]*$"
end

-- What the parser calls: a <loc> of a <url> is a URL, that of a <sitemap> a sitemap.
local function callbacks_of(self)
  local stack, text = {}, nil
  return {
    StartDoctypeDecl = function()
      error("a sitemap declares no document type", 0)
    end,
    StartElement = function(_, name)
      name = local_name(name)
      if not stack[1] and name ~= "urlset" and name ~= "sitemapindex" then
        error(("it is no sitemap: it begins with <%s>"):format(name), 0)
      end
      stack[#stack + 1] = name
      text = name == "loc" and {} or nil
    end,
    CharacterData = function(_, data)
      if text then
        text[#text + 1] = data
      end
    end,
    EndElement = function(_, name)
      local parent = stack[#stack - 1]
      if text and local_name(name) == "loc" then
        local value = table.concat(text):match "^%s*(.-)%s*$"
        if value ~= "" and parent == "url" then
          self.found[#self.found + 1] = value
        elseif value ~= "" and parent == "sitemap" then
          self.sitemaps[#self.sitemaps + 1] = { where = value, depth = self.current.depth + 1 }
        end
      end
      text = nil
      stack[#stack] = nil
    end,
  }
end

-- ---- from sitemap to sitemap ----

function Reader:open(sitemap)
  self.current = sitemap
  if sitemap.depth > DEEPEST then
    error("an index lists an index that lists an index", 0)
  elseif sitemap.where:find "^[Hh][Tt][Tt][Pp][Ss]?://" then
    self.next_piece, self.close = open_page(self, sitemap.where)
  elseif sitemap.depth > 1 then
    error(sitemap.where .. ": an index lists URLs", 0)
  else
    self.next_piece, self.close = open_file(sitemap.where)
  end
  self.parser = self.lxp.new(callbacks_of(self), "|")
end

function Reader:shut()
  if self.parser then
    self.close()
    self.parser:close()
    self.parser = nil
  end
end

local function feed(self, piece)
  local ok, problem, line
  if piece then
    ok, problem, line = self.parser:parse(piece)
  else
    ok, problem, line = self.parser:parse()
  end
  if not ok then
    error(("line %s: %s"):format(line or "?", problem), 0)
  end
end

-- Reads until a URL is found, or there is no sitemap more.
function Reader:read_on()
  while not self.found[self.given + 1] do
    self.found, self.given = {}, 0
    if not self.parser then
      local sitemap = table.remove(self.sitemaps, 1)
      if not sitemap then
        return
      end
      self:open(sitemap)
    end
    local piece = self.next_piece()
    feed(self, piece)
    if not piece then
      self:shut()
    end
  end
end

local M = {}

--- The URLs of the sitemap that the arguments name. Where it cannot be read to its end, `source.problem` says why.
---@param source table cli/items.lua's
---@return function next_item
function M.items(source, args)
  local is_there, lxp = pcall(require, "lxp")
  local reader = setmetatable({
    args = args, lxp = lxp, found = {}, given = 0, sitemaps = { { where = args.sitemap, depth = 1 } }, current = nil,
  }, Reader)
  source.read = 0
  return function()
    local ok, problem = is_there, "the module lxp of lua-expat is not there, which reads XML"
    if ok and not source.problem then
      ok, problem = pcall(reader.read_on, reader)
    end
    if not ok then
      local where = reader.current and reader.current.where or args.sitemap
      problem = tostring(problem)
      source.problem = "--sitemap " .. (problem:find(where, 1, true) and problem or where .. ": " .. problem)
      pcall(reader.shut, reader)
    end
    if source.problem then
      return nil
    end
    reader.given = reader.given + 1
    local url = reader.found[reader.given]
    source.read = source.read + (url and 1 or 0)
    return url
  end
end

return M
