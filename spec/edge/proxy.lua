-- An HTTP proxy, open on one port and asking for a password on another: CONNECT and absolute-form requests.
-- Whatever host is named, it goes to 127.0.0.1, so a spec may use any name and nothing leaves the machine. The ports
-- 80 and 443 lead a visitor to the production cache (443 has a certificate for example.com and demo.test).
-- Each request is a line of JSON in PROXY_LOG: {port, method, target, protocol, headers, status}.
local cqueues = require "cqueues"
local socket = require "cqueues.socket"
local cjson = require "cjson"

local env = {}
for line in io.lines(arg[1]) do
  local key, value = line:match "^([%w_]+)=(.*)$"
  env[key] = value
end
local log = assert(io.open(env.PROXY_LOG, "a"))
local loop = cqueues.new()

local function port_of(url) return url:match ":(%d+)[^:]*$" end
local visited = { ["80"] = port_of(env.CACHE_production), ["443"] = port_of(env.PAGES_TLS) }

local function base64(text)
  local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
  return (text:gsub("..?.?", function(three)
    local a, b, c = three:byte(1, 3)
    local n = a * 65536 + (b or 0) * 256 + (c or 0)
    local out = ""
    for shift = 18, 0, -6 do
      local i = math.floor(n / 2 ^ shift) % 64 + 1
      out = out .. alphabet:sub(i, i)
    end
    return out:sub(1, #three + 1) .. ("="):rep(3 - #three)
  end))
end
local password = "Basic " .. base64(env.PROXY_USER .. ":" .. env.PROXY_PASSWORD)

local function relay(from, to)
  for bytes in function() return from:read(-16384) end do
    if not (to:write(bytes) and to:flush()) then break end
  end
  to:shutdown "w"
end

local function read_head(client)
  local line = client:read "*L"
  if not line then return end
  local method, target, protocol = line:match "^(%S+) (%S+) (HTTP/%d%.%d)"
  local headers, lines = {}, {}
  for header in function() return client:read "*L" end do
    local name, value = header:match "^([^:]+):%s*(.-)\r?\n$"
    if not name then return method, target, protocol, headers, lines end
    headers[name:lower()] = value
    if not name:lower():find "^proxy%-" and name:lower() ~= "connection" then lines[#lines + 1] = header end
  end
end

local function serve(client, port, guarded)
  client:setmode("b", "bf")
  local method, target, protocol, headers, lines = read_head(client)
  if not method then return end
  local tunnel = method == "CONNECT"
  local to = target:match(tunnel and ":(%d+)$" or "^http://[^/]*:(%d+)") or (target:find "^http://" and 80)
  to = visited[tostring(to)] or to
  local status, upstream = 200, nil
  if guarded and headers["proxy-authorization"] ~= password then
    status = 407
  elseif not to then
    status = 400
  else
    upstream = socket.connect("127.0.0.1", tonumber(to))
    upstream:setmode("b", "bf")
    upstream:onerror(function(_, _, why) return why end)
    if not upstream:connect(5) then status = 502 end
  end
  log:write(cjson.encode {
    port = port, method = method, target = target, protocol = protocol, headers = headers, status = status,
  }, "\n")
  log:flush()
  if status ~= 200 then
    client:write("HTTP/1.1 ", tostring(status), " Proxy\r\n", status == 407 and
      'Proxy-Authenticate: Basic realm="edge"\r\n' or "", "Content-Length: 0\r\nConnection: close\r\n\r\n")
    client:flush()
  else
    if tunnel then
      client:write "HTTP/1.1 200 Connection established\r\n\r\n"
      client:flush()
    else -- one request for each connection: the next may go elsewhere
      local path = target:match "^http://[^/]*(.*)$"
      upstream:write(method, " ", path == "" and "/" or path, " HTTP/1.1\r\nConnection: close\r\n")
      upstream:write(table.concat(lines), "\r\n")
      upstream:flush()
    end
    loop:wrap(function() pcall(relay, client, upstream) end)
    relay(upstream, client)
    upstream:close()
  end
end

for name, guarded in pairs { PROXY = false, PROXY_AUTH = true } do
  local port = tonumber(env[name]:match ":(%d+)$")
  local server = assert(socket.listen { host = "127.0.0.1", port = port, reuseaddr = true })
  assert(server:listen())
  loop:wrap(function()
    for client in server:clients() do
      loop:wrap(function()
        client:onerror(function(_, _, why) return why end)
        pcall(serve, client, port, guarded)
        client:close()
      end)
    end
  end)
end
assert(loop:loop())
