-- The API: authorization, the paths, the published limits and envelopes; what it accepts it has carried out.
local state = require "state"
local play = require "play"
local limits = require "limits"
local body_rules = require "body"
local caches = require "caches"

local M = {}

local function refusal(status, code, message, extra)
  local errors = { { code = code, message = message } }
  if extra then errors[2] = extra end
  return status, '{"success":false,"errors":' .. state.list(errors) .. ',"messages":[],"result":null}'
end

local function success(result)
  return 200, '{"success":true,"errors":[],"messages":[],"result":' .. result .. "}"
end

-- The zone whose script and record a request belongs to.
local function scope()
  local zones, uri = state.zones, ngx.var.request_uri
  return zones[ngx.var.http_x_spec or ""]
    or zones[uri:match "/zones/([^/?]+)" or ""]
    or zones[uri:match "/visited/([^/?]+)" or ""]
    or state.by_name[ngx.unescape_uri(uri:match "/zones%?.*name=([^&]+)" or "")]
    or state.nowhere
end

-- Who asks: "purge", "read" (no permission to purge) or nil.
local function may(headers)
  local env = state.env
  local authorization = headers.authorization
  if authorization then
    if authorization == "Bearer " .. env.TOKEN then return "purge" end
    return authorization == "Bearer " .. env.TOKEN_NO_PURGE and "read" or nil
  end
  return headers["x-auth-email"] == env.EMAIL and headers["x-auth-key"] == env.API_KEY and "purge" or nil
end

local function zones_named(name)
  local found = {}
  for id, zone in pairs(state.zones) do
    if id ~= "-" and (zone.name == name or name == nil and id == state.env.ZONE_ID) then
      found[1] = { id = id, name = zone.name, status = "active", account = { id = zone.account } }
    end
  end
  return 200, ('{"success":true,"errors":[],"messages":[],"result":%s,"result_info":{"page":1,"per_page":20,'
    .. '"total_pages":1,"count":%d,"total_count":%d}}'):format(state.list(found), #found, #found)
end

local function environments_of(zone)
  local found = {}
  for name, id in pairs(zone.environments) do
    found[#found + 1] = { name = name, ref = id, version = 1, expression = "true", position = { after = "" } }
  end
  table.sort(found, function(a, b) return a.name < b.name end)
  return success('{"environments":' .. state.list(found) .. "}")
end

local function purge(request, zone, environment, soft)
  if zone.blind then return success('{"id":"' .. state.id() .. '"}') end -- what a benchmark measures is the client
  local purged, code, message = body_rules.read(request.body, zone)
  if not purged then return refusal(400, code, message) end
  local name = environment and zone.environment_name[environment]
  if environment and not name then
    return refusal(404, 7003, "Could not route to " .. request.path .. ", perhaps your object identifier is invalid?")
  end
  local late = limits.take(zone, request, purged)
  if late then return refusal(429, late.code, late.message) end
  caches.purge(zone, name, purged, soft)
  local counts = zone.counts
  counts.accepted, counts.items = counts.accepted + 1, counts.items + purged.count
  return success('{"id":"' .. state.id() .. '"}')
end

local function answer(request)
  local path = ngx.var.request_uri:gsub("%?.*", "")
  local method = request.method
  local right = may(request.headers)
  if not right then return refusal(401, 10000, "Authentication error") end
  local rest = path:match "^/client/v4(/.*)$"
  if rest == "/zones" and method == "GET" then return zones_named(ngx.req.get_uri_args().name) end
  local id, tail = (rest or ""):match "^/zones/([^/]+)/(.+)$"
  local environment, verb = (tail or ""):match "^environments/([^/]+)/([%w_]+)$"
  verb = verb or tail
  local purges = verb == "purge_cache" or verb == "invalidate_cache"
  if not id or not (purges or verb == "environments") then
    return refusal(404, 7000, "No route for that URI")
  end
  if method ~= (purges and "POST" or "GET") then
    return refusal(405, 10405, "Method not allowed for this authentication scheme")
  end
  local zone = state.zones[id]
  if not zone and not id:match("^" .. ("%x"):rep(32) .. "$") then
    return refusal(404, 7003, "Could not route to " .. path .. ", perhaps your object identifier is invalid?",
      { code = 7000, message = "No route for that URI" })
  end
  if not zone or purges and right ~= "purge" then return refusal(403, 10000, "Authentication error") end
  if not purges then return environments_of(zone) end
  return purge(request, zone, environment, verb == "invalidate_cache")
end

local function real(request)
  local status, text = answer(request)
  local counts = request.zone.counts
  if status == 429 then
    counts.limited = counts.limited + 1
  elseif status >= 400 then
    counts.refused = counts.refused + 1
  end
  ngx.header["Api-Version"] = "2026-11-01"
  state.send(status, text)
end

function M.serve()
  local body = state.body()
  local zone = scope()
  ngx.header["CF-Ray"] = state.id():sub(1, 16) .. "-EDG"
  if zone.blind then
    zone.counts.requests = zone.counts.requests + 1
    return state.send(answer { method = ngx.req.get_method(), headers = ngx.req.get_headers(0) })
  end
  local entry = state.note(zone, body)
  local script = play.next(zone, entry)
  -- What is on record stays as it came: the zone travels beside it.
  local request = setmetatable({ zone = zone }, { __index = entry })
  if not script then return real(request) end
  zone.counts.scripted = zone.counts.scripted + 1
  if script.commit then answer(request) end
  return play.run(script, request, real)
end

-- Where a followed redirect would end: it is noted for the zone that its path names.
function M.visited()
  state.note(scope(), state.body())
  state.send(200, '{"success":true,"errors":[],"messages":[],"result":{"id":"visited"}}')
end

return M
