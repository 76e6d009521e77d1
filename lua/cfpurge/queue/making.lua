--- The options of a queue, and its store.
local tables = require "cfpurge.tables"

local M = {}

local known = { store = "string", client = "table", capacity = "number", linger = "number", lease = "number",
  max_in_flight = "number" }

--- The field of the options of a queue that is wrong, and what is wrong with it.
---@return string? field, string? problem
function M.option_problem(options)
  for name, value in tables.entries(options) do
    if not known[name] then
      return tostring(name), "no such option of queue"
    elseif type(value) ~= known[name] then
      return name, ("%s expected, got %s"):format(known[name], type(value))
    elseif known[name] == "number" and not (value > 0 and value <= 1e9) then
      return name, "must be a number above 0"
    end
  end
  if not options.store then
    return "store", "is needed: a path, or redis://host"
  elseif not options.client then
    return "client", "is needed: what cfpurge.new has returned"
  end
end

--- The store's module and its transitions; nil and a sentence where it was not built.
---@return table? module, table|string transitions
function M.store_of(target)
  local is_redis = target:find "^rediss?://" or target:find "^unix://"
  local name = is_redis and "redis" or "sqlite"
  local ok, module = pcall(require, "cfpurge." .. name)
  if not ok then
    return nil, ("this cfpurge was built without %s: %s"):format(name, tostring(module):match "[^\n]*")
  end
  return module, require("cfpurge.queue." .. name)
end

return M
