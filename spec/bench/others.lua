-- The same purges by what else there is in Lua, in a process of its own: others.lua NAME PORT COUNT. Prints wall and
-- CPU seconds of COUNT purges, one after another.
--   http     lua-http, the connection kept
--   socket   LuaSocket and LuaSec, as their manuals show them: they open a connection for each request
local native = require "bench_native"
local load = require "spec.bench.load"
local cjson = require "cjson"

local name, port, count = arg[1], arg[2], tonumber(arg[3])
local params = load.purge "small"
local url = load.url(port)

local function check(status, body)
  assert(tonumber(status) == 200 and cjson.decode(body).success, body)
end

local makers = {}

function makers.http()
  local headers_of = require "http.headers"
  local scheme, authority, path = url:match "^(%a+)://([^/]+)(.*)$"
  local host, number = authority:match "^(.-):(%d+)$"
  local options = { host = host, port = tonumber(number), tls = port == "TLS" }
  if options.tls then
    local store = require("openssl.x509.store").new()
    store:add(load.ca_file)
    local ctx = require("http.tls").new_client_context()
    ctx:setStore(store)
    options.ctx = ctx
  end
  local connection = assert(require("http.client").connect(options))
  return function()
    local headers, body = headers_of.new(), cjson.encode(params)
    headers:append(":method", "POST")
    headers:append(":scheme", scheme)
    headers:append(":authority", authority)
    headers:append(":path", path)
    headers:append("authorization", "Bearer bench-token")
    headers:append("content-type", "application/json")
    headers:append("content-length", tostring(#body))
    local stream = assert(connection:new_stream())
    assert(stream:write_headers(headers, false))
    assert(stream:write_chunk(body, true))
    local answer = assert(stream:get_headers())
    check(answer:get ":status", assert(stream:get_body_as_string()))
    stream:shutdown()
  end
end

function makers.socket()
  local http = require(port == "TLS" and "ssl.https" or "socket.http")
  local ltn12 = require "ltn12"
  return function()
    local body, parts = cjson.encode(params), {}
    local ok, status = http.request {
      url = url, method = "POST", source = ltn12.source.string(body), sink = ltn12.sink.table(parts),
      headers = {
        authorization = "Bearer bench-token", ["content-type"] = "application/json", ["content-length"] = #body,
      },
      mode = port == "TLS" and "client" or nil, verify = port == "TLS" and "peer" or nil,
      cafile = port == "TLS" and load.ca_file or nil,
    }
    assert(ok, status)
    check(status, table.concat(parts))
  end
end

local purge = makers[name]()
for _ = 1, math.max(8, math.floor(count / 20)) do
  purge()
end
local wall, cpu = native.now(), native.cpu()
for _ = 1, count do
  purge()
end
print(native.now() - wall, native.cpu() - cpu)
