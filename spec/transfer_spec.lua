-- One exchange: TLS and whom it trusts, HTTP versions, connections kept and lost, and what is on the wire.
local elsewhere = require "spec.support.where"
if elsewhere "engine" then return end

local edge = require "spec.support.edge"
local client = require "spec.support.client"
local host = require "spec.support.host"
local cfpurge = require "cfpurge"

local env = edge.up()
local system = host.system()
local once, over_tls = client.once, client.over_tls
local tags = { tags = { "a" } }

local function port_of(url)
  return tonumber(url:match ":(%d+)/")
end

describe("TLS", function()
  it("trusts a private CA by ca_file", function()
    local result, err, seen = once(over_tls())
    assert.is_nil(err)
    assert.equal(1, result.accepted)
    assert.equal("localhost", seen[1].sni)
  end)

  for name, case in pairs {
    ["an unknown CA"] = { base_url = env.API_TLS },
    ["the name of another host"] = { base_url = env.API_WRONGHOST, ca_file = env.CA_FILE },
    ["an expired certificate"] = { base_url = env.API_EXPIRED, ca_file = env.CA_FILE },
    ["a host that is not in the certificate"] = { base_url = env.API_TLS:gsub("localhost", "api.test"),
      ca_file = env.CA_FILE, proxy = env.PROXY },
    ["a server without TLS"] = { base_url = env.API_HTTP:gsub("^http:", "https:"), ca_file = env.CA_FILE },
  } do
    it("refuses " .. name .. " at the first attempt, and sends nothing", function()
      local result, err, seen, stats = once(case)
      assert.is_nil(result)
      assert.equal("tls", err.kind)
      assert.is_false(err.retryable)
      assert.equal(1, err.attempts)
      assert.equal(1, stats.attempts)
      assert.is_true(#err.message > 0)
      assert.is_nil(err.status)
      assert.same(tags, { tags = err.remaining.tags })
      assert.same({}, seen)
    end)
  end

  for name, case in pairs {
    ["that is not there"] = { env.EDGE .. "/none.pem", "No such file or directory" },
    ["without a certificate"] = { env.EDGE .. "/env", "holds no certificate (PEM)" },
    ["that is empty"] = { "/dev/null", "holds no certificate (PEM)" },
    ["that is a directory"] = { env.EDGE, "Is a directory" },
  } do
    it("refuses a ca_file " .. name .. " when it is named", function()
      local expected = ("ca_file: %s: %s"):format(case[1], case[2])
      local made, _, err = cfpurge.new(client.options { ca_file = case[1] })
      assert.is_nil(made)
      assert.same({ "invalid_request", "ca_file", expected }, { err.kind, err.field, err.message })
      local c = client.new()
      made, err = c:purge(tags, { ca_file = case[1] })
      assert.is_nil(made)
      assert.same({ "invalid_request", "ca_file", expected }, { err.kind, err.field, err.message })
      assert.same(tags, err.remaining)
      assert.equal(0, c:stats().attempts)
      c:close()
    end)
  end

  -- A worker of nginx may not read what its master can. The GnuTLS of libcurl 7.88 takes no CAs from memory.
  it("reads ca_file when the client is made, and not again", function()
    if elsewhere "openssl" then return end
    local copy = host.dir() .. "/ca.pem"
    host.must(("cp %s %s"):format(env.CA_FILE, copy))
    local c = client.new { base_url = env.API_TLS, ca_file = copy }
    assert(os.remove(copy))
    for _ = 1, 2 do assert(c:purge(tags)) end
    c:close()
  end)

  it("trusts ca_file beside the system's CAs, not in their place", function()
    -- We name the directory to OpenSSL alone; to GnuTLS libcurl itself does, and that one cannot be replaced here.
    if elsewhere "unwatched openssl" then return end
    -- The edge's CA is the system's, and the private one is another.
    local dir = host.dir() .. "/capath"
    assert(os.execute(("mkdir -p %s && ln -sf %s %s/$(openssl x509 -hash -noout -in %s).0"):format(
      dir, env.CA_FILE, dir, env.CA_FILE)))
    local program = [[
      local kinds = {}
      for i, file in ipairs(args) do
        local c = client.new { base_url = edge.env.API_TLS, ca_file = file ~= "" and file or nil }
        local result, err = c:purge { tags = { "a" } }
        kinds[i] = result and "accepted" or err.kind
      end
      return kinds]]
    local other = host.other_ca()
    assert.same({ "accepted", "accepted", "accepted" }, host.run(program,
      { args = { "", other, env.CA_FILE }, preload = true, env = { SPEC_CAPATH = dir } }))
    assert.same({ "tls", "tls", "accepted" }, host.run(program,
      { args = { "", other, env.CA_FILE }, preload = true, env = { SPEC_CAPATH = "/etc/ssl/certs" } }))
  end)

  it("has no option that switches verification off", function()
    for _, name in ipairs { "verify", "insecure", "ssl_verify", "verify_peer", "verify_host", "tls" } do
      local c, _, err = cfpurge.new((client.options { [name] = false }))
      assert.is_nil(c)
      assert.equal(name, err.field)
    end
    for _, option in ipairs(require("cfpurge.core").options) do
      assert.is_nil(option.name:match "verify" or option.name:match "insecure")
    end
    -- Nor the variables that other programs obey.
    assert.equal("tls", host.run([[
      local c = client.new { base_url = edge.env.API_TLS }
      return select(2, c:purge { tags = { "a" } }).kind]], { env = {
      SSL_CERT_FILE = env.CA_FILE, SSL_CERT_DIR = env.EDGE .. "/ssl", CURL_CA_BUNDLE = env.CA_FILE } }))
  end)
end)

describe("the protocol", function()
  for name, case in pairs {
    ["HTTP/2 over TLS by ALPN"] = { env.API_TLS, "HTTP/2.0", "TLSv1.3" },
    ["HTTP/2 over TLS 1.2"] = { env.API_TLS12, "HTTP/2.0", "TLSv1.2" },
    ["HTTP/1.1 where a TLS server has no other"] = { env.API_TLS1, "HTTP/1.1", "TLSv1.3" },
    ["HTTP/1.1 in clear text"] = { env.API_HTTP, "HTTP/1.1", nil },
  } do
    it("is " .. name .. ", on one connection that is kept", function()
      -- What other specs have left.
      collectgarbage()
      collectgarbage()
      local before = system.peers(port_of(case[1]))
      local c, zone = client.new(over_tls { base_url = case[1] })
      for i = 1, 20 do assert(c:purge { tags = { "t" .. i } }) end
      local seen = edge.requests(zone)
      assert.equal(20, #seen)
      for i, request in ipairs(seen) do
        assert.equal(case[2], request.protocol)
        assert.equal(case[3], request.tls)
        assert.equal(seen[1].connection, request.connection)
        assert.equal(('{"tags":["t%d"]}'):format(i), request.body)
      end
      assert.equal(1, c:stats().connections)
      assert.equal(before + 1, (system.peers(port_of(case[1]))))
      c:close()
      assert.equal(before, (system.peers(port_of(case[1]))))
    end)
  end

  for name, case in pairs {
    ["HTTP/2"] = { env.API_TLS, 1 }, ["HTTP/1.1 over TLS"] = { env.API_TLS1, 32 }, ["HTTP/1.1"] = { env.API_HTTP, 32 },
  } do
    it("keeps every connection that parallel purges over " .. name .. " need", function()
      local c, zone = client.new(over_tls { base_url = case[1] })
      assert(c:purge(tags))
      for _ = 1, 3 do
        edge.script(zone, { { times = 0, delay = 0.05, pass = true } })
        for i = 1, 32 do assert(c:start { tags = { "t" .. i } }) end
        while c:step() > 0 do assert.is_true(c:stats().in_flight <= 32) end
      end
      local used, count = {}, 0
      for _, request in ipairs(edge.requests(zone)) do
        if not used[request.connection] then used[request.connection], count = true, count + 1 end
      end
      assert.is_true(count <= case[2], count .. " connections")
      assert.is_true(c:stats().connections <= case[2])
      c:close()
    end)
  end

  it("has one for each request in clear text, where it spoke HTTP/2 before", function()
    local c, zone = client.new(over_tls())
    assert(c:purge(tags))
    edge.script(zone, { { times = 0, delay = 1, pass = true } })
    local kinds = {}
    for i = 1, 16 do
      assert(c:start({ tags = { "t" .. i } }, { base_url = env.API_HTTP }, function(_, err)
        kinds[i] = err and err.kind or "accepted"
      end))
    end
    while c:step() > 0 do assert.is_true(c:stats().in_flight <= 16) end
    assert.same({ 16, 17 }, { #kinds, c:stats().connections })
    for _, kind in ipairs(kinds) do assert.equal("accepted", kind) end
    c:close()
  end)
end)

describe("a peer that acknowledges nothing", function()
  it("is given up on a second after the longest connect_timeout of its client so far", function()
    client.close()
    local port = port_of(env.API_HTTP)
    local c, zone = client.new { connect_timeout = 2 }
    edge.script(zone, { { times = 0, delay = 0.1, pass = true } })
    local function purge(count, connect_timeout)
      for _ = 1, count do assert(c:start(tags, { connect_timeout = connect_timeout })) end
      client.run(c)
      return { system.peers(port) }
    end
    assert.same({ 1, 0, 3000 }, purge(1))
    -- Also on the connection that is there.
    assert.same({ 1, 0, 6000 }, purge(1, 5))
    assert.same({ 3, 0, 6000 }, purge(3, 1))
    assert.same({ 3, 0, 0 }, purge(1, math.huge))
    assert.same({ 4, 0, 0 }, purge(4))
    c:close()
  end)
end)

describe("a connection that the server closed while it was idle", function()
  for name, base in pairs {
    ["in clear text"] = env.API_IDLE, ["over TLS"] = env.API_IDLE_TLS,
  } do
    it("costs no failed purge and no attempt " .. name, function()
      local c, zone = client.new(over_tls { base_url = base, max_retries = 0 })
      local port = port_of(base)
      for i = 1, 3 do
        local result, err = c:purge(tags)
        assert.is_nil(err and tostring(err))
        assert.equal(1, result.attempts)
        assert.equal(i, c:stats().connections)
        local patience = system.now() + 20
        while select(2, system.peers(port)) == 0 and system.now() < patience do
          edge.counts(zone)
        end
        local _, closed, limit = system.peers(port)
        assert.same({ true, 11000 }, { closed > 0, limit }) -- libcurl 8.22 drops a closed one after a second only
      end
      assert.equal(3, #edge.requests(zone))
      c:close()
    end)
  end

  it("costs an attempt and no wait when both happen at once", function()
    local attempts, waited = 0, 0
    local c, zone = client.new { max_retries = 1, on_event = function(event)
      if event.name == "retry" then waited = math.max(waited, event.wait) end
    end }
    edge.script(zone, { { times = 0, idle_close = 0, json = { success = true, result = { id = "x" } } } })
    for i = 1, 100 do
      local result, err = c:purge { tags = { "t" .. i } }
      assert.is_nil(err and tostring(err))
      attempts = attempts + result.attempts
    end
    -- Nobody can know whether the server read a purge before it closed.
    assert.is_true(attempts >= 100 and attempts <= 200)
    assert.equal(0, waited)
    local seen = edge.requests(zone)
    assert.equal(100, #seen)
    c:close()
  end)
end)

describe("a request", function()
  it("ignores ~/.netrc", function()
    local home = host.dir() .. "/home"
    assert(os.execute("mkdir -p " .. home))
    local file = assert(io.open(home .. "/.netrc", "w"))
    file:write "machine 127.0.0.1 login someone password netrc-password\ndefault login x password y\n"
    file:close()
    local token, key = edge.zone(), edge.zone()
    host.run([[
      client.new({ zone_id = args[1] }):purge { tags = { "a" } }
      client.new({ zone_id = args[2], api_email = edge.env.EMAIL, api_key = edge.env.API_KEY }):purge { tags = { "a" } }
      ]], { args = { token, key }, env = { HOME = home, NETRC = home .. "/.netrc" } })
    assert.equal("Bearer " .. env.TOKEN, edge.requests(token)[1].headers.authorization)
    assert.is_nil(edge.requests(key)[1].headers.authorization)
    assert.equal(env.API_KEY, edge.requests(key)[1].headers["x-auth-key"])
  end)

  it("says who sends it", function()
    local version = require("cfpurge.core").version
    for given, expected in pairs { [false] = "cfpurge/" .. version, ["shop/2 (x; y)"] = "shop/2 (x; y)" } do
      local _, _, seen = once { user_agent = given or nil }
      assert.equal(expected, seen[1].headers["user-agent"])
    end
    local _, _, seen = once { user_agent = "" }
    assert.is_nil(seen[1].headers["user-agent"])
  end)

  it("asks for no 100-continue, however big it is", function()
    local files = {}
    for i = 1, 100 do files[i] = ("https://www.example.com/%d/%s"):format(i, ("x"):rep(15000)) end
    for _, options in ipairs { {}, over_tls(), over_tls { base_url = env.API_TLS1 } } do
      local c, zone = client.new(options)
      edge.script(zone, { { json = { success = true, result = { id = "big" } } } })
      assert(c:purge { files = files })
      c:close()
      local request = edge.requests(zone)[1]
      assert.is_nil(request.headers.expect)
      assert.is_true(#request.body > 1500000)
      assert.equal(tostring(#request.body), request.headers["content-length"])
    end
  end)

  for _, status in ipairs { 301, 302, 303, 307, 308 } do
    it("does not follow a " .. status, function()
      for _, base in ipairs { env.API_HTTP, env.API_TLS } do
        local c, zone = client.new(over_tls { base_url = base })
        edge.script(zone, { { status = status, headers = { Location = env.VISITED .. "/" .. zone } } })
        local result, err = c:purge(tags)
        c:close()
        assert.is_nil(result)
        assert.equal("api", err.kind)
        assert.equal(status, err.status)
        assert.equal(1, err.attempts)
        assert.equal(1, edge.counts(zone).requests)
      end
    end)
  end

  it("takes what is said before the answer for no answer", function()
    local c, zone = client.new()
    edge.script(zone, { { before = "HTTP/1.1 103 Early Hints\r\nCF-Ray: early\r\nRetry-After: 9\r\n\r\n",
      headers = { ["CF-Ray"] = "late" }, json = { success = true, result = { id = "x" } } } })
    local result = assert(c:purge(tags))
    assert.equal("late", result.ray_id)
    c:close()
  end)
end)
