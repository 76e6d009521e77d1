-- Where a store in Redis is: what its URL may say, and the way there by TLS.
local cfpurge = require "cfpurge"
local edge = require "spec.support.edge"
local elsewhere = require "spec.support.where"
local host = require "spec.support.host"
local module = require "cfpurge.redis"
local peer = require "spec.support.peer"
local recipe = require "spec.support.recipe"
local stores = require "spec.support.stores"

local function ask(handle, ...)
  local id = assert(handle:submit { { ... } })
  local last = os.time() + 20
  while handle:step(1) > 0 do assert(os.time() < last, "it never ends") end
  local _, results, problem, reason = handle:take(id)
  handle:close()
  return results and results[1], problem, reason
end

describe("the URL of a store in Redis", function()
  after_each(stores.close)

  it("that is wrong is refused as the queue is made, and told without its password", function()
    for url, problem in pairs {
      ["redis://h:0"] = "port", ["redis://h:70000"] = "port", ["redis://h:6x"] = "port", ["redis://[::1]:"] = "port",
      ["redis://h:999999999999"] = "port", ["redis://h:-1"] = "port",
      ["redis://h/x"] = "database", ["redis://h/1/2"] = "database", ["redis://h?db=1000001"] = "database",
      ["redis://h?db="] = "database", ["redis://h?timeout=1"] = "behind the %?", ["redis://h?ca_file=/x"] = "behind the %?",
      ["unix://"] = "path of a socket", ["unix://name"] = "path of a socket", ["unix:///s?db=x"] = "database",
    } do
      local queue, message, err = cfpurge.queue { store = url:gsub("//", "//:geheim@", 1), zone_id = "z" }
      assert.same({ nil, "invalid_request", "store" }, { queue, err.kind, err.field }, url)
      assert.matches("store: .*" .. problem, message)
      assert.is_nil(message:find("geheim", 1, true))
    end
  end)

  it("says which database of it, in either way", function()
    local redis = stores.redis()
    for _, way in ipairs { ("unix://%s?db=1777"):format(redis.socket), ("unix://%s?db=3&db=1777"):format(redis.socket) } do
      assert.matches("db=1777", (ask(module.open(way), "CLIENT", "LIST")))
    end
  end)

  it("may have any character as %XX, a host in brackets, or none", function()
    local redis = stores.redis()
    local coded = redis.socket:gsub("[./c]", function(c) return ("%%%02X"):format(c:byte()) end)
    for _, path in ipairs { coded, (coded:gsub("%%%x%x", string.lower)) } do
      assert.same("PONG", assert(ask(module.open("unix:///" .. path .. "?db=1777"), "PING")))
    end
    -- What is no %XX stands for itself.
    for _, path in ipairs { "%", "%4", "%G1", "%1G", "%/0", "%g1", "%@1", "%1`" } do
      assert.equal("connection", (select(3, ask(module.open("unix:///" .. path, { timeout = 1 }), "PING"))), path)
    end
    for _, where in ipairs { "[::1]:" .. recipe.port(), "[::1]", ":" .. recipe.port(), "127.0.0.1:" .. recipe.port() .. "/1" } do
      local results, _, reason = ask(module.open("redis://" .. where, { timeout = 0.1 }), "PING")
      if results == nil then assert.equal("connection", reason, where) end
    end
  end)

  it("may name a host that there is not", function()
    local results, problem, reason = ask(module.open("redis://no..such:6379", { timeout = 0.3 }), "PING")
    assert.same({ nil, "connection" }, { results, reason })
    assert.truthy(#problem > 5, problem)
    -- Closed while it is looked up.
    local handle = module.open "redis://localhost:6379"
    local id = handle:submit { { "PING" } }
    handle:close()
    local got, _, _, why = handle:take(id)
    assert.same({ id, "closed" }, { got, why })
  end)

  it("may name a host of which not every address answers", function()
    if elsewhere "unwatched" then return end
    local port = recipe.port()
    local redis = stores.server("--bind 127.0.0.1", nil, port)
    assert.same({ "PONG" }, host.run([[
      local handle = require "cfpurge.redis".open("redis://two.test:" .. args.port)
      local id = handle:submit { { "PING" } }
      repeat until handle:step(5) == 0
      return { select(2, handle:take(id))[1] }]], { args = { port = tostring(port) }, preload = "slow_dns" }))
    redis:stop()
  end)
end)

describe("TLS to Redis", function()
  it("has three files at most, each once", function()
    for _, wrong in ipairs { "x=1", "ca_file=/a&ca_file=/b", "cert_file=", "key_fil=/a", "ca_file" } do
      local _, message, err = cfpurge.queue { store = "rediss://host?" .. wrong, zone_id = "z" }
      assert.equal("store", err.field)
      assert.matches("each once", message, 1, true)
    end
    local _, message = cfpurge.queue { store = "rediss://host?ca_file=/a&cert_file=/b&key_file=/c&db=1", zone_id = "z" }
    assert.is_nil((message or ""):find("each once", 1, true))
  end)

  local missing = select(2, pcall(module.open, "rediss://host"))
  if type(missing) == "string" then
    it("is refused where hiredis has none", function()
      local queue, message, err = cfpurge.queue { store = "rediss://host", zone_id = "z" }
      assert.same({ nil, "invalid_request", "store" }, { queue, err.kind, err.field })
      assert.matches("store: this cfpurge was built without TLS to Redis", message)
    end)
    return
  end

  local env, redis, port = edge.up(), nil, nil
  local ca = "ca_file=" .. env.CA_FILE
  local function start(words, auth)
    port = recipe.port()
    redis = stores.server(("--tls-port %d --tls-cert-file %s/ssl/server.pem --tls-key-file %s/ssl/server.key "
      .. "--tls-ca-cert-file %s %s"):format(port, env.EDGE, env.EDGE, env.CA_FILE, words), auth)
  end
  after_each(function()
    stores.close()
    if redis then redis:stop() end
    redis = nil
  end)

  local function url(where, query)
    return ("rediss://%s:%d/2?%s"):format(where, port, query)
  end

  it("carries a queue, whatever it stores", function()
    start "--tls-auth-clients no"
    local list = {}
    for i = 1, 3000 do list[i] = "tag" .. i end
    for i, where in ipairs { "127.0.0.1", "localhost" } do
      local queue = stores.of.redis.queue({ store = url(where, ca) }, { zone_id = "z" })
      assert.same({ added = i == 1 and 3000 or 0, merged = i == 1 and 0 or 3000 }, queue:add { tags = list })
      assert.equal(3000, queue:status().waiting)
    end
    assert.equal(("x"):rep(2000000), (ask(module.open(url("127.0.0.1", ca)), "ECHO", ("x"):rep(2000000))))
  end)

  it("trusts no other certificate, says no password to it, and tells why", function()
    start("--tls-auth-clients no --requirepass geheim", "-a geheim PING")
    redis:command "-a geheim CONFIG RESETSTAT"
    for where, why in pairs {
      [url(":geheim@127.0.0.1", "")] = "certificate", [url(":geheim@127.0.0.1", "ca_file=" .. host.other_ca())] = "certificate",
      [url(":geheim@127.0.0.2", ca)] = "mismatch", [url(":geheim@127.0.0.1", "ca_file=/none")] = "ca_file",
      [url(":geheim@127.0.0.1", ca .. "&cert_file=/none")] = "cert_file",
      [url(":geheim@127.0.0.1", ca .. "&key_file=/none")] = "key_file",
    } do
      local reply, problem, reason = ask(module.open(where, { timeout = 0.3 }), "PING")
      assert.same({ nil, "connection" }, { reply, reason }, where)
      assert.matches(why, problem)
    end
    -- That is redis-cli's own.
    assert.matches("cmdstat_auth:calls=1,", redis:command "-a geheim INFO commandstats")
    assert.equal("PONG", (ask(module.open(url(":geheim@127.0.0.1", ca)), "PING")))
  end)

  it("shows the server a certificate where it wants one", function()
    start "--tls-auth-clients yes"
    local own = ("&cert_file=%s/ssl/server.pem&key_file=%s/ssl/server.key"):format(env.EDGE, env.EDGE)
    assert.equal("PONG", (ask(module.open(url("127.0.0.1", ca .. own)), "PING")))
    local reply, _, reason = ask(module.open(url("127.0.0.1", ca), { timeout = 0.3 }), "PING")
    assert.is_nil(reply)
    assert.is_true(reason == "connection" or reason == "broken")
  end)

  it("is told of a server that speaks none", function()
    local said = peer.start { { receive = 4, send = "-ERR no TLS here\r\n" } }
    local _, problem, reason = ask(module.open("rediss://" .. said.address, { timeout = 0.3 }), "PING")
    assert.equal("connection", reason)
    assert.matches("wrong version number", problem)
    peer.stop()
  end)
end)
