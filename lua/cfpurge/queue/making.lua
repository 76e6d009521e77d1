--- The options of a queue, and its store.
local clients = require "cfpurge.client"
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

-- What a store is built with.
local packages = { sqlite = "libsqlite3-dev", redis = "libhiredis-dev" }

--- The store's module and its transitions; nil and a sentence where it cannot be loaded.
---@return table? module, table|string transitions
function M.store_of(target)
  local is_redis = target:find "^rediss?://" or target:find "^unix://"
  local name = is_redis and "redis" or "sqlite"
  local ok, module = pcall(require, "cfpurge." .. name)
  if not ok then
    local problem = tostring(module)
    if problem:find("not found:", 1, true) then
      problem = ("install the rock cfpurge-%s; or %s (so Debian calls it), and then cfpurge anew"):format(name,
        packages[name])
    end
    return nil, ("there is no cfpurge/%s.so: %s"):format(name, problem:match "[^\n]*$")
  end
  return module, require("cfpurge.queue." .. name)
end

return M
