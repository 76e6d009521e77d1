--- The lists of zones and environments that the credential sees, page by page.
local completion = require "cfpurge.completion"
local core = require "cfpurge.core"
local requests = require "cfpurge.request"

local M = {}

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

-- A text of the server's; nil where there is none.
local function text_of(owner, name)
  local text = type(owner) == "table" and owner[name]
  return type(text) == "string" and #text < 256 and text or nil
end

-- An id that the server gives becomes a part of paths.
local function id_of(owner, name)
  local id = text_of(owner, name)
  return id and #id <= 32 and id:match "^[%w_-]+$"
end

-- What the API tells of a zone; nil where that is nothing to use.
local function zone_of(entry)
  local id, name = id_of(entry, "id"), text_of(entry, "name")
  if id and name then
    local account = id_of(entry.account, "id")
    return {
      id = id, name = name, status = text_of(entry, "status"), plan = text_of(entry.plan, "legacy_id"),
      account = account and { id = account, name = text_of(entry.account, "name") } or nil,
    }
  end
end

local function add_zones(result, found)
  for _, entry in ipairs(result) do
    found[#found + 1] = zone_of(entry)
  end
end

-- The zones of a page go by their names, each to those of the same name: `found.by_name`.
local function index_zones(result, found)
  local before = #found
  add_zones(result, found)
  for i = before + 1, #found do
    local name = M.plain(found[i].name)
    if name then
      local same = found.by_name[name] or {}
      found.by_name[name] = same
      if not same[1] or same[#same].id ~= found[i].id then
        same[#same + 1] = found[i]
      end
    end
  end
end

local function add_zone(result, found)
  found[#found + 1] = zone_of(result)
end

local function add_environments(result, found)
  for _, entry in ipairs(type(result.environments) == "table" and result.environments or {}) do
    local id, name = id_of(entry, "ref"), text_of(entry, "name")
    if id and name then
      found[#found + 1] = { id = id, name = name }
    end
  end
end

local function escape(name)
  return (name:gsub("[^%w%-._~]", function(byte)
    return ("%%%02X"):format(byte:byte())
  end))
end

-- `ends` is when the deadline of the whole call passes, or nil.
local function lookup(request, path, options, ends, extract, done, found)
  requests.give_job(request, setmetatable({
    state = request.state, path = path, options = options, ends = ends,
    extract = extract, done = done, parts = {}, found = found or {}, cancelled = false,
  }, Lookup))
  local ok, raised = pcall(request.job.fetch, request.job, 1)
  if not ok then
    if next(request.job.parts) == nil then
      requests.take_job(request)
    end
    error(raised, 0)
  end
end

--- A name of a host or a zone as the API writes it: in lower case, without a final dot, in ASCII. Nil where libcurl
--- cannot write it so.
---@param name string
---@return string?
function M.plain(name)
  local ascii = name
  if name:find "[\128-\255]" then
    ascii = core.ascii_host(name)
  end
  return ascii and ascii:lower():gsub("%.$", "")
end

---@param name? string of the only zones that are asked for
---@param done fun(list?: cfpurge.Zone[], err?: cfpurge.Error)
function M.zones(request, name, options, ends, done)
  lookup(request, name and "/zones?name=" .. escape(name) or "/zones", options, ends, add_zones, done)
end

--- The same of all zones, with `by_name`: their plain names, and the zones of each.
---@param done fun(index?: table, err?: cfpurge.Error)
function M.index(request, options, ends, done)
  lookup(request, "/zones", options, ends, index_zones, done, { by_name = {} })
end

--- A list of the one zone that has this id.
---@param done fun(list?: cfpurge.Zone[], err?: cfpurge.Error)
function M.zone(request, zone_id, options, ends, done)
  lookup(request, "/zones/" .. zone_id, options, ends, add_zone, done)
end

---@param done fun(list?: cfpurge.Environment[], err?: cfpurge.Error)
function M.environments(request, zone_id, options, ends, done)
  lookup(request, "/zones/" .. zone_id .. "/environments", options, ends, add_environments, done)
end

return M
