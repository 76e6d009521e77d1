--- The lists of zones and environments that the credential sees, page by page.
local completion = require "cfpurge.completion"
local core = require "cfpurge.core"
local requests = require "cfpurge.request"

-- No account comes near these; a server that never ends does.
local MOST_PAGES, MOST_ENTRIES = 1000, 50000

-- A job that fetches pages, one after another, and hands all that they held to `done(list, err)`.
local Lookup = {}
Lookup.__index = Lookup

function Lookup:cancel()
  self.cancelled = true
  completion.cancel_all(self.state, self.parts)
end

function Lookup:fetch(page)
  local separator, before = self.path:find("?", 1, true) and "&" or "?", #self.found
  local options = requests.left(self.options, self.ends)
  local path = ("%s%spage=%d&per_page=50"):format(self.path, separator, page)
  local part, err = requests.fetch(self.state, path, options, function(part, result, failure)
    self.parts[part] = nil
    if not result then
      return self.done(nil, failure)
    elseif self.cancelled then
      -- The answer was there, but nothing had been told of it.
      return self.done(nil, core.error("cancelled", "cancelled"))
    end
    -- It may have been cut off here.
    for i = #self.found, before + 1, -1 do
      self.found[i] = nil
    end
    self.extract(result.result or {}, self.found)
    local info = result.result_info
    if #self.found > MOST_ENTRIES or page > MOST_PAGES then
      self.done(nil, core.error("bad_response", "the list has no end"))
    elseif type(info) == "table" and type(info.total_pages) == "number" and page < info.total_pages then
      self:fetch(page + 1)
    else
      self.done(self.found)
    end
  end)
  if part then
    self.parts[part] = true
  else
    self.done(nil, err)
  end
end

-- An id that the server gives becomes a part of paths.
local function add(list, id, found)
  for _, entry in ipairs(list) do
    local is_named = type(entry) == "table" and type(entry.name) == "string" and type(entry[id]) == "string"
    if is_named and #entry.name < 256 and #entry[id] <= 32 and entry[id]:match "^[%w_-]+$" then
      found[#found + 1] = { id = entry[id], name = entry.name }
    end
  end
end

local function add_zones(result, found)
  add(result, "id", found)
end

local function add_environments(result, found)
  add(type(result.environments) == "table" and result.environments or {}, "ref", found)
end

local function escape(name)
  return (name:gsub("[^%w%-._~]", function(byte)
    return ("%%%02X"):format(byte:byte())
  end))
end

-- `ends` is when the deadline of the whole call passes, or nil.
local function lookup(request, path, options, ends, extract, done)
  request.job = setmetatable({
    state = request.state, path = path, options = options, ends = ends,
    extract = extract, done = done, parts = {}, found = {}, cancelled = false,
  }, Lookup)
  request.job:fetch(1)
end

local M = {}

---@param name? string of the only zone that is asked for
---@param done fun(list?: {id: string, name: string}[], err?: cfpurge.Error)
function M.zones(request, name, options, ends, done)
  lookup(request, name and "/zones?name=" .. escape(name) or "/zones", options, ends, add_zones, done)
end

---@param done fun(list?: {id: string, name: string}[], err?: cfpurge.Error)
function M.environments(request, zone_id, options, ends, done)
  lookup(request, "/zones/" .. zone_id .. "/environments", options, ends, add_environments, done)
end

return M
