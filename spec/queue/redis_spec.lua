-- A queue in Redis whose server fails in every way: `add` says accepted only where it is stored; everything else is an
-- error of kind `store` with what is left.
local elsewhere = require "spec.support.where"
if elsewhere "engine" then return end

local clients = require "spec.support.client"
local edge = require "spec.support.edge"
local faults = require "spec.support.faults"
local peer = require "spec.support.peer"
local socket = require "socket"
local stores = require "spec.support.stores"

local store = stores[2]

local function free_port()
  local server = assert(socket.bind("127.0.0.1", 0))
  local _, port = server:getsockname()
  server:close()
  return port
end

-- How many items wait in a server's database.
local function waiting(target)
  local status = assert(store.rules(target).status())
  return status.waiting
end

local function refused(reason, result, err, tags)
  assert.is_nil(result)
  assert.same({ "store", reason }, { err.kind, err.reason })
  assert.same({ tags = tags }, err.remaining)
end

describe("a queue in Redis", function()
  local servers = {}
  local function server(...)
    servers[#servers + 1] = stores.server(...)
    return servers[#servers]
  end
  after_each(function()
    stores.close()
    for i = #servers, 1, -1 do
      servers[i]:stop()
      servers[i] = nil
    end
  end)
  teardown(peer.stop)

  it("whose server is killed and comes back has all that was accepted", function()
    local redis = server "--appendonly yes --appendfsync always"
    local queue, _, _, target = store.queue { store = redis:url() }
    assert.same({ added = 2, merged = 0 }, queue:add { tags = { "a", "b" } })
    redis:stop()
    local result, err = queue:add { tags = { "c" } }
    refused("connection", result, err, { "c" })
    assert.is_true(err.retryable)
    local told
    assert(queue:start({ tags = { "d" } }, nil, function(added) told = added end))
    redis:start()
    local last = os.time() + 10
    while queue:step(0.2) > 0 and os.time() < last do end
    assert.same({ added = 1, merged = 0 }, told)
    assert.same({ added = 1, merged = 1 }, queue:add { tags = { "c", "a" } })
    assert.equal(4, waiting(target))
    assert(queue:drain { deadline = 10 })
  end)

  it("whose scripts are flushed loads them again", function()
    local redis = server()
    local queue, _, zone = store.queue { store = redis:url() }
    assert(queue:add { tags = { "a" } })
    redis:command "SCRIPT FLUSH"
    assert.same({ added = 1, merged = 1 }, queue:add { tags = { "a", "b" } })
    redis:command "SCRIPT FLUSH"
    assert.same({ waiting = 0, failed = 0 }, queue:drain { deadline = 10 })
    assert.equal(2, edge.counts(zone).items)
    redis:command "FLUSHALL"
    assert.same({ added = 1, merged = 0 }, queue:add { tags = { "a" } })
  end)

  it("goes on with the replica that was promoted, and takes nothing from one that was not", function()
    local primary = server("", nil, free_port())
    local replica = server(("--replicaof 127.0.0.1 %d"):format(primary.port))
    local queue, _, zone = store.queue { store = primary:url() }
    assert(queue:add { tags = { "a", "b" } })
    peer.await("replica", function() return replica:command "DBSIZE" == primary:command "DBSIZE" end)
    local other = store.queue({ store = replica:url() }, { zone_id = zone })
    local result, err = other:add { tags = { "c" } }
    refused("READONLY", result, err, { "c" })
    assert.is_true(err.retryable)
    assert.equal(2, other:status().waiting)
    primary:stop()
    replica:command "REPLICAOF NO ONE"
    assert.same({ added = 1, merged = 1 }, other:add { tags = { "c", "b" } })
    assert.equal(3, waiting(replica:url()))
    assert.same({ waiting = 0, failed = 0 }, other:drain { deadline = 10 })
  end)

  it("whose server has no memory left takes nothing, and empties itself", function()
    local redis = server "--maxmemory-policy noeviction"
    local queue, _, zone = store.queue { store = redis:url(), linger = 0.01 }
    assert(queue:add { tags = { "a", "b" } })
    redis:command "CONFIG SET maxmemory 1mb"
    local result, err = queue:add { tags = { "c" } }
    refused("OOM", result, err, { "c" })
    assert.is_true(err.retryable)
    assert.matches("no memory", tostring(err))
    assert.same({ waiting = 0, failed = 0 }, queue:drain { deadline = 10 })
    assert.equal(2, edge.counts(zone).items)
    redis:command "CONFIG SET maxmemory 100mb"
    assert(queue:add { tags = { "c" } })
  end)

  it("says which words the server wants", function()
    local redis = server("--requirepass geheim%s\\ wort", "-a 'geheim%s wort' PING", free_port())
    local where = ("127.0.0.1:%d"):format(redis.port)
    for reason, url in pairs { NOAUTH = "redis://" .. where, WRONGPASS = "redis://:wrong@" .. where .. "/3" } do
      local queue = store.queue { store = url }
      local result, err = queue:add { tags = { "c" } }
      refused(reason, result, err, { "c" })
      assert.is_false(err.retryable)
      assert.is_nil(tostring(err):find("wrong", 1, true))
      assert.is_nil(tostring(queue):find("wrong", 1, true))
    end
    local queue = store.queue { store = "redis://:geheim%25s%20wort@" .. where .. "/3" }
    assert(queue:add { tags = { "c" } })
    redis:command "-a 'geheim%s wort' ACL SETUSER reader on '>r' '~*' +ping +select +script"
    local result, err = store.queue({ store = "redis://reader:r@" .. where }):add { tags = { "c" } }
    refused("NOPERM", result, err, { "c" })
  end)

  it("tells of a server that loads its data, or answers nonsense, or not at all", function()
    for answer, reason in pairs { ["-LOADING Redis is loading the dataset in memory\r\n"] = "LOADING",
      ["-MISCONF Redis is configured to save\r\n"] = "MISCONF", ["HTTP/1.1 400 Bad Request\r\n\r\n"] = "connection" } do
      local said = peer.start { { receive = 4, send = answer } }
      local result, err = store.queue({ store = "redis://" .. said.address }):add { tags = { "c" } }
      refused(reason, result, err, { "c" })
    end
    local result, err = store.queue({ store = ("redis://127.0.0.1:%d"):format(free_port()) }):add { tags = { "c" } }
    refused("connection", result, err, { "c" })
  end)

  it("is refused by a store of a newer version, and changes nothing in it", function()
    local redis = server()
    redis:command "HSET {cfpurge}:meta version 99"
    local queue = store.queue { store = redis:url() }
    for _, call in ipairs { function() return queue:add { tags = { "a" } } end, function() return queue:status() end,
      function() return queue:drain { deadline = 1 } end } do
      local result, err = call()
      assert.same({ nil, "store", "newer" }, { result, err.kind, err.reason })
      assert.matches("newer cfpurge", tostring(err))
    end
    assert.same({ "1", "99" }, { redis:command "DBSIZE", redis:command "HGET {cfpurge}:meta version" })
  end)

  it("whose connection is reset after each byte says accepted only where it is stored", function()
    local redis = server("", nil, free_port())
    local accepted, failed, runs = {}, 0, 0
    local whole
    faults.run(function()
      local function try(fault)
        runs = runs + 1
        local tag = "t" .. runs
        local proxy = faults.proxy(("http://127.0.0.1:%d"):format(redis.port), fault)
        local client = clients.new { loop = "cqueues" }
        local url = proxy.url:gsub("^http", "redis"):gsub("/$", "")
        local queue = assert(require "cfpurge".queue { store = url, client = client })
        local result, err = queue:add { tags = { tag } }
        if result then
          accepted[#accepted + 1] = tag
        else
          failed = failed + 1
          assert.same({ "store", { tags = { tag } } }, { err.kind, err.remaining })
        end
        queue:close()
        client:close()
        proxy:stop()
        return proxy
      end
      local proxy = try()
      whole = proxy.sent
      for n = 0, whole do try { after = n, how = "rst" } end
      for n = 0, 60 do try { after = n, how = "rst", up = true } end
      -- Within the script's text, and around its end.
      for n = 100, 20000, 997 do try { after = n, how = "rst", up = true } end
    end, 100)
    -- What breaks once is tried once more, on a connection of its own.
    assert.is_true(failed + #accepted > 60 and #accepted >= 2, failed .. " failed")
    local stored = {}
    for item in redis:command "HKEYS {cfpurge}:item:1":gmatch '"?(t%d+)"?' do stored[item] = true end
    assert.truthy(next(stored))
    local zones = redis:command "KEYS '{cfpurge}:item:*'"
    for key in zones:gmatch "%S+" do
      for item in redis:command("HKEYS " .. key):gmatch "(t%d+)" do stored[item] = true end
    end
    for _, tag in ipairs(accepted) do assert.is_true(stored[tag], tag) end
  end)
end)
