--- From what `add` is given to what a store holds, and back to what the client is given.
--
-- Where an item goes: `zone` is an id, a name (it has a dot) or "auto"; `environment` an id, "name:" and a name, or "".
local codec = require "cfpurge.json"
local core = require "cfpurge.core"
local names = require "cfpurge.names"
local tables = require "cfpurge.tables"
local validate = require "cfpurge.validate"

local M = {}

local known = {}
for _, name in ipairs { "zone", "zone_id", "environment", "environment_id", "invalidate", "delay", "again" } do
  known[name] = true
end

local function refused(field, problem)
  return nil, core.error("invalid_request", field .. ": " .. problem, { field = field })
end

local function seconds(options, name)
  local value = options[name]
  if value ~= nil and (type(value) ~= "number" or not (value >= 0 and value <= 366 * 86400)) then
    return refused(name, "must be seconds, from 0 to a year")
  end
  return value
end

--- The options of an add: { delay, again }; nil and an error where one is unknown or wrong.
---@return table? options, cfpurge.Error?
function M.options(options)
  for name in tables.entries(options) do
    if not known[name] then
      return refused(tostring(name), "no such option of add")
    end
  end
  local delay, again, err
  delay, err = seconds(options, "delay")
  if not err then
    again, err = seconds(options, "again")
  end
  if err then
    return nil, err
  end
  return { delay = delay, again = again and again > 0 and again or nil }
end

--- Where the items of a call go: { zone, environment, op, kind }, and their list.
---@return table? group, table|function|nil list, cfpurge.Error?
function M.group(state, params, options)
  local wanted = names.wanted(state, { params = params, options = options })
  local kind, list = validate.kind_of(params)
  local zone = wanted.zone_id or wanted.zone or state.zone_id
  for _, name in ipairs { "zone", "environment" } do
    local value = wanted[name]
    if value ~= nil and (type(value) ~= "string" or value == "") then
      wanted.problem = wanted.problem or ("%s: must be a name"):format(name)
    end
  end
  if wanted.problem then
    local field = wanted.problem:match "^%w+"
    return nil, nil, core.error("invalid_request", wanted.problem, { field = field })
  elseif not zone then
    return nil, nil, core.error("invalid_request",
      "no zone_id: set CLOUDFLARE_ZONE_ID, or give it to the queue, its client, add or params", { field = "zone_id" })
  end
  local problem = zone == "auto" and names.auto_problem(kind, wanted)
  if problem then
    return nil, nil, problem
  end
  local environment = wanted.environment_id or (wanted.environment and "name:" .. wanted.environment) or ""
  return {
    zone = zone, environment = environment, op = options.invalidate and "invalidate" or "purge",
    kind = kind or "everything",
  }, list
end

--- The items of a chunk as a store keeps them.
---@return string[][] pairs { key, JSON }
function M.encode(handle, kind, items)
  local all = {}
  for i, item in ipairs(items) do
    local key, json = handle:key(kind, item)
    all[i] = { key, json }
  end
  return all
end

-- The value that a store's JSON is; nil where it is none.
local function read(text)
  local ok, list = pcall(codec.decode, "[" .. text .. "]")
  return ok and list[1] or nil
end

-- An item as the client takes it; or nil and an error: then something else than an add has put it there.
local function item_of(handle, kind, text)
  local item = read(text)
  local ok, key, err = pcall(handle.key, handle, kind, item)
  if ok and (key or err.kind ~= "invalid_request") then
    return item
  end
  return nil, ok and err or core.error("invalid_request", kind .. ": the store holds what is no item", { field = kind })
end

--- The params and options of a claim, for the client; nil and the outcome where it has items that the client would
--- refuse: these fail, and the others wait for another claim.
---@return table? params, table options_or_outcome
function M.decode(handle, claim)
  local params, options = {}, { invalidate = claim.op == "invalidate" }
  if claim.kind == "everything" then
    params.purge_everything = true
  else
    local list, broken = {}, { failed = {}, waiting = {}, is_unsent = true }
    for i, entry in ipairs(claim.items) do
      local item, err = item_of(handle, claim.kind, entry.item)
      list[i] = item
      if err then
        broken.failed[#broken.failed + 1] = { entry.key, M.error_text(err) }
      else
        broken.waiting[#broken.waiting + 1] = entry.key
      end
    end
    if broken.failed[1] then
      return nil, broken
    end
    params[claim.kind] = list
  end
  options[names.is_name(claim.zone) and "zone" or "zone_id"] = claim.zone
  local name = claim.environment:match "^name:(.*)$"
  if name then
    options.environment = name
  elseif claim.environment ~= "" then
    options.environment_id = claim.environment
  end
  return params, options
end

-- What is kept of an error, and its types.
local FACTS = {
  kind = "string", about = "string", message = "string", status = "number", code = "number", ray_id = "string",
  field = "string",
}

-- Nothing but what `error_text` writes. lua-cjson reads a float, which 5.3 and newer would show as 400.0.
local function error_of(text)
  local found, err = read(text), { kind = "store", message = "the store holds what is no error" }
  for name, kind in pairs(type(found) == "table" and FACTS or {}) do
    local value = found[name]
    if type(value) == kind and (kind == "string" or (value >= 0 and value < 1e9)) then
      err[name] = kind == "string" and value or math.floor(value)
    end
  end
  return err
end

--- A failed item as it is shown.
---@param row table that of a store, or a claim with an item and its error
---@return table
function M.shown(row)
  local name = row.environment:match "^name:(.*)$"
  return {
    zone = row.zone, environment = name, environment_id = not name and row.environment ~= "" and row.environment or nil,
    invalidate = row.op == "invalidate",
    kind = row.kind, item = row.kind ~= "everything" and (read(row.item) or row.item) or nil,
    error = error_of(row.error), age = row.age,
  }
end

--- An error as it is stored.
function M.error_text(err)
  local facts = {}
  for name in pairs(FACTS) do
    facts[name] = err[name]
  end
  return codec.encode(facts)
end

return M
