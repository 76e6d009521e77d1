-- The origin: pages of any host, whose version changes on demand.
--
--   /t/news,sport/x or ?tags=news,sport   carries Cache-Tag: news,sport
--   /vary/x      differs by CF-Device-Type, CF-IPCountry, Accept-Language and Origin (the caches' key does too)
--   any other    a plain page
-- X-Version and the body's first line say the version; an ETag lets a stale page be revalidated (304).
local body_rules = require "body"
local state = require "state"

local M = {}
local all, versions = 1, {}

function M.bump(host, path)
  if not host then
    all = all + 1
    return all
  end
  local key = host:lower() .. (path or "")
  versions[key] = (versions[key] or 0) + 1
  return M.version(host:lower(), path or "/")
end

function M.version(host, path)
  local version = all + (versions[host] or 0) + (versions[host .. path] or 0)
  local bare = path:gsub("%?.*", "")
  if bare ~= path then version = version + (versions[host .. bare] or 0) end
  return version
end

local key_headers = { "cf-device-type", "cf-ipcountry", "accept-language", "origin" }

-- The zone learns which pages its caches hold: a soft purge by tag, host or prefix has to find them.
local function remember(page, headers)
  local zone = body_rules.zone_of(page.host)
  if not zone then return end
  local key = { page.env, page.scheme, page.host, page.path }
  page.headers = {}
  if page.path:find "^/vary/" then
    for _, name in ipairs(key_headers) do
      page.headers[name] = headers[name]
      key[#key + 1] = headers[name] or ""
    end
  end
  key = table.concat(key, "\n")
  if not zone.pages[key] then zone.page_count = zone.page_count + 1 end
  zone.pages[key] = page
end

function M.serve()
  state.body()
  local headers, uri = ngx.req.get_headers(0), ngx.var.request_uri
  if uri == "/ready" then
    ngx.header.cache_control = "no-store"
    return state.send(200, state.env.EDGE_ID)
  end
  local host, scheme = (headers.host or ""):lower(), headers["x-forwarded-proto"] or "http"
  local tags = ngx.unescape_uri(uri:match "^/t/([^/?]+)" or uri:match "[?&]tags=([^&]*)" or "")
  if headers["x-cache-env"] then
    remember({ env = headers["x-cache-env"], scheme = scheme, host = host, path = uri, tags = body_rules.tags(tags) },
      headers)
  end
  local variant = ""
  if uri:find "^/vary/" then
    for _, name in ipairs(key_headers) do variant = variant .. name .. "=" .. (headers[name] or "") .. "\n" end
  end
  local version = M.version(host, uri)
  local page = ("version %d\n%s://%s%s\n%s"):format(version, scheme, host, uri, variant)
  local etag = '"v' .. version .. "-" .. ngx.md5(page):sub(1, 8) .. '"'
  ngx.header.etag = etag
  ngx.header["X-Version"] = version
  if tags ~= "" then ngx.header["Cache-Tag"] = tags end
  if headers["if-none-match"] == etag then
    ngx.status = 304
    return
  end
  ngx.header.content_type = "text/plain"
  ngx.header.content_length = #page
  ngx.print(page)
end

return M
