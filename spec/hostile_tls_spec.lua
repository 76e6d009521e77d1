-- A peer that is wrong below HTTP: its certificate, its TLS, its HTTP/2 frames.
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
  if (os.getenv "CFPURGE_LUA" or "lua5.4") ~= "lua5.4" then return pending "the engine's: once is enough" end

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

  it("is refused where it speaks nothing newer than TLS 1.1", function()
    for _, version in ipairs { "-tls1", "-tls1_1" } do
      local port = peer.tls(version .. " -cipher ALL:@SECLEVEL=0")
      local _, err = at(port)
      assert.equal("tls", err.kind, version .. tostring(err))
    end
  end)

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
      pings = frame(6, 0, 0, "12345678"), settings = frame(4, 0, 0, "\0\3\0\0\0\1"),
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
      -- libcurl (7.88) would read these as long as they come, in one call.
      local endless = name == "pings"
      local growth, result, err = peer.growth(function() return at(port, { timeout = endless and 20 or 0.5 }) end)
      assert.is_nil(result, name)
      if endless then assert.equal("connection", err.kind, tostring(err)) end
      if not host.watched then
        assert.is_true(err.elapsed < 20, name)
        assert.is_true(growth < 16 * MIB, name .. " " .. growth)
      end
    end
  end)

  it("leaves no keys where SSLKEYLOGFILE asks for them", function()
    local file = host.dir() .. "/keys.log"
    host.must("mkdir -p " .. host.dir() .. " && rm -f " .. file)
    local kinds = host.run([[
      local kinds = {}
      for i, base in ipairs { edge.env.API_TLS, edge.env.API_TLS12 } do
        local result, err = client.new({ base_url = base, ca_file = edge.env.CA_FILE }):purge { tags = { "a" } }
        kinds[i] = result and "accepted" or err.kind
      end
      return kinds]], { env = { SSLKEYLOGFILE = file } })
    assert.same({ "accepted", "accepted" }, kinds)
    assert.equal("0", host.must(("cat %s 2>/dev/null | grep -cv '^#' || true"):format(file)):match "%d+")
  end)
end)

describe("a flood that we were sent", function()
  if not rawget(_G, "jit") then return end

  teardown(function()
    clients.close()
    peer.stop()
  end)

  it("is not held against the host's own HTTP/2", function()
    local ping = "\0\0\8\6\0\0\0\0\00012345678"
    local _, err = at(peer.tls("-alpn h2 -naccept 1", "\0\0\0\4\0\0\0\0\0", ping), { timeout = 20 })
    assert.equal("connection", err.kind)
    local ffi = require "ffi"
    ffi.cdef [[
      void *curl_easy_init(void);
      int curl_easy_setopt(void *, int, ...);
      int curl_easy_perform(void *);
      int curl_easy_getinfo(void *, int, ...);
      void curl_easy_cleanup(void *);
    ]]
    local curl, version = ffi.load "libcurl.so.4", ffi.new "long[1]"
    local URL, CAINFO, HTTP_VERSION, NOBODY, HTTP_VERSION_INFO = 10002, 10065, 84, 44, 0x200000 + 46
    local own = curl.curl_easy_init()
    curl.curl_easy_setopt(own, URL, ffi.cast("const char *", env.API_TLS))
    curl.curl_easy_setopt(own, CAINFO, ffi.cast("const char *", env.CA_FILE))
    curl.curl_easy_setopt(own, HTTP_VERSION, ffi.cast("long", 4))
    curl.curl_easy_setopt(own, NOBODY, ffi.cast("long", 1))
    local code = curl.curl_easy_perform(own)
    curl.curl_easy_getinfo(own, HTTP_VERSION_INFO, version)
    curl.curl_easy_cleanup(own)
    assert.same({ 0, 3 }, { code, tonumber(version[0]) })
  end)
end)
