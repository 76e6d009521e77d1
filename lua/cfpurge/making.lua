--- The options of a client, and what it is made with.
local completion = require "cfpurge.completion"
local core = require "cfpurge.core"
local loops = require "cfpurge.loop"
local tables = require "cfpurge.tables"
local validate = require "cfpurge.validate"

local function default_of(name)
  for _, option in ipairs(core.options) do
    if option.name == name then
      return option.default
    end
  end
end

-- Each worker of nginx has the client that init_by_lua made, or one of its own, and all of them share the account.
local function with_share(options)
  local nginx = rawget(_G, "ngx")
  local count = type(nginx) == "table" and type(nginx.worker) == "table" and nginx.worker.count
  if not count or type(options) ~= "table" or rawget(options, "plan") == nil or rawget(options, "share") ~= nil then
    return options
  end
  local ok, workers = pcall(count)
  local copy = tables.copy(options)
  copy.share = ok and type(workers) == "number" and workers >= 1 and workers or nil
  return copy
end

--- What a client is inside. A wrong type raises in the name of `new`.
---@param options? cfpurge.Options
---@return table? state, string? message, cfpurge.Error?
return function(options)
  options = with_share(options)
  local ok, handle, message, err = pcall(core.new, options)
  if not ok then
    validate.raise(handle, "new", 0, 4)
  end
  if not handle then
    return nil, message, err
  end
  local loop = options and rawget(options, "loop") or "auto"
  local problem = loops.check(loop)
  if not problem then
    -- Loaded now: when it is needed there may be no descriptor left.
    local is_there, raised = pcall(loops.pick, loop)
    problem = not is_there and tostring(raised):match "[^\n]*"
  end
  if problem then
    return validate.refused("loop", problem)
  end
  if loops.is_loading() then
    local is_there, why = handle:preload()
    if not is_there then
      return validate.refused("base_url", "its address was not found: " .. why)
    end
  end
  local zone, zone_id = options and rawget(options, "zone"), options and rawget(options, "zone_id")
  if zone and zone_id then
    return validate.refused("zone", "either zone or zone_id")
  end
  local state = completion.new(handle, loop)
  state.zone = zone
  state.exit_grace = options and rawget(options, "exit_grace") or default_of "exit_grace"
  state.plans = options and rawget(options, "plan") == "auto" and {} or nil
  state.has_events = options and rawget(options, "on_event") ~= nil
  handle:settle(function()
    completion.collected(state, "the client was closed")
  end)
  -- The environment's is known to the core alone, which has its Lua layer by now.
  local path = not zone and handle:check { purge_everything = true }
  state.zone_id = path and path:match "^/zones/([^/]+)" or nil
  return state
end
