-- What the edge knows: its configuration, its zones, and what arrived for each of them (one process, plain tables).
local cjson = require "cjson"

local M = { env = {}, zones = {}, by_name = {}, listeners = {} }
local KEPT = 2000 -- requests remembered for a zone

local serial, added = 0, 0
-- Ids look random but never repeat within a run. They have no letters: what a script matches, "bad", must be in none.
function M.id()
  serial = serial + 1
  return (ngx.md5(M.env.EDGE_ID .. serial):gsub("%a", { a = 0, b = 1, c = 2, d = 3, e = 4, f = 5 }))
end

-- A zone is the scope of everything a spec does: its name, its script, its record, its limits.
function M.add_zone(zone)
  zone.id = zone.id or M.id()
  zone.name = (zone.name or ("z" .. zone.id:sub(1, 10) .. ".test")):lower()
  zone.account = zone.account or zone.id
  zone.status = zone.status or "active"
  zone.own_plan = zone.plan
  zone.environments = zone.environments or { production = M.id(), staging = M.id() }
  zone.environment_name = {}
  for name, id in pairs(zone.environments) do zone.environment_name[id] = name end
  zone.pages, zone.page_count = {}, 0
  added = added + 1
  zone.order = added
  M.zones[zone.id] = zone
  local named = M.by_name[zone.name] or {}
  M.by_name[zone.name] = named
  for i, other in ipairs(named) do
    if other.id == zone.id then table.remove(named, i) end
  end
  named[#named + 1] = zone
  M.reset(zone)
  return zone
end

-- The zone that answers to a name: of several the active one.
function M.zone_named(name)
  local named = M.by_name[name:lower()] or {}
  for _, zone in ipairs(named) do
    if zone.status == "active" then return zone end
  end
  return named[1]
end

function M.reset(zone)
  zone.record, zone.first, zone.last, zone.script = {}, 1, 0, {}
  zone.plan, zone.max_items, zone.over_code = zone.own_plan, nil, nil
  zone.counts = { requests = 0, accepted = 0, items = 0, refused = 0, limited = 0, scripted = 0 }
end

function M.zone_of_host(host)
  while host do
    local zone = M.zone_named(host)
    if zone then return zone end
    host = host:match "^[^.]*%.(.+)$"
  end
end

function M.load(path)
  local env = M.env
  for line in io.lines(path) do
    local key, value = line:match "^([%w_]+)=(.*)$"
    env[key] = value
    local port = value:match "^https?://[^/]*:(%d+)"
    if port then M.listeners[port] = M.listeners[port] or key end
  end
  M.add_zone {
    id = env.ZONE_ID, name = env.ZONE_NAME, account = "main",
    environments = { production = env.ENVIRONMENT_production, staging = env.ENVIRONMENT_staging },
  }
  -- Requests that belong to no zone are kept under this one.
  M.nowhere = M.add_zone { id = "-", name = "-" }
end

function M.body()
  ngx.req.read_body()
  local body = ngx.req.get_body_data()
  local file = not body and ngx.req.get_body_file()
  if file then
    local f = assert(io.open(file, "rb"))
    body = f:read "*a"
    f:close()
  end
  return body or ""
end

-- Everything about the request at hand, kept for the spec that caused it.
function M.note(zone, body)
  local var = ngx.var
  ngx.update_time()
  local http2 = var.server_protocol == "HTTP/2.0"
  local last = zone.last + 1
  local entry = {
    n = last, at = ngx.now(), method = ngx.req.get_method(), path = var.request_uri, protocol = var.server_protocol,
    headers = ngx.req.get_headers(0), raw_header = not http2 and ngx.req.raw_header() or nil, body = body,
    connection = tonumber(var.connection), connection_requests = tonumber(var.connection_requests),
    listener = M.listeners[var.server_port], tls = var.ssl_protocol, sni = var.ssl_server_name,
  }
  zone.record[last], zone.last = entry, last
  zone.counts.requests = zone.counts.requests + 1
  if last - zone.first >= KEPT then
    zone.record[zone.first] = nil
    zone.first = zone.first + 1
  end
  return entry
end

-- lua-cjson cannot tell an empty list from an empty object.
function M.list(items)
  local parts = {}
  for i, item in ipairs(items) do parts[i] = cjson.encode(item) end
  return "[" .. table.concat(parts, ",") .. "]"
end

function M.send(status, body)
  ngx.status = status
  ngx.header.content_type = "application/json"
  ngx.header.content_length = #body
  ngx.print(body)
end

return M
