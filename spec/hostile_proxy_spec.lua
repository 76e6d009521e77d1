-- A proxy that is not on our side: it sees no credential, sends us nowhere, and costs no more than any other.
local elsewhere = require "spec.support.where"
local edge = require "spec.support.edge"
local clients = require "spec.support.client"
local peer = require "spec.support.peer"
local host = require "spec.support.host"

local env = edge.up()
local OK = clients.OK
local TAGS = { tags = { "a" } }
local MIB = 1024 * 1024
local SECRET = "s3cr3t-of-proxy"
-- Base64 of "me:s3cr3t-of-proxy".
local BASIC = "bWU6czNjcjN0LW9mLXByb3h5"

local function port_of(url) return tonumber(url:match ":(%d+)/") end
local established = "HTTP/1.1 200 Connection established\r\n\r\n"

local function through(steps, options)
  local server = peer.start(steps)
  local zone = edge.zone()
  local all = { zone_id = zone, base_url = env.API_TLS, ca_file = env.CA_FILE, max_retries = 0, timeout = 20,
    proxy = ("http://me:%s@%s"):format(SECRET, server.address) }
  for name, value in pairs(options or {}) do all[name] = value end
  local client = clients.new(all)
  local growth, result, err = peer.growth(function() return client:purge(TAGS) end)
  client:close()
  if not host.watched then assert.is_true(growth < 12 * MIB, growth) end
  return result, err, server.log(1), edge.counts(zone).requests
end

-- What the proxy was told holds no credential of the API, and no error holds one of the proxy.
local function kept_secret(err, log)
  for _, connection in ipairs(log) do
    assert.is_nil(connection.received:find(env.TOKEN, 1, true))
    assert.is_nil(connection.received:lower():find("\nauthorization:", 1, true))
  end
  for _, text in ipairs { tostring(err), err and err.message or "" } do
    assert.is_nil(text:find(SECRET, 1, true) or text:find(BASIC, 1, true) or text:find(env.TOKEN, 1, true), text)
  end
end

local function asked(answer) return { { read = "\r\n\r\n" }, answer } end

