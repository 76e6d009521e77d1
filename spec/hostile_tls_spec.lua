-- A peer that is wrong below HTTP: its certificate, its TLS, its HTTP/2 frames.
local elsewhere = require "spec.support.where"
local edge = require "spec.support.edge"
local clients = require "spec.support.client"
local peer = require "spec.support.peer"
local host = require "spec.support.host"

local env = edge.up()
local TAGS = { tags = { "a" } }
local MIB = 1024 * 1024

local function at(port, options)
  local all = { base_url = ("https://localhost:%d/v4"):format(port), ca_file = env.CA_FILE, max_retries = 0,
    timeout = 20 }
  for name, value in pairs(options or {}) do all[name] = value end
  local client = clients.new(all)
  local result, err = client:purge(TAGS)
  client:close()
  return result, err
end

describe("a TLS peer", function()
  if elsewhere "once" then return end

  teardown(function()
    clients.close()
    peer.stop()
  end)

  it("is refused where nobody, or nobody who may, vouches for it", function()
    for name, words in pairs {
      ["self-signed"] = peer.certificate("self", "DNS:localhost"),
      ["signed by a certificate that is no CA's"] = peer.certificate("leaf", "DNS:localhost", "server")
        .. (" -cert_chain %s/ssl/server.pem"):format(env.EDGE),
      ["of another name with our name in it"] = peer.certificate("odd", "DNS:localhost.example,DNS:xlocalhost", "ca"),
      ["of an address, not of the name"] = peer.certificate("address", "IP:127.0.0.1", "ca"),
      ["of every name"] = peer.certificate("star", "DNS:*", "ca"),
    } do
      local result, err = at(peer.tls(words))
      assert.is_nil(result, name)
      assert.same({ "tls", false, 1 }, { err.kind, err.retryable, err.attempts }, name)
    end
    -- The same server with the right certificate is the edge's own: there the purge gets further.
    local words = peer.certificate("right", "DNS:localhost", "ca")
    local _, err = at(peer.tls(words), { timeout = 0.5 })
    assert.equal("timeout", err.kind)
  end)

  it("breaks no line of a log by its name", function()
    local words = peer.certificate("broken", "DNS:localhost", "ca")
    local base = words:match "%-cert (%S+)%.pem"
    host.must(([[cd %s && openssl req -new -key %s.key -subj "$(printf '/CN=odd\r\nINFO all is well')" -out %s.csr &&
      openssl x509 -req -in %s.csr -days 2 -CA ssl/ca.pem -CAkey ssl/ca.key -CAcreateserial -out %s.pem]]):format(
      env.EDGE, base, base, base, base))
    local _, err = at(peer.tls(words))
    assert.equal("tls", err.kind)
    assert.truthy(err.message:find("odd  INFO all is well", 1, true), err.message)
  end)

  for _, version in ipairs { "-tls1", "-tls1_1" } do
    it("is refused where it speaks nothing newer than TLS 1.1: " .. version, function()
      local port = peer.tls(version .. " -cipher ALL:@SECLEVEL=0")
      local _, err = at(port)
      assert.equal("tls", err.kind, version .. tostring(err))
    end)
  end

  it("is refused where it encrypts nothing", function()
    for _, suite in ipairs { "eNULL:@SECLEVEL=0", "aNULL:@SECLEVEL=0" } do
      local _, err = at(peer.tls("-tls1_2 -cipher " .. suite))
      assert.equal("tls", err.kind, suite .. tostring(err))
    end
  end)

  it("that garbles the handshake ends it at once", function()
    for _, bytes in ipairs { "HTTP/1.1 400 Bad Request\r\n\r\n", ("\0"):rep(1000),
      "\22\3\1\255\255" .. ("x"):rep(70000), "\21\3\3\0\2\2\40", "\23\3\3\0\5hello" } do
      local server = peer.start { { read = "\22\3" }, { send = bytes } }
      local _, err = at(server.port)
      assert.is_truthy(err.kind == "tls" or err.kind == "connection", tostring(err))
      assert.is_nil(server.log(1)[1].received:find(env.TOKEN, 1, true))
    end
  end)

  it("cannot flood us with frames of HTTP/2", function()
    local function frame(kind, flags, stream, payload)
      local size = #payload
      return string.char(math.floor(size / 65536), math.floor(size / 256) % 256, size % 256, kind, flags, 0, 0, 0,
        stream) .. payload
    end
    local settings = frame(4, 0, 0, "")
    -- ":status: 103" as a literal, and a header that is not indexed.
    local hint = frame(1, 4, 1, "\8\003103" .. "\0\1x\127\129\1" .. ("y"):rep(256))
    local floods = {
      settings = frame(4, 0, 0, "\0\3\0\0\0\1"),
      ["empty data"] = frame(0, 0, 1, ""),
      ["window updates"] = frame(8, 0, 0, "\0\0\0\1"), priorities = frame(2, 0, 1, "\0\0\0\0\16"), hints = hint,
      continuations = frame(9, 0, 1, ("z"):rep(1000)), unknown = frame(200, 0, 0, ("u"):rep(1000)),
      pushes = frame(5, 4, 1, "\0\0\0\2\130"), goaways = frame(7, 0, 0, "\127\255\255\255\0\0\0\0"),
      resets = frame(3, 0, 1, "\0\0\0\7"), ["too large"] = "\255\255\255\0\0\0\0\0\1" .. ("x"):rep(1000),
    }
    for name, bytes in pairs(floods) do
      local before = settings
      if name == "continuations" then before = settings .. frame(1, 0, 1, "\8\003200") end
      local port = peer.tls("-alpn h2 -naccept 1", before, bytes)
      local growth, result, err = peer.growth(function() return at(port, { timeout = 0.5 }) end)
      assert.is_nil(result, name)
      if not host.watched then
        assert.is_true(err.elapsed < 20, name)
        assert.is_true(growth < 16 * MIB, name .. " " .. growth)
      end
    end
  end)
end)
