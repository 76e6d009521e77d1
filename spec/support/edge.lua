-- The specs' handle on the local edge (spec/edge), on every Lua.
--
--   edge.up()                        uses the edge of CFPURGE_EDGE (its DIR), or starts one that ends with this process
--   edge.env                         what DIR/env says: API_HTTP, API_TLS, CA_FILE, TOKEN, ... (spec/edge/edge)
--   edge.zone(options?)              a fresh zone: its id, and {id, name, account, environments = {production = id}}
--                                    options are control.lua's: status, plan, lacks, refuses, under200, gone, ...
--   edge.change(zone, changes)       changes some of them; false takes one away
--   edge.token{zones=, purge=, read=}   a token that sees these zones; purge, read: false takes that right
--   edge.ask(path, body?, token?)    asks the API by itself: status, the answer decoded, headers; a body is posted, the
--                                    token is the edge's own by default, false for none
--   edge.script(zone, answers)       what its next requests are answered (spec/edge/play.lua); edge.append adds to it
--   edge.requests(zone, wait?)       what arrived, oldest first; waits until there are `wait` of them
--   edge.gets(zone)                  how many of them are GETs
--   edge.counts(zone)                requests, accepted, items, refused, limited, scripted
--   edge.reset(zone)                 empties its record, script, counts and limits
--   edge.limits{zone=, plan=, ...}   switches limits on (spec/edge/limits.lua)
--   edge.get(cache, host, path, headers?)   -> status, X-Cache, version, body, headers; cache is "production" or
--                                    "staging"; a host may start with http:// (https is the default)
--   edge.bump(host?, path?)          a new version of that page, that host's pages, or of all
--   edge.proxied(from?)              what the proxies saw (from the from-th on)
local http = require "socket.http"
local ltn12 = require "ltn12"
local cjson = require("cjson").new()

local M = { env = nil }
local here = debug.getinfo(1, "S").source:match "^@(.*)support/edge%.lua$" or "spec/"

local function own_pid()
  local f = assert(io.open "/proc/self/stat")
  local pid = f:read "*l":match "^%d+"
  f:close()
  return pid
end

local function read_env(dir)
  local env, f = {}, assert(io.open(dir .. "/env"))
  for line in f:lines() do
    local key, value = line:match "^([%w_]+)=(.*)$"
    env[key] = value
  end
  f:close()
  return env
end

function M.up()
  if M.env then return M.env end
  local dir = os.getenv "CFPURGE_EDGE"
  if not dir or dir == "" then
    local made = io.popen "mktemp -d /tmp/cfpurge-edge.XXXXXX"
    dir = made:read "*l"
    made:close()
    local status = os.execute(("%sedge/edge start %s %s"):format(here, dir, own_pid()))
    assert(status == true or status == 0, "the edge did not start")
  end
  M.env = read_env(dir)
  return M.env
end

local function request(method, url, headers, body)
  local chunks = {}
  headers = headers or {}
  headers["content-length"] = body and #body or nil
  local ok, status, answered = http.request {
    method = method, url = url, headers = headers, redirect = false,
    source = body and ltn12.source.string(body) or nil, sink = ltn12.sink.table(chunks),
  }
  if not ok then error(method .. " " .. url .. ": " .. tostring(status), 0) end
  return status, table.concat(chunks), answered
end

local function control(method, call, params)
  local status, body = request(method, M.up().CONTROL .. "/" .. call, nil, params and cjson.encode(params))
  if status ~= 200 then error("edge: " .. call .. ": " .. body, 0) end
  return cjson.decode(body)
end

function M.ask(path, body, token)
  local headers = { authorization = token ~= false and "Bearer " .. (token or M.up().TOKEN) or nil }
  local status, text, answered = request(body and "POST" or "GET", M.up().API_HTTP .. path, headers,
    body and cjson.encode(body))
  return status, cjson.decode(text), answered
end

function M.zone(options)
  local zone = control("POST", "zone", options or { id = nil })
  return zone.id, zone
end

function M.change(zone, changes)
  local params = { zone = zone }
  for name, value in pairs(changes) do params[name] = value end
  control("POST", "change", params)
end

function M.token(settings) return control("POST", "token", settings).token end

function M.script(zone, answers)
  return control("POST", "script", { zone = zone, answers = answers })
end

function M.append(zone, answers)
  return control("POST", "script", { zone = zone, answers = answers, append = true })
end

function M.requests(zone, wait)
  return control("GET", ("requests?zone=%s&wait=%d"):format(zone, wait or 0))
end

function M.gets(zone)
  local count = 0
  for _, seen in ipairs(M.requests(zone)) do count = count + (seen.method == "GET" and 1 or 0) end
  return count
end

function M.counts(zone) return control("GET", "counts?zone=" .. zone) end
function M.reset(zone) control("POST", "reset", { zone = zone }) end
function M.limits(settings) control("POST", "limits", settings) end
function M.bump(host, path) return control("POST", "bump", { host = host, path = path }).version end

function M.get(cache, host, path, headers)
  local sent = {}
  for name, value in pairs(headers or {}) do sent[name:lower()] = value end
  local scheme, bare = host:match "^(https?)://(.*)$"
  sent.host = bare or host
  sent["x-forwarded-proto"] = sent["x-forwarded-proto"] or scheme or "https"
  local status, body, answered = request("GET", (M.up()["CACHE_" .. cache] or cache) .. path, sent)
  return status, answered["x-cache"], tonumber(answered["x-version"]), body, answered
end

function M.proxied(from)
  local list, n = {}, 0
  for line in io.lines(M.up().PROXY_LOG) do
    n = n + 1
    if n >= (from or 1) then list[#list + 1] = cjson.decode(line) end
  end
  return list
end

return M
