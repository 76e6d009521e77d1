-- The API: authorization, the paths, the published limits and envelopes; what it accepts it has carried out.
local cjson = require "cjson"
local state = require "state"
local access = require "access"
local play = require "play"
local limits = require "limits"
local body_rules = require "body"
local caches = require "caches"

local M = {}

local function refused(status, errors, result)
  local text = '{"success":false,"errors":%s,"messages":[],"result":%s}'
  return status, text:format(state.list(errors), result or "null"), "refused"
end

local function refusal(status, code, message) return refused(status, { { code = code, message = message } }) end

local function success(result)
  return 200, '{"success":true,"errors":[],"messages":[],"result":' .. result .. "}"
end

-- The zone whose script and record a request belongs to.
local function scope()
  local zones, uri = state.zones, ngx.var.request_uri
  return zones[ngx.var.http_x_spec or ""]
    or zones[uri:match "/zones/([^/?]+)" or ""]
    or zones[uri:match "/visited/([^/?]+)" or ""]
    or state.zone_named(ngx.unescape_uri(uri:match "/zones%?.*name=([^&]+)" or ""))
    or access.first_zone(ngx.req.get_headers(0))
    or state.nowhere
end

local plan_names = { free = "Free Website", pro = "Pro Website", business = "Business Website",
  enterprise = "Enterprise Website" }

local function describe(zone)
  local plan = zone.plan or "free"
  return {
    id = zone.id, name = zone.name, status = zone.status, paused = false, type = "full",
    account = { id = zone.account, name = "Account " .. zone.account },
    plan = { id = ngx.md5(plan), name = plan_names[plan], legacy_id = plan, is_subscribed = plan ~= "free" },
  }
end

local function sees(grant, zone)
  return grant.read and not zone.gone and (not grant.zones or grant.zones[zone.id])
end

-- By name without its case, in the order in which they were made.
local function zones_of(grant, args)
  local name, found, page = args.name and args.name:lower(), {}, {}
  for id, zone in pairs(state.zones) do
    local asked = name and zone.name == name or not name and grant.listed[id]
    if id ~= "-" and asked and sees(grant, zone) and (not args.status or zone.status == args.status) then
      found[#found + 1] = zone
    end
  end
  table.sort(found, function(a, b) return a.order < b.order end)
  local size, number = math.min(tonumber(args.per_page) or 20, 50), tonumber(args.page) or 1
  for i = (number - 1) * size + 1, math.min(number * size, #found) do page[#page + 1] = describe(found[i]) end
  return 200, ('{"success":true,"errors":[],"messages":[],"result":%s,"result_info":{"page":%d,"per_page":%d,'
    .. '"total_pages":%d,"count":%d,"total_count":%d}}'):format(state.list(page), number, size,
    math.ceil(#found / size), #page, #found)
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
  if not purged and zone.under200 then
    local errors = { { code = code, message = message } }
    if code ~= 1016 then errors[2] = { code = 1016, message = "one or more cache purge errors" } end
    return refused(200, errors, zone.under200 == "id" and '{"id":"' .. state.id() .. '"}')
  end
  if not purged then return refusal(400, code, message) end
  local name = environment and zone.environment_name[environment]
  if environment and not name then
    return refusal(404, 7003, "Could not route to " .. request.path .. ", perhaps your object identifier is invalid?")
  end
  local late = limits.take(zone, request, purged)
  if late and late.bare then
    return late.status, ('{"code":%d,"error":"please wait"}'):format(late.code), "limited"
  elseif late then
    return late.status, select(2, refusal(late.status, late.code, late.message)), "limited"
  end
  caches.purge(zone, name, purged, soft)
  local counts = zone.counts
  counts.accepted, counts.items = counts.accepted + 1, counts.items + purged.count
  return success('{"id":"' .. state.id() .. '"}')
end

local function answer(request)
  local path = ngx.var.request_uri:gsub("%?.*", "")
  local method = request.method
  local grant, status, errors = access.who(request.headers)
  if not grant then return refused(status, errors) end
  local rest = path:match "^/client/v4(/.*)$"
  if rest == "/zones" and method == "GET" then return zones_of(grant, ngx.req.get_uri_args()) end
  local id, tail = (rest or ""):match "^/zones/([^/]+)/?(.*)$"
  local environment, verb = (tail or ""):match "^environments/([^/]+)/([%w_]+)$"
  verb = verb or tail
  local purges = verb == "purge_cache" or verb == "invalidate_cache"
  if not id or not (purges or verb == "environments" or verb == "") then
    return refusal(404, 7000, "No route for that URI")
  end
  if method ~= (purges and "POST" or "GET") then
    return refusal(405, 10405, "Method not allowed for this authentication scheme")
  end
  local zone = state.zones[id]
  local gone = zone and zone.gone
  if gone == 404 or not zone and not id:match("^" .. ("%x"):rep(32) .. "$") then
    local message = "Could not route to " .. path .. ", perhaps your object identifier is invalid?"
    return refused(404, { { code = 7003, message = message }, { code = 7000, message = "No route for that URI" } })
  end
  if not zone or gone or grant.zones and not grant.zones[id] or purges and not grant.purge then
    return refusal(403, 10000, "Authentication error")
  end
  if purges then return purge(request, zone, environment, verb == "invalidate_cache") end
  if not grant.read then return refusal(403, 9109, "Unauthorized to access requested resource") end
  if verb == "environments" then return environments_of(zone) end
  return success(cjson.encode(describe(zone)))
end

local function real(request)
  local status, text, outcome = answer(request)
  local counts = request.zone.counts
  if outcome then counts[outcome] = counts[outcome] + 1 end
  ngx.header["Api-Version"] = "2026-11-01"
  state.send(status, text)
end

function M.serve()
  local body = state.body()
  local zone = scope()
  ngx.header["CF-Ray"] = state.id():sub(1, 16) .. "-EDG"
  if zone.blind then
    zone.counts.requests = zone.counts.requests + 1
    local status, text = answer { method = ngx.req.get_method(), headers = ngx.req.get_headers(0) }
    return state.send(status, text)
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
