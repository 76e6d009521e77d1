-- A queue in Redis whose server fails in every way: `add` says accepted only where it is stored; everything else is an
-- error of kind `store` with what is left.
local elsewhere = require "spec.support.where"
if elsewhere "engine" then return end

local cfpurge = require "cfpurge"
local edge = require "spec.support.edge"
local faults = require "spec.support.faults"
local host = require "spec.support.host"
local module = require "cfpurge.redis"
local peer = require "spec.support.peer"
local readme = require "spec.support.readme"
local recipe = require "spec.support.recipe"
local socket = require "socket"
local stores = require "spec.support.stores"

local store = stores.of.redis

-- While the function runs, a queue waits so long for a connection or an answer, and not five seconds.
local function within(seconds, fn)
  local real = module.open
  module.open = function(url) return real(url, { timeout = seconds }) end
  local ok, raised = pcall(fn)
  module.open = real
  if not ok then error(raised, 0) end
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
    local queue, _, zone, target = store.queue { store = redis:url() }
    assert.same({ added = 2, merged = 0 }, queue:add { tags = { "a", "b" } })
    redis:stop()
    local result, err
    within(0.5, function()
      result, err = store.queue({ store = target }, { zone_id = zone }):add { tags = { "c" } }
    end)
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

  it("says where the server keeps less than an add needs", function()
    local redis = server "--appendonly yes"
    local queue = store.queue { store = redis:url() }
    assert.matches("append%-only file[^,]*, which goes to the disk as appendfsync says$", queue:status().durability)
    redis:command "CONFIG SET appendonly no"
    assert.matches("appendonly is off", queue:status().durability)
    redis:command "CONFIG SET maxmemory-policy allkeys-lru"
    assert.matches("maxmemory%-policy allkeys%-lru drops what waits", queue:status().durability)
    -- A server that tells nobody is no error.
    redis:command "ACL SETUSER default -info"
    assert.matches("as the server is set up to be", queue:status().durability)
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
    local primary = server("--repl-diskless-sync-delay 0", nil, recipe.port())
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

  it("finds the server that takes over while it adds, where the address stays, and loses nothing", function()
    local primary = server("--repl-diskless-sync-delay 0", nil, recipe.port())
    local replica = server(("--replicaof 127.0.0.1 %d"):format(primary.port), nil, recipe.port())
    local address = primary.dir .. "/address"
    local function lead_to(redis) os.execute(("ln -sfn %s %s"):format(redis.socket, address)) end
    lead_to(primary)
    local queue, _, zone = store.queue { store = "unix://" .. address }
    assert(queue:add { tags = { "first" } })
    peer.await("replica", function() return primary:command "INFO replication":find "state=online" end)
    local accepted, refusals, ended = { "first" }, {}, 0
    local function add(i)
      local tag = "t" .. i
      assert(queue:start({ tags = { tag } }, nil, function(added, err)
        ended = ended + 1
        if added then
          accepted[#accepted + 1] = tag
        else
          assert.same({ "store", true, { tags = { tag } } }, { err.kind, err.retryable, err.remaining })
          refusals[#refusals + 1] = err.reason
        end
      end))
      queue:step(0.001)
    end
    for i = 1, 100 do add(i) end
    primary:command "FAILOVER"
    for i = 101, 200 do add(i) end
    peer.await("failover", function()
      queue:step(0)
      return replica:command "ROLE":find "^master"
    end)
    lead_to(replica)
    local last = os.time() + 20
    while queue:step(0.2) > 0 and os.time() < last do end
    assert.equal(200, ended)
    assert.matches("^slave", primary:command "ROLE")
    -- The connection that is there leads to the old one, and says so: nobody has to be told.
    assert.same({ added = 1, merged = 1 }, queue:add { tags = { "last", "first" } })
    accepted[#accepted + 1] = "last"
    local stored = {}
    for item in replica:command "HKEYS {cfpurge}:item:1":gmatch "%w+" do stored[item] = true end
    for _, tag in ipairs(accepted) do assert.is_true(stored[tag], tag) end
    assert.is_true(#accepted > 100, table.concat(refusals, " "))
    assert(queue:drain { deadline = 10 })
    assert.is_true(edge.counts(zone).items >= #accepted)
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
    local redis = server("--requirepass geheim%s\\ wort", "-a 'geheim%s wort' PING", recipe.port())
    local where = ("127.0.0.1:%d"):format(redis.port)
    for reason, url in pairs { NOAUTH = "redis://" .. where, WRONGPASS = "redis://:wrong@" .. where .. "/3" } do
      local queue = store.queue { store = url }
      local result, err = queue:add { tags = { "c" } }
      refused(reason, result, err, { "c" })
      assert.is_false(err.retryable)
      assert.is_nil(tostring(err):find("wrong", 1, true))
      assert.is_nil(tostring(queue):find("wrong", 1, true))
    end
    local queue = store.queue { store = "redis://:gehei%6d%25s%20w%6Frt@" .. where .. "/3" }
    assert(queue:add { tags = { "c" } })
    local function login(name, rights)
      redis:command(("-a 'geheim%%s wort' ACL SETUSER %s on '>r' %s"):format(name, rights))
    end
    login("queue", (readme.reference:match "`(~{cfpurge}:%* [^`]*)`":gsub("%S+", "'%0'")))
    queue = store.queue { store = "redis://queue:r@" .. where }
    assert(queue:add({ tags = { "d" } }, { delay = 100 }))
    queue:work()
    assert.same({ 1, true }, { queue:status().waiting, queue:status().durability:find("appendonly is off", 1, true) ~= nil })
    login("reader", "'~*' +ping +select +script")
    local result, err = store.queue({ store = "redis://reader:r@" .. where }):add { tags = { "c" } }
    refused("NOPERM", result, err, { "c" })
  end)

  it("tells of a server that loads its data, or answers nonsense, or not at all", function()
    within(host.watched and 5 or 0.5, function()
      for answer, reason in pairs { ["-LOADING Redis is loading the dataset in memory\r\n"] = "LOADING",
        ["-MISCONF Redis is configured to save\r\n"] = "MISCONF", ["HTTP/1.1 400 Bad Request\r\n\r\n"] = "connection",
        ["-NOREPLICAS Not enough good replicas to write.\r\n"] = "NOREPLICAS",
        ["-ERR Error running script (call to f_5): @user_script:9: -OOM command not allowed.\r\n"] = "OOM" } do
        local said = peer.start { { receive = 4, send = answer } }
        local result, err = store.queue({ store = "redis://" .. said.address }):add { tags = { "c" } }
        refused(reason, result, err, { "c" })
      end
      local result, err = store.queue({ store = ("redis://127.0.0.1:%d"):format(recipe.port()) }):add { tags = { "c" } }
      refused("connection", result, err, { "c" })
    end)
  end)

  it("whose server falls silent says so in time, and goes on when it answers", function()
    if elsewhere "once" then return end
    within(0.5, function()
      local silent = assert(socket.bind("127.0.0.1", 0))
      local _, port = silent:getsockname()
      local result, err = store.queue({ store = "redis://127.0.0.1:" .. port }):add { tags = { "c" } }
      refused("connection", result, err, { "c" })
      silent:close()
      local redis = server()
      local queue = store.queue { store = redis:url() }
      assert(queue:add { tags = { "a" } })
      os.execute("pkill -STOP -P " .. redis.pid)
      result, err = queue:add { tags = { "c" } }
      os.execute("pkill -CONT -P " .. redis.pid)
      refused("connection", result, err, { "c" })
      assert.is_true(err.retryable)
      host.tries(function() return queue:add { tags = { "c" } } end)
      assert.equal(2, waiting(redis:url()))
    end)
  end)

  it("whose server is slow to answer a drain costs no time of the processor", function()
    if elsewhere "unwatched" then return end
    local redis = server()
    local queue = store.queue { store = redis:url() }
    assert(queue:add({ tags = { "a" } }, { delay = 100 }))
    os.execute(("(sleep 0.2; pkill -STOP -P %s; sleep 1; pkill -CONT -P %s) &"):format(redis.pid, redis.pid))
    local before = os.clock()
    assert.equal("timeout", select(2, queue:drain { deadline = 1.5 }).kind)
    assert.is_true(os.clock() - before < 0.06, os.clock() - before)
  end)

  it("whose server falls silent in a drain ends it at its deadline, with what was known", function()
    local redis = server()
    local queue = store.queue { store = redis:url() }
    assert(queue:add({ tags = { "a", "b" } }, { delay = 100 }))
    os.execute(("(sleep 0.6; pkill -STOP -P %s) &"):format(redis.pid))
    local began = socket.gettime()
    local _, err = queue:drain { deadline = 1.2 }
    local took = socket.gettime() - began
    os.execute("pkill -CONT -P " .. redis.pid)
    assert.same({ "timeout", 2 }, { err.kind, err.waiting })
    assert.is_true(took < 3, took)
  end)

  it("says what is left at the same price, however many zones it has known", function()
    local redis = stores.redis()
    local rules, lanes = store.rules(), 0
    local function price(what)
      redis:command "CONFIG RESETSTAT"
      assert(rules[what]())
      local calls = 0
      for count in redis:command "INFO commandstats":gmatch "calls=(%d+)" do calls = calls + count end
      return calls
    end
    local function grow()
      for _ = 1, 100 do
        lanes = lanes + 1
        assert(rules.add({ stores.group("z" .. lanes, "tags", { "a" }) }, { capacity = 1000 }))
      end
    end
    local function empty()
      for _ = 1, 100 do assert(rules.settle(rules.claim(stores.terms()).fence, stores.settled())) end
    end
    assert(rules.left())
    local left, status = price "left", price "status"
    grow()
    local busy = price "status"
    grow()
    assert.same({ left, busy }, { price "left", price "status" })
    empty()
    empty()
    assert.same({ left, status }, { price "left", price "status" })
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
    if elsewhere "once" then return end
    local redis = server("", nil, recipe.port())
    local accepted, failed, runs, ends = {}, 0, 0, {}
    -- An add on this queue while the connection, and each that follows, ends after so many bytes.
    local function add(queue, proxy, fault)
      runs = runs + 1
      local tag = "t" .. runs
      proxy.fault, proxy.fired = fault, nil
      local result, err = queue:add { tags = { tag } }
      proxy.fault = nil
      if result then
        accepted[#accepted + 1] = tag
      else
        failed = failed + 1
        assert.same({ "store", true, { tags = { tag } } }, { err.kind, err.retryable, err.remaining })
      end
      return result
    end
    local function open()
      local proxy = faults.proxy(("http://127.0.0.1:%d"):format(redis.port))
      local queue = assert(cfpurge.queue { store = proxy.url:gsub("^http", "redis"):gsub("/$", ""), zone_id = "z",
        loop = "cqueues" })
      return queue, proxy
    end
    local ways, AT_ONCE = { "up", "down" }, 8
    local function all()
      local left = 0
      local function beside(fn)
        left = left + 1
        faults.beside(nil, function()
          fn()
          left = left - 1
        end)
      end
      for _, way in ipairs(ways) do
        for first = 0, AT_ONCE - 1 do
          -- Of a connection that is there: whole.
          beside(function()
            local queue, proxy = open()
            local n = first - AT_ONCE
            repeat
              n = n + AT_ONCE
              proxy:reset()
              assert(add(queue, proxy, nil))
              local result = add(queue, proxy, { after = n, how = "rst", up = way == "up", every = true })
            until result and not proxy.fired
            ends[way] = math.max(ends[way] or 0, n)
            queue:close()
          end)
          -- Of the first one: what the server says, and some of the script's text.
          beside(function()
            for n = first, way == "up" and 30000 or 200, AT_ONCE * (way == "up" and 191 or 1) do
              local queue, proxy = open()
              add(queue, proxy, { after = n, how = "rst", up = way == "up", every = true })
              queue:close()
              proxy:stop()
            end
          end)
        end
      end
      faults.wait(function() return left == 0 end)
    end
    within(host.watched and 10 or 1, function() faults.run(all, 200) end)
    assert.is_true(ends.up > 200 and ends.down > 10, ("%d, %d"):format(ends.up, ends.down))
    assert.is_true(failed > 200 and #accepted > 200, ("%d, %d"):format(failed, #accepted))
    local stored = {}
    for item in redis:command "HKEYS {cfpurge}:item:1":gmatch "(t%d+)" do stored[item] = true end
    for _, tag in ipairs(accepted) do assert.is_true(stored[tag], tag) end
  end)
end)
