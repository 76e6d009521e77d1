-- Carries an accepted purge out on the caches, before the API answers: bans and purges over HTTP (see cache.vcl).
local state = require "state"

local M = {}

local function hex(text)
  return (text:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

local function literal(text)
  return (text:gsub("[^%w]", "\\%0"))
end

-- A connection to one cache: every call is one request, answered 200 or it is a bug of the edge.
local function open(env)
  local sock = ngx.socket.tcp()
  sock:settimeout(10000)
  assert(sock:connect("127.0.0.1", tonumber(state.env["CACHE_" .. env]:match ":(%d+)$")))
  return function(method, path, headers)
    if not method then return sock:setkeepalive(10000, 16) end
    local lines = { method .. " " .. path .. " HTTP/1.1" }
    for name, value in pairs(headers) do lines[#lines + 1] = name .. ": " .. value end
    assert(sock:send(table.concat(lines, "\r\n") .. "\r\n\r\n"))
    local status = assert(sock:receive "*l")
    assert(status:find "^HTTP/1.1 200", status)
    while assert(sock:receive "*l") ~= "" do end
  end
end

local function purge_page(call, method, page)
  local headers = { Host = page.host, ["X-Forwarded-Proto"] = page.scheme }
  for name, value in pairs(page.headers) do headers[name] = value end
  call(method, page.path, headers)
end

-- Objects carry x-host, and x-tags and x-page in hexadecimal: nothing in a tag or a path can then mean anything in
-- a ban or in a pattern, and (..)* keeps a match on whole characters.
local pattern = {
  tags = function(tag) return "x-tags", "^(..)*2c" .. hex(tag) .. "2c" end,
  hosts = function(host) return "x-host", "^" .. literal(host) .. "$" end,
  prefixes = function(prefix)
    local whole = prefix.host .. prefix.path
    return "x-page", "^" .. hex(whole) .. (whole:sub(-1) == "/" and "" or "(2f|3f|$)")
  end,
}

-- A tag is what stands between two commas of a Cache-Tag header: one that has a comma matches nothing.
local function can_match(kind, item) return kind ~= "tags" or not item:find(",", 1, true) end

local function ban(call, env, zone, purged)
  local function issue(name, regex)
    call("BAN", "/", { Host = zone.name,
      ["X-Ban"] = ("obj.http.x-env == %s && obj.http.x-host ~ (^|\\.)%s$ && obj.http.%s ~ %s")
        :format(env, literal(zone.name), name, regex) })
  end
  if purged.kind == "purge_everything" then return issue("x-host", ".") end
  for _, item in ipairs(purged.items) do
    if can_match(purged.kind, item) then issue(pattern[purged.kind](item)) end
  end
end

-- Whether a page is meant, by the same rules as the bans above.
local fits = {
  purge_everything = function() return true end,
  tags = function(tag, page) return page.tags[tag] end,
  hosts = function(host, page) return page.host:gsub(":%d+$", "") == host end,
  prefixes = function(prefix, page)
    local whole, start = page.host:gsub(":%d+$", "") .. page.path, prefix.host .. prefix.path
    if whole:sub(1, #start) ~= start then return false end
    local after = whole:sub(#start + 1, #start + 1)
    return start:sub(-1) == "/" or after == "" or after == "/" or after == "?"
  end,
}

-- A ban loses pages; to make them stale, each is looked up and told.
local function soften(call, env, zone, purged)
  local found = {}
  for _, page in pairs(zone.pages) do
    if page.env == env then
      for _, item in ipairs(purged.kind == "purge_everything" and { true } or purged.items) do
        if fits[purged.kind](item, page) then
          found[#found + 1] = page
          break
        end
      end
    end
  end
  for _, page in ipairs(found) do purge_page(call, "SOFTPURGE", page) end
end

-- `environment` nil: every environment of the zone.
function M.purge(zone, environment, purged, soft)
  if zone.page_count == 0 then return end
  for env in pairs(zone.environments) do
    if (environment == nil or environment == env) and state.env["CACHE_" .. env] then
      local call = open(env)
      if purged.kind == "files" then
        for _, file in ipairs(purged.items) do purge_page(call, soft and "SOFTPURGE" or "PURGE", file) end
      elseif soft then
        soften(call, env, zone, purged)
      else
        ban(call, env, zone, purged)
      end
      call()
    end
  end
end

return M
