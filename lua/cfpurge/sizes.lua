--- How many items a request may hold, as far as a zone's answers have taught a smaller number. It is forgotten again:
--- accounts are raised, and a refusal may have had another cause.
local core = require "cfpurge.core"

local M = {}

-- Seconds.
local KEPT = 3600

local function key_of(state, zone_id, kind)
  return tostring(zone_id or state.zone_id) .. "/" .. kind
end

--- The zone that a call names by its id, if it does.
---@param params table
---@param options? table
---@return string? zone_id
function M.zone_of(params, options)
  return rawget(params, "zone_id") or (type(options) == "table" and rawget(options, "zone_id")) or nil
end

---@param zone_id string? the client's own by default
---@param most integer where nothing smaller was taught
---@return integer size
function M.get(state, zone_id, kind, most)
  local key = key_of(state, zone_id, kind)
  local known = state.sizes[key]
  if known and core.now() - known.at > KEPT then
    known, state.sizes[key] = nil, nil
  end
  return known and math.min(known.size, most) or most
end

--- Notes that requests of so many items were accepted, or that larger ones were not; `most` is what was allowed.
function M.learn(state, zone_id, kind, size, most)
  local key = key_of(state, zone_id, kind)
  local known = state.sizes[key]
  if size < most and not (known and known.size == size) then
    state.sizes[key] = { size = size, at = core.now() }
  elseif size >= most and known and known.size < size then
    state.sizes[key] = nil
  end
end

return M
