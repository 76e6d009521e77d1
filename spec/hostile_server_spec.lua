-- A server that wants the credential, or wants us elsewhere, or wants our memory and time: it gets none of it.
local elsewhere = require "spec.support.where"
local edge = require "spec.support.edge"
local clients = require "spec.support.client"
local peer = require "spec.support.peer"
local host = require "spec.support.host"

local env = edge.up()
local OK = clients.OK
local TAGS = { tags = { "a" } }
local MIB = 1024 * 1024

local function whole(body, head)
  return ("HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s"):format(head or "", #body, body)
end

-- Purges at a server of one's own; what growth says comes with it.
local function at(server, options)
  local all = { base_url = "http://" .. server.address .. "/v4", max_retries = 0, timeout = 20 }
  for name, value in pairs(options or {}) do all[name] = value end
  local client = clients.new(all)
  local result, err = client:purge(TAGS)
  return result, err, client
end

describe("a hostile server", function()
  teardown(function()
    clients.close()
    peer.stop()
  end)

  describe("that sends us elsewhere", function()
    local canary, client, zone

    setup(function()
      canary = peer.start { { read = "\r\n\r\n" }, { send = whole(OK) } }
      client, zone = clients.new { max_retries = 0 }
    end)
    before_each(function() edge.reset(zone) end)

    it("is not followed, whatever the status and the place", function()
      local places = { "http://" .. canary.address .. "/", "//" .. canary.address .. "/", "https://" .. canary.address,
        "file:///etc/passwd", "gopher://" .. canary.address .. "/_x", "dict://" .. canary.address .. "/x",
        "ftp://" .. canary.address .. "/", "ldap://" .. canary.address .. "/", "\\\\" .. canary.address .. "\\x",
        "javascript:x", "/client/v4/zones/other/purge_cache", "?x", "", ("x"):rep(60000) }
      local count = 0
      for _, status in ipairs { 300, 302, 304, 305, 306, 307, 308, 201, 401 } do
        for _, place in ipairs(status == 302 and places or { places[1], places[4] }) do
          edge.script(zone, { { status = status, headers = { { "Location", place }, { "Content-Location", place } },
            wire = true, body = status ~= 304 and OK or nil } })
          local result, err = client:purge(TAGS)
          count = count + 1
          assert.equal(status == 201, result ~= nil, status .. " " .. place)
          assert.equal(status == 401 and "authentication" or status ~= 201 and "api" or nil, err and err.kind)
          assert.equal(count, edge.counts(zone).requests)
        end
      end
      assert.same({}, canary.log())
    end)

    it("or keeps something in mind for the next time, is not remembered", function()
      local traps = { { "Alt-Svc", ('h2="%s"; ma=86400, http/1.1="%s"; persist=1'):format(canary.address,
        canary.address) }, { "Set-Cookie", "session=1; Path=/" }, { "Strict-Transport-Security", "max-age=31536000" },
        { "Refresh", "0; url=http://" .. canary.address },
        { "Link", ("<http://%s/>; rel=preload"):format(canary.address) },
        { "Upgrade", "h2c, websocket" }, { "Connection", "Upgrade" }, { "Proxy-Authenticate", "Basic" },
        { "Public-Key-Pins", 'pin-sha256="x"; max-age=99' },
        { "Content-Security-Policy", "upgrade-insecure-requests" } }
      edge.script(zone, { { headers = traps, body = OK, wire = true }, { times = 0, body = OK } })
      -- The server may close the connection behind the first answer, while the next purge is on its way.
      for _ = 1, 3 do assert(client:purge(TAGS, { max_retries = 2 })) end
      local seen = edge.requests(zone)
      assert.equal(3, #seen)
      for name, value in pairs(seen[1].headers) do assert.equal(value, seen[3].headers[name], name) end
      for name in pairs(seen[3].headers) do assert.is_truthy(seen[1].headers[name], name) end
      assert.is_nil(seen[3].headers.cookie or seen[3].headers.upgrade)
      assert.same({}, canary.log())
    end)

    it("or wants another proof of who asks, is shown none", function()
      for _, status in ipairs { 401, 407 } do
        for _, way in ipairs { "NTLM", "Negotiate", 'Digest realm="x", nonce="y", qop="auth"', 'Basic realm="x"',
          'Bearer realm="x"', "AWS4-HMAC-SHA256", ("x"):rep(5000) } do
          edge.reset(zone)
          edge.script(zone, { { status = status, body = "{}", wire = true,
            headers = { { "WWW-Authenticate", way }, { "Proxy-Authenticate", way } } }, { times = 0, body = OK } })
          local _, err = client:purge(TAGS)
          assert.equal(status == 401 and "authentication" or "api", err.kind)
          local seen = edge.requests(zone)
          assert.equal(1, #seen)
          assert.equal("Bearer " .. env.TOKEN, seen[1].headers.authorization)
          assert.is_nil(seen[1].headers["proxy-authorization"])
        end
      end
    end)
  end)

  describe("that wants our time and memory", function()
    if elsewhere "once" then return end

    -- What one answer may cost: the body's cap, what holds it while it grows, and what the allocator keeps.
    local function bounded(kinds, steps, options, seconds)
      local server = peer.start(steps)
      local growth, _, err = peer.growth(function() return at(server, options) end)
      assert.is_truthy(err, "accepted")
      assert.is_truthy((" " .. kinds .. " "):find(" " .. err.kind .. " ", 1, true), tostring(err))
      assert.is_true(err.elapsed < (seconds or 9), err.elapsed)
      -- The sanitizers keep what was freed.
      if not host.watched then assert.is_true(growth < 12 * MIB, growth) end
      return err
    end
    local function answer(...) return { { read = "\r\n\r\n" }, ... } end
    local chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    it("ends where it never stops to say that there will be an answer", function()
      for _, line in ipairs { "103 Early Hints\r\nLink: </a>\r\n", "100 Continue\r\n", "102 Processing\r\n",
        "199 x\r\nX-Padding: " .. ("p"):rep(500) .. "\r\n" } do
        local one = "HTTP/1.1 " .. line .. "\r\n"
        bounded("bad_response connection", answer { flood = one:rep(64) })
      end
    end)

    it("ends where chunks, their extensions and trailers have no end", function()
      bounded("bad_response connection timeout", answer({ send = chunked }, { flood = "1;" .. ("x"):rep(60000) }),
        { timeout = 1 })
      bounded("bad_response", answer({ send = chunked }, { flood = ("1;a=b\r\nx\r\n"):rep(500) }))
      bounded("bad_response connection timeout", answer({ send = chunked .. ("%x\r\n%s\r\n0\r\n"):format(#OK, OK) },
        { flood = ("X-Trailer: " .. ("t"):rep(500) .. "\r\n"):rep(20) }))
      bounded("bad_response connection timeout", answer({ send = chunked .. "0\r\n" }, { flood = ("x"):rep(10000) }))
      bounded("bad_response connection timeout", answer({ send = chunked }, { flood = ("0"):rep(10000) }))
      bounded("bad_response connection", answer({ send = "HTTP/1.1 200 OK\r\n" }, { flood = "X: " .. ("x"):rep(9999) }))
      bounded("bad_response connection timeout", answer { flood = ("\r\n"):rep(5000) }, { timeout = 1 })
      bounded("bad_response connection timeout", answer { flood = ("\0"):rep(10000) }, { timeout = 1 })
    end)

    it("ends where it gives a byte now and then", function()
      for _, text in ipairs { whole(OK), whole(OK, "X: " .. ("x"):rep(9000) .. "\r\n"), chunked .. "1\r\nx\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n" } do
        local err = bounded("timeout", answer { drip = text, every = 0.02 }, { timeout = 0.4 })
        assert.is_true(err.elapsed >= 0.39, err.elapsed)
      end
      local err = bounded("timeout", { { hang = 20 } }, { timeout = 0.3, deadline = 0.2 })
      assert.is_true(err.elapsed >= 0.19 and err.elapsed < 9)
    end)

    it("is asked for nothing compressed, and inflates no further than the cap", function()
      -- A megabyte of zeros in a kilobyte, and a valid envelope.
      local dir = host.dir()
      host.must(("mkdir -p %s && head -c 100000000 /dev/zero | gzip -9 | gzip -9 >%s/bomb && "
        .. "printf %%s '%s' | gzip >%s/small"):format(dir, dir, OK, dir))
      local bomb
      for _, name in ipairs { "bomb", "small" } do
        local file = assert(io.open(dir .. "/" .. name, "rb"))
        local body = file:read "*a"
        file:close()
        bomb = bomb or body
        for _, coding in ipairs { "gzip", "gzip, gzip", "deflate", "br", "zstd" } do
          local server = peer.start(answer { send = whole(body, "Content-Encoding: " .. coding .. "\r\n") })
          local growth, result, err = peer.growth(function() return at(server) end)
          if name == "small" and coding == "gzip" then
            assert.equal(1, result.accepted)
          else
            assert.is_nil(result)
            assert.equal("bad_response", err.kind)
          end
          if not host.watched then assert.is_true(growth < 8 * MIB, growth) end
          assert.truthy(server.log(1)[1].received:find("\r\nAccept-Encoding: identity\r\n", 1, true))
        end
      end
      -- libcurl 7.88 does inflate what the server says it packed for the way: up to the cap.
      for _, coding in ipairs { "gzip", "gzip, gzip", "gzip, gzip, gzip, gzip, gzip, gzip" } do
        bounded("bad_response connection", answer { send =
          ("HTTP/1.1 200 OK\r\nTransfer-Encoding: %s, chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"):format(
          coding, #bomb, bomb) })
      end
    end)

    it("may lie about the length, to no end", function()
      for _, length in ipairs { "-1", "-9223372036854775808", "18446744073709551616", "1e3", "0x10", "5 5", "abc",
        "" } do
        bounded("bad_response connection timeout", answer({ send =
          ("HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n{"):format(length) }), { timeout = 1 })
      end
      local both = "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Length: 1\r\n\r\n%s"
      bounded("bad_response connection", answer { send = both:format(#OK, OK) })
    end)

    it("speaks HTTP/0.9 to no one", function()
      bounded("connection", answer { send = OK })
      bounded("connection", { { send = OK } })
      bounded("connection", answer { flood = OK:rep(1000) })
    end)
  end)

  describe("that is asked for names", function()
    local function listing(text, pages)
      return { { read = "\r\n\r\n" }, { send = whole(('{"success":true,"result":%s,"result_info":{"total_pages":%s}}')
        :format(text, pages or "1"), "Connection: close\r\n") } }
    end

    it("cannot have its ids in a path", function()
      for _, id in ipairs { "x/../../../user/tokens?", "x?y=", "..", ("a"):rep(33), "a b", "a\\r\\nX: y", "%2e",
        "", "x#" } do
        local server = peer.start(listing(('[{"id":"%s","name":"n.example"},{"ref":"%s","name":"staging"}]')
          :format(id, id)))
        local client = clients.new { base_url = "http://" .. server.address .. "/v4", max_retries = 0 }
        local _, err = client:purge(TAGS, { zone = "n.example", environment = "staging" })
        assert.equal("not_found", err.kind)
        assert.same({ tags = { "a" }, zone = "n.example", environment = "staging" }, err.remaining)
        assert.equal("GET /v4/zones?name=n.example&page=1&per_page=50 HTTP/1.1",
          server.log(1)[1].received:match "^[^\r]*")
        assert.equal(1, #server.log())
      end
    end)

    it("may say anything for a list", function()
      for _, text in ipairs { "[1,2]", "[null,true]", '["x"]', "[[]]", '[{"id":5,"name":5}]', '{"environments":5}', "5",
        "null", '{"environments":[1]}' } do
        local server = peer.start(listing(text))
        local client = clients.new { base_url = "http://" .. server.address .. "/v4", max_retries = 0 }
        assert.same({}, client:zones())
        assert.same({}, (client:environments()))
        client:close()
      end
    end)

    it("cannot have us fetch for ever", function()
      local client = clients.new { base_url = "http://" .. peer.start(listing("[]", "1e300")).address, max_retries = 0 }
      local _, err = client:zones()
      assert.equal("bad_response", err.kind)
      local many = ('{"id":"i","name":"n"},'):rep(30000) .. '{"id":"i","name":"n"}'
      client = clients.new { base_url = "http://" .. peer.start(listing("[" .. many .. "]", "1e300")).address,
        max_retries = 0, timeout = 20 }
      _, err = client:zones()
      assert.equal("bad_response", err.kind)
    end)
  end)

  it("cannot have the credential repeated, wherever it writes it", function()
    local client, zone = clients.new { max_retries = 0 }
    local escaped = env.TOKEN:gsub(".", function(c) return ("\\u%04x"):format(c:byte()) end)
    for _, token in ipairs { env.TOKEN, escaped } do
      edge.script(zone, { { body = ('{"success":true,"result":{"id":"%s"}}'):format(token) },
        { body = ('{"success":true,"result":{"id":"x%s"},"messages":[{"message":"%s"}]}'):format(token, token) } })
      for _, id in ipairs { "***", "x***" } do
        local result = assert(client:purge(TAGS))
        assert.same({ id, { id } }, { result.id, result.ids })
        if id == "x***" then assert.equal("***", result.messages[1].message) end
      end
    end
  end)

  it("cannot have it repeated by an ending that is taken after close", function()
    local core = require "cfpurge.core"
    for _, token in ipairs { env.TOKEN, (env.TOKEN:gsub("^.", function(c) return ("\\u%04x"):format(c:byte()) end)) } do
      local options, zone = clients.options { max_retries = 0 }
      edge.script(zone, { { status = 400, body = ('{"errors":[{"code":1,"message":"x%s"}]}'):format(token) },
        { headers = { ["CF-Ray"] = token }, body = token, length = 1000, hang = 5 } })
      local client = core.new(options)
      assert(client:start(TAGS))
      while client:step(10) > 0 do end
      assert(client:start(TAGS))
      for _ = 1, 3 do client:step(0.1) end
      client:close()
      assert.equal("x***", select(3, client:take()).message)
      local err = select(3, client:take())
      assert.equal("closed", err.kind)
      assert.is_nil((err.ray_id or ""):find(env.TOKEN, 1, true))
    end
  end)

  it("can order to wait absurdly, and is not waited for", function()
    for _, headers in ipairs { { { "Retry-After", "99999999999999999999" } },
      { { "Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT" } }, { { "Ratelimit", '"x";r=0;t=99999999999999999999' } },
      { { "Ratelimit", '"x";r=0;t=1e308' } }, { { "Ratelimit", ('"x";r=-1;t=-1, '):rep(9) } },
      { { "Ratelimit", '"x";r=0;t=NaN' } }, { { "Ratelimit", '"x";r=99999999999999999999;t=0' } },
      { { "Ratelimit-Policy", '"x";q=0;w=999999999' } } } do
      local client, zone = clients.new { max_retries = 2, timeout = 5, deadline = 3 }
      edge.script(zone, { { status = 429, body = "{}", headers = headers, wire = true }, { times = 0, body = OK } })
      for _ = 1, 2 do
        local result, err = client:purge(TAGS)
        assert.is_true(result ~= nil or err.kind == "rate_limited" or err.kind == "timeout", tostring(err))
        assert.is_true((result or err).elapsed < 5)
      end
      client:close()
    end
  end)
end)