describe("a hostile proxy", function()
  if elsewhere "once" then return end

  teardown(function()
    clients.close()
    peer.stop()
  end)

  it("that leads to somebody else is found out by his certificate", function()
    for _, case in ipairs { { env.API_WRONGHOST }, { env.API_EXPIRED },
      { env.API_TLS, host.other_ca() } } do
      local result, err, log, requests = through({ { read = "\r\n\r\n" }, { send = established },
        { tunnel = port_of(case[1]) } }, { ca_file = case[2] })
      assert.is_nil(result)
      assert.same({ "tls", 0 }, { err.kind, requests }, tostring(err))
      kept_secret(err, log)
    end
    -- One that leads where it should is not in the way.
    local result, _, log = through { { read = "\r\n\r\n" }, { send = established }, { tunnel = port_of(env.API_TLS) } }
    assert.is_table(result)
    kept_secret(nil, log)
    assert.is_truthy(log[1].received:find("Proxy-Authorization: Basic " .. BASIC, 1, true))
  end)

  it("cannot answer in the API's place", function()
    local answer = ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#OK, OK)
    for _, bytes in ipairs { answer, established .. answer, established .. OK, established .. "\22\3\3",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" .. ("%x\r\n%s\r\n0\r\n\r\n"):format(#OK, OK),
      "HTTP/1.1 103 Early Hints\r\n\r\n" .. answer, "HTTP/1.1 101 Switching Protocols\r\n\r\n" .. answer,
      "HTTP/1.1 204 No Content\r\n\r\n" .. answer, "HTTP/1.0 200\r\n\r\n" .. answer } do
      local result, err, log = through(asked { send = bytes }, { timeout = 1 })
      assert.is_nil(result)
      assert.is_truthy(err.kind == "tls" or err.kind == "connection" or err.kind == "timeout", tostring(err))
      assert.same({}, err.errors)
      kept_secret(err, log)
    end
  end)

  it("that refuses, redirects or asks for another proof gets nothing more", function()
    local canary = peer.start(asked { send = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" })
    for _, head in ipairs { "302 Found\r\nLocation: http://" .. canary.address .. "/",
      "302 Found\r\nLocation: file:///etc/passwd", "305 Use Proxy\r\nLocation: http://" .. canary.address,
      "407 No\r\nProxy-Authenticate: NTLM", "407 No\r\nProxy-Authenticate: Negotiate",
      '407 No\r\nProxy-Authenticate: Digest realm="x", nonce="y"', '407 No\r\nProxy-Authenticate: Basic realm="x"',
      "401 No\r\nWWW-Authenticate: NTLM", "429 No\r\nRetry-After: 0", "403 " .. SECRET, "511 Network", "200\0 OK" } do
      local result, err, log = through(asked { send = "HTTP/1.1 " .. head .. "\r\nContent-Length: 0\r\n\r\n" },
        { timeout = 1 })
      assert.is_nil(result)
      assert.is_truthy(err.kind == "connection" or err.kind == "timeout" or err.kind == "tls", head .. tostring(err))
      assert.equal(1, #log)
      kept_secret(err, log)
      local first, again = log[1].received:match "^(.-\r\n\r\n)(.*)$"
      assert.is_truthy(first:find "^CONNECT localhost:%d+ HTTP/1.1\r\n")
      assert.is_nil(again:find "^CONNECT")
    end
    assert.same({}, canary.log())
  end)

  it("cannot make it long or large", function()
    local timeouts = { timeout = 1 }
    for _, steps in ipairs {
      asked { flood = "HTTP/1.1 100 Continue\r\n\r\n" }, asked { flood = "X: " .. ("x"):rep(1000) .. "\r\n" },
      asked { flood = "x" }, asked { hang = 5 }, asked { drip = established, every = 0.1 }, { { hang = 5 } },
      { { read = "\r\n\r\n" }, { send = "HTTP/1.1 200 OK\r\n" }, { flood = ("X: %s\r\n"):format(("x"):rep(1000)) } },
      { { read = "\r\n\r\n" }, { send = "HTTP/1.1 407 x\r\nContent-Length: 999999999\r\n\r\n" },
        { flood = ("x"):rep(9999) } },
      { { read = "\r\n\r\n" }, { send = "HTTP/1.1 407 x\r\nTransfer-Encoding: chunked\r\n\r\n" },
        { flood = "1\r\nx\r\n" } },
      { { read = "\r\n\r\n" }, { send = established }, { flood = ("\22\3\3\64\0" .. ("x"):rep(16384)) } },
      { { read = "\r\n\r\n" }, { send = established }, { hang = 5 } },
    } do
      local result, err, log = through(steps, timeouts)
      assert.is_nil(result)
      assert.is_true(err.elapsed < 9, err.elapsed)
      assert.is_true(err.kind == "timeout" or err.kind == "connection" or err.kind == "tls"
        or err.kind == "bad_response", tostring(err))
      -- And not that some callback of ours ended it.
      if err.kind == "timeout" then assert.matches("tim[e ].*out", err.message:lower()) end
      kept_secret(err, log)
    end
  end)

  for _, scheme in ipairs { "socks4", "socks4a", "socks5", "socks5h" } do
    it("is told nothing of the API's in SOCKS either: " .. scheme, function()
      for _, bytes in ipairs { ("\0"):rep(600), ("\5"):rep(600), "\5\255", "\0\91\0\0\0\0\0\0", "\5\2\1\1",
        ("x"):rep(9999) } do
        local server = peer.start { { hang = 0 }, { send = bytes } }
        local client = clients.new { base_url = env.API_TLS, ca_file = env.CA_FILE, max_retries = 0, timeout = 1,
          proxy = ("%s://me:%s@%s"):format(scheme, SECRET, server.address) }
        local result, err = client:purge(TAGS)
        client:close()
        assert.is_nil(result)
        kept_secret(err, server.log(1))
      end
    end)
  end
end)
