--- Zones and environments by their names: looked up once, kept by the client.
local core = require "cfpurge.core"
local requests = require "cfpurge.request"
local tables = require "cfpurge.tables"

-- What no account comes near, and a server that never ends does.
local MOST_PAGES, MOST_ENTRIES = 1000, 50000

-- A job that fetches pages, one after another, and hands all that they held to `done(list, err)`.
local Lookup = {}
Lookup.__index = Lookup

function Lookup:cancel()
  self.cancelled = true
  for part in tables.entries(self.parts) do
    self.client.core:cancel(part.id)
  end
end

function Lookup:fetch(page)
  local separator, before = self.path:find("?", 1, true) and "&" or "?", #self.found
  local options = requests.left(self.options, self.ends)
  local part, err = self.client:fetch(("%s%spage=%d&per_page=50"):format(self.path, separator, page), options,
    function(part, result, failure)
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

local function lookup(client, request, path, options, extract, done)
  request.job = setmetatable({
    client = client, path = path, options = options, ends = requests.ends(request, options),
    extract = extract, done = done, parts = {}, found = {}, cancelled = false,
  }, Lookup)
  request.job:fetch(1)
end

-- What the server calls an id becomes a part of paths.
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

-- The command takes an id for a name where it does not look like one.
local function id_named(list, name, field)
  for _, key in ipairs { "name", "id" } do
    for _, entry in ipairs(list) do
      if entry[key] == name then
        return entry.id
      end
    end
  end
  local problem = ("%s: the credential sees none named '%s'"):format(field, name)
  return nil, core.error("not_found", problem, { field = field })
end

local M = {}

---@param done fun(list?: {id: string, name: string}[], err?: cfpurge.Error)
function M.zones(client, request, options, done)
  lookup(client, request, "/zones", options, add_zones, done)
end

---@param done fun(list?: {id: string, name: string}[], err?: cfpurge.Error)
function M.environments(client, request, zone_id, options, done)
  lookup(client, request, "/zones/" .. zone_id .. "/environments", options, add_environments, done)
end

--- The ids of a call that are known, and what is left to look up: `zone` and `environment` are names, or nil; a
--- `problem` where one place gives both.
function M.wanted(client, call)
  local params, options = call.params, call.options or {}
  local wanted = { zone_id = rawget(params, "zone_id"), zone = rawget(params, "zone") }
  for _, place in ipairs { params, options } do
    for _, name in ipairs { "zone", "environment" } do
      if rawget(place, name) ~= nil and rawget(place, name .. "_id") ~= nil then
        wanted.problem = ("%s: either %s or %s_id"):format(name, name, name)
      end
    end
  end
  if not (wanted.zone_id or wanted.zone) then
    wanted.zone_id, wanted.zone = rawget(options, "zone_id"), rawget(options, "zone")
  end
  if not (wanted.zone_id or wanted.zone) then
    wanted.zone = client.zone
  end
  wanted.environment_id = call.environment_id or rawget(params, "environment_id")
  wanted.environment = not wanted.environment_id and rawget(params, "environment") or nil
  if not (wanted.environment_id or wanted.environment) then
    wanted.environment_id, wanted.environment = rawget(options, "environment_id"), rawget(options, "environment")
  end
  return wanted
end

--- Turns names into ids, without a request where they are known, and calls `done(zone_id, environment_id)` or
--- `done(nil, nil, err)`.
function M.resolve(client, request, wanted, options, done)
  -- `ids` learns what the list says of `what`, and all goes on from the start.
  local function learned(ids, what)
    return function(list, err)
      if list then
        ids[wanted[what]], err = id_named(list, wanted[what], what)
      end
      if err then
        return done(nil, nil, err)
      end
      M.resolve(client, request, wanted, options, done)
    end
  end
  local zone_id, environment_id = wanted.zone_id, wanted.environment_id
  if not zone_id and wanted.zone then
    zone_id = client.zone_ids[wanted.zone]
    if not zone_id then
      return lookup(client, request, "/zones?name=" .. escape(wanted.zone), options, add_zones,
        learned(client.zone_ids, "zone"))
    end
  end
  if not environment_id and wanted.environment then
    local of_zone = zone_id or client.zone_id
    local known = client.environment_ids[of_zone] or {}
    client.environment_ids[of_zone] = known
    environment_id = known[wanted.environment]
    if not environment_id then
      return M.environments(client, request, of_zone, options, learned(known, "environment"))
    end
  end
  done(zone_id, environment_id)
end

return M
