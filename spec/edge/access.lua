-- Who asks, and what they may: the credentials of DIR/env, and tokens that a spec has made (control.lua).
local state = require "state"

local M = {}
local made = {} -- token -> grant

-- A grant: `purge` and `read` (Zone Read) say what it may, `zones` where it may: {id = true}, or nil for every zone.
-- `listed` is what a list without a name shows; other specs' zones are not in it.
local function everywhere(may_purge)
  return { purge = may_purge, read = true, listed = { [state.env.ZONE_ID] = true } }
end

--- A new token. `settings` has a list of `zones`, and `purge` and `read`, which are true where they are not given.
function M.token(settings)
  local zones = {}
  for _, id in ipairs(settings.zones or {}) do zones[id] = true end
  local token = "edge_" .. state.id() .. "xyz"
  made[token] = { zones = zones, listed = zones, purge = settings.purge ~= false, read = settings.read ~= false,
    first = (settings.zones or {})[1] }
  return token
end

local function bearer(headers)
  return headers.authorization and tostring(headers.authorization):match "^Bearer (.*)$"
end

-- A list without a name belongs to the record of its token's first zone.
function M.first_zone(headers)
  local grant = made[bearer(headers) or ""]
  return grant and state.zones[grant.first]
end

--- The grant, or nil, the status and the errors.
function M.who(headers)
  local env, token = state.env, bearer(headers)
  if headers.authorization and not (token and token:find "^[%w_-]+$") then
    local chain = { { code = 6111, message = "Invalid format for Authorization header" } }
    return nil, 400, { { code = 6003, message = "Invalid request headers", error_chain = chain } }
  elseif not headers.authorization and not headers["x-auth-key"] then
    return nil, 400, { { code = 9106, message = "Missing X-Auth-Key, X-Auth-Email or Authorization headers" } }
  elseif made[token or ""] then
    return made[token]
  elseif token == env.TOKEN then
    return everywhere(true)
  elseif token == env.TOKEN_NO_PURGE then
    return everywhere(false)
  elseif not token and headers["x-auth-email"] == env.EMAIL and headers["x-auth-key"] == env.API_KEY then
    return everywhere(true)
  end
  return nil, 401, { { code = 10000, message = "Authentication error" } }
end

return M
