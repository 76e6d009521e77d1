-- Reads a purge body by the API's rules: what it asks for in normal form, or the code and message of the refusal.
local cjson = require "cjson"
local state = require "state"

local M = {}

local function refuse(code, message) error({ code = code, message = message }) end

local function in_zone(host, zone)
  local name = zone.name
  return host == name or host:sub(-#name) == name and host:byte(-#name - 1) == 46
end

local function text(value, what)
  if type(value) ~= "string" or value == "" then refuse(1012, what .. " must be a string that is not empty") end
  return value
end

local key_headers = {
  ["cf-device-type"] = true, ["cf-ipcountry"] = true, ["accept-language"] = true, origin = true,
}

local places, known = {}, 0 -- "scheme://host" as it was written -> {scheme, host}; long lists repeat them

local function place(written)
  local scheme, host = written:match "^(%a+)://([^/?#@]+)$"
  scheme = scheme and scheme:lower()
  if scheme ~= "http" and scheme ~= "https" then return end
  local found = { scheme = scheme, host = (host:lower():gsub(scheme == "http" and ":80$" or ":443$", "")) }
  found.name = found.host:gsub(":%d+$", "")
  if known >= 10000 then places, known = {}, 0 end
  places[written], known = found, known + 1
  return found
end

local function escape(c) return ("%%%02X"):format(c:byte()) end

-- Host folded, default port dropped, path and query as they are but for bytes that no URL on the wire has.
local function read_url(url, zone)
  local slash = url:find("/", 9, true)
  local at, path = slash and places[url:sub(1, slash - 1)], slash and url:sub(slash)
  if not at then
    local written, rest = url:match "^(%a+://[^/?#]+)(.*)"
    at, path = written and place(written), rest
    if at and path:byte() ~= 47 then path = "/" .. path end
  end
  if not at or not in_zone(at.name, zone) then
    refuse(1082, "Unable to purge " .. url .. ": the URL is not in this zone")
  end
  if ngx.re.find(path, "[^!\"$-~]", "jo") then
    path = path:gsub("#.*", ""):gsub("[^\33-\126]", escape)
  end
  return { scheme = at.scheme, host = at.host, path = path }
end

local read = {}

function read.files(item, zone)
  if type(item) == "string" then
    local file = read_url(item, zone)
    file.headers = {}
    return file
  end
  if type(item) ~= "table" then refuse(1012, "each file must be a string or an object") end
  local file = read_url(text(item.url, "each url"), zone)
  file.headers = {}
  if item.headers ~= nil and type(item.headers) ~= "table" then refuse(1012, "headers must be an object") end
  for name, value in pairs(item.headers or {}) do
    if type(name) ~= "string" or type(value) ~= "string" then refuse(1012, "headers must be strings") end
    if key_headers[name:lower()] then file.headers[name:lower()] = value end
  end
  return file
end

function read.tags(tag)
  text(tag, "each tag")
  if #tag > 1024 then refuse(1100, "Cache tags may have at most 1024 characters") end
  if tag:find "[^\33-\126]" then refuse(1012, "Cache tags are printable ASCII without spaces") end
  return tag:lower()
end

function read.hosts(host, zone)
  host = text(host, "each host"):lower()
  if host:find "[/:?#%s]" then refuse(1012, "hosts have neither scheme nor path") end
  if not in_zone(host, zone) then refuse(1082, "Unable to purge " .. host .. ": the host is not in this zone") end
  return host
end

function read.prefixes(prefix, zone)
  if text(prefix, "each prefix"):find "[?#]" or prefix:find("://", 1, true) then
    refuse(1012, "prefixes have neither scheme nor query nor fragment")
  end
  if select(2, prefix:gsub("/", "")) > 31 then refuse(1012, "prefixes have at most 31 path separators") end
  local host, path = prefix:match "^([^/]+)(.*)$"
  if not host or not in_zone(host:lower(), zone) then
    refuse(1082, "Unable to purge " .. prefix .. ": the prefix is not in this zone")
  end
  return { host = host:lower(), path = path }
end

local over = { files = 1094, tags = 1101, hosts = 1111, prefixes = 1111 }

local function parse(body, zone)
  local ok, params = pcall(cjson.decode, body)
  if not ok or type(params) ~= "table" then refuse(1012, "Request body is not valid JSON") end
  local kind
  for _, name in ipairs { "purge_everything", "files", "tags", "hosts", "prefixes" } do
    if params[name] ~= nil then
      if kind then refuse(1092, "Only one of purge_everything, files, tags, hosts or prefixes may be given") end
      kind = name
    end
  end
  if not kind then
    refuse(1012, "Request must contain one of \"purge_everything\", \"files\", \"tags\", \"hosts\" or \"prefixes\"")
  end
  if zone.lacks and zone.lacks[kind] then
    refuse(1107, "Purging by " .. kind .. " is not available in this zone's plan")
  end
  local list = params[kind]
  if kind == "purge_everything" then
    if list ~= true then refuse(1012, "purge_everything must be true") end
    return { kind = kind, items = {}, count = 1 }
  end
  if type(list) ~= "table" or #list == 0 then refuse(1012, kind .. " must be a list that is not empty") end
  local max = zone.max_items or (zone.plan == "enterprise" and kind == "files" and 500) or 100
  if #list > max then
    refuse(zone.over_code or over[kind], ("You may only purge %d %s per request"):format(max, kind))
  end
  local items = {}
  for i = 1, #list do
    items[i] = read[kind](list[i], zone)
    if zone.refuses and zone.refuses[list[i]] then refuse(1016, "Unable to purge " .. list[i]) end
  end
  return { kind = kind, items = items, count = #items }
end

function M.read(body, zone)
  local ok, purged = pcall(parse, body, zone)
  if ok then return purged end
  if type(purged) ~= "table" then error(purged) end
  return nil, purged.code, purged.message
end

-- The tags of a Cache-Tag header, folded.
function M.tags(header)
  local tags = {}
  for tag in (header or ""):gmatch "[^,]+" do tags[tag:match "^%s*(.-)%s*$":lower()] = true end
  return tags
end

M.zone_of = function(host) return state.zone_of_host(host:gsub(":%d+$", "")) end

return M
