--- The options of a queue and of its methods, and its store.
local clients = require "cfpurge.client"
local core = require "cfpurge.core"
local tables = require "cfpurge.tables"
local validate = require "cfpurge.validate"

local M = {}

local known = { store = "string", client = "table", capacity = "number", linger = "number", lease = "number",
  max_in_flight = "number", zone = "string", zone_id = "string", on_event = "function" }

--- The field of the options of a queue that is wrong, and what is wrong with it.
---@return string? field, string? problem
function M.option_problem(options)
  for name, value in tables.entries(options) do
    if name == "loop" then
      if options.client or (type(value) ~= "string" and type(value) ~= "table") then
        return name, options.client and "goes without client, which has one" or "string or table expected"
      end
    elseif not known[name] then
      return tostring(name), "no such option of queue"
    elseif type(value) ~= known[name] then
      return name, ("%s expected, got %s"):format(known[name], type(value))
    elseif known[name] == "number" and not (value > 0 and value <= 1e9) then
      return name, "must be a number above 0"
    end
  end
  if not options.store then
    return "store", "is needed: a path, or redis://host"
  elseif options.zone and options.zone_id then
    return "zone", "either zone or zone_id"
  end
end

--- The inside of the queue's client. Without one it is that of a client which sends nothing: it knows the API's rules
--- and CLOUDFLARE_ZONE_ID.
---@return table? state, string? message, cfpurge.Error?
function M.client_of(options)
  local client, message, problem = options.client, nil, nil
  if not client then
    client, message, problem = clients.new {
      api_token = "none", base_url = "https://api.cloudflare.com/client/v4", proxy = "", loop = options.loop,
    }
  end
  local state = clients.state(client)
  if problem then
    return nil, message, problem
  elseif not state then
    return validate.refused("client", "is no client of cfpurge")
  end
  -- The core says whether it can be an id.
  local path, err = state.core:check { purge_everything = true, zone_id = options.zone_id or "0" }
  if not path then
    return nil, tostring(err), err
  end
  return state
end

--- The options of a method: nil and an error where one is not allowed or of another type.
---@param deeper? integer functions between the method and this
---@return table? options, cfpurge.Error?
function M.call_options(name, options, allowed, deeper)
  if options ~= nil and type(options) ~= "table" then
    error(("bad argument #1 to '%s' (table expected, got %s)"):format(name, type(options)), 3 + (deeper or 0))
  end
  for field, value in tables.entries(options or {}) do
    local problem
    if not allowed[field] then
      problem = "no such option of " .. name
    elseif type(value) ~= allowed[field] then
      problem = ("%s expected, got %s"):format(allowed[field], type(value))
    elseif field == "limit" and not (value >= 1 and (value % 1 == 0 or value == math.huge)) then
      problem = "must be a whole number, at least 1"
    elseif allowed[field] == "number" and (value ~= value or value < 0) then
      problem = "must be at least 0"
    end
    if problem then
      return nil, core.error("invalid_request", tostring(field) .. ": " .. problem, { field = tostring(field) })
    end
  end
  return options or {}
end

local FILTER = { zone = "string", environment = "string", environment_id = "string", kind = "string",
  older_than = "number" }

local KINDS = { everything = true }
for _, kind in ipairs(core.kinds) do
  KINDS[kind] = true
end

--- A filter of what failed, as a store has it.
---@param filter? cfpurge.QueueFilter
---@param more? table other options of this method
---@return table? filter, cfpurge.Error?
function M.filter(name, filter, more)
  local allowed = tables.copy(FILTER)
  for option, kind in pairs(more or {}) do
    allowed[option] = kind
  end
  local err
  filter, err = M.call_options(name, filter, allowed, 1)
  if not filter then
    return nil, err
  elseif filter.environment and filter.environment_id then
    return nil, core.error("invalid_request", "environment: either environment or environment_id",
      { field = "environment" })
  elseif filter.kind and not KINDS[filter.kind] then
    return nil, core.error("invalid_request", ("kind: one of %s, everything expected"):format(
      table.concat(core.kinds, ", ")), { field = "kind" })
  end
  local stored = tables.copy(filter)
  stored.environment = filter.environment_id or (filter.environment and "name:" .. filter.environment)
  return stored
end

--- What a store is built with, and how what names one begins; the last one is any other target's.
M.stores = {
  { name = "redis", package = "libhiredis-dev", prefixes = { "redis://", "rediss://", "unix://" } },
  { name = "sqlite", package = "libsqlite3-dev", prefixes = { "" } },
}

local function store_named_by(target)
  for _, store in ipairs(M.stores) do
    for _, prefix in ipairs(store.prefixes) do
      if target:sub(1, #prefix) == prefix then
        return store
      end
    end
  end
end

--- The store's module and its transitions; nil and a sentence where it cannot be loaded.
---@return table? module, table|string transitions
function M.store_of(target)
  local store = store_named_by(target)
  local name = store.name
  local ok, module = pcall(require, "cfpurge." .. name)
  if not ok then
    local problem = tostring(module)
    if problem:find("not found:", 1, true) then
      problem = ("install %s (Debian's name) and build cfpurge again; or install the rock cfpurge-%s"):format(
        store.package, name)
    end
    return nil, ("there is no cfpurge/%s.so: %s"):format(name, problem:match "[^\n]*$")
  end
  return module, require("cfpurge.queue." .. name)
end

return M
