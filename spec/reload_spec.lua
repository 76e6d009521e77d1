-- nginx is reloaded without HTTP/2 and with it again, under load: no purge is told another's answer, and HTTP/2 is used again.
local elsewhere = require "spec.support.where"
local api = require "spec.support.api"
local cjson = require("cjson").new()
local clients = require "spec.support.client"
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local http = require "socket.http"
local peer = require "spec.support.peer"
local read = require("spec.support.command").read
local recipe = require "spec.support.recipe"
local socket = require "socket"

local CONF = [[
daemon off;
worker_processes 1;
pid %DIR%.pid;
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
events { worker_connections 2000; }
http {
  access_log off;
  client_body_temp_path %DIR%.body;
  proxy_temp_path %DIR%.t; fastcgi_temp_path %DIR%.t; uwsgi_temp_path %DIR%.t; scgi_temp_path %DIR%.t;
  client_body_buffer_size 64k;
  keepalive_requests 40;
  keepalive_timeout 1s;
  ssl_certificate %EDGE%/ssl/server.pem;
  ssl_certificate_key %EDGE%/ssl/server.key;
  lua_shared_dict seen 4m;
  server {
    listen 127.0.0.1:%TLS% ssl %HTTP2%;
    location / {
      content_by_lua_block {
        ngx.req.read_body()
        local tag = ngx.req.get_body_data():match '"tags":%["([^"]*)"'
        ngx.shared.seen:incr(tag, 1, 0)
        ngx.shared.seen:set("protocol", ngx.var.server_protocol)
        ngx.sleep(0.01)
        ngx.header["content-type"] = "application/json"
        if tag:find "7$" then
          ngx.status = 400
          ngx.say('{"success":false,"errors":[{"code":1100,"message":"refused: ', tag, '"}],"messages":[],"result":null}')
        else
          ngx.say('{"success":true,"errors":[],"messages":[],"result":{"id":"', tag, '"}}')
        end
      }
    }
  }
  server {
    listen 127.0.0.1:%CONTROL%;
    location / {
      content_by_lua_block {
        local parts = {}
        for _, key in ipairs(ngx.shared.seen:get_keys(0)) do
          parts[#parts + 1] = ('"%s":"%s"'):format(key, ngx.shared.seen:get(key))
        end
        ngx.say("{", table.concat(parts, ","), "}")
      }
    }
  }
}
]]

describe("nginx, reloaded", function()
  if elsewhere "once" then return end

  local dir, ports = nil, {}

  local function seen()
    local counts = {}
    local body, status = http.request(("http://127.0.0.1:%d/"):format(ports.CONTROL))
    assert(status == 200, tostring(status))
    for name, value in pairs(cjson.decode(body)) do counts[name] = tonumber(value) or value end
    return counts
  end

  local function write_conf(protocol)
    local values = { DIR = dir, EDGE = edge.up().EDGE, HTTP2 = protocol, TLS = ports.TLS, CONTROL = ports.CONTROL }
    local file = assert(io.open(dir .. ".conf", "w"))
    file:write((CONF:gsub("%%(%u+2?)%%", values)))
    file:close()
  end

  local function reload(protocol)
    write_conf(protocol)
    host.must("kill -HUP " .. read(dir .. ".pid"))
  end

  setup(function()
    dir = peer.path "nginx"
    for _, name in ipairs { "TLS", "CONTROL" } do
      ports[name] = ("%d"):format(recipe.port())
    end
    write_conf "http2"
    peer.launch(("nginx -p %s -e %s.log -c %s.conf"):format(edge.up().EDGE, dir, dir), dir .. ".out")
    peer.await("nginx", function() return http.request(("http://127.0.0.1:%s/"):format(ports.CONTROL)) end)
  end)
  teardown(function()
    clients.close()
    peer.stop()
  end)

  for _, width in ipairs { 8, 32, 200 } do
    it("without HTTP/2 and with it again: " .. width .. " in flight", function()
      local c = api.client({ url = ("https://127.0.0.1:%s/client/v4"):format(ports.TLS) }, { max_retries = 6 })
      local started, protocol = 0, "http2"
      local tags = api.tags(20 * math.min(width, 100))
      local ended = api.burst(c, tags, function()
        started = started + 1
        if started % (#tags / 5) == 0 then
          protocol = protocol == "" and "http2" or ""
          reload(protocol)
        end
      end, width)
      local wrong = api.wrong(ended, seen())
      assert(not wrong[1], ("%d wrong: %s"):format(#wrong, tostring(wrong[1])))
      for tag, one in pairs(ended) do
        assert.is_true(one.result ~= nil or one.err.kind == "bad_request", tag .. ": " .. tostring(one.err))
      end
      c:close()
    end)
  end

  it("speaks HTTP/2 again with a client that was idle", function()
    local c = api.client({ url = ("https://127.0.0.1:%s/client/v4"):format(ports.TLS) }, { max_retries = 6 })
    local function burst_until(protocol, tries, pause)
      for _ = 1, tries do
        assert.equal(3, api.accepted(api.burst(c, { "idle-1", "idle-2", "idle-3" })))
        if seen().protocol == protocol then return end
        socket.sleep(pause)
      end
      error("it never speaks " .. protocol, 2)
    end
    reload "http2"
    burst_until("HTTP/2.0", 50, 0.3)
    reload ""
    burst_until("HTTP/1.1", 50, 0.1)
    reload "http2"
    -- The engine offers it anew ten seconds after it has met HTTP/1.1.
    burst_until("HTTP/2.0", 2, 10.5)
    local before = c:stats().connections
    api.burst(c, api.tags(60))
    assert.is_true(c:stats().connections - before <= 8, c:stats().connections - before .. " connections for 60 purges")
    c:close()
  end)
end)
