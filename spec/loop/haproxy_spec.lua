-- HAProxy, the real one, with the Lua that it is built with.
local elsewhere = require "spec.support.where"
local edge = require "spec.support.edge"
local asked = require "spec.support.asked"
local program = require "spec.hosts.program"
local host = require "spec.support.host"
local recipe = require "spec.support.recipe"
local stores = require "spec.support.stores"

local version = host.must "PATH=$PATH:/usr/sbin haproxy -vv":match "Built with Lua version : Lua (%d%.%d)"
if elsewhere("unwatched lua" .. version) then return end

local function run(code, options)
  return program.run("haproxy", code, options)
end

describe("HAProxy", function()
  it("the contract holds", function()
    assert.same({}, program.contract "haproxy")
  end)

  it("the contract holds where each thread has a state of its own", function()
    assert.same({}, program.contract("haproxy", { env = "CFPURGE_LOAD=each", stores = {} }))
  end)

  it("a purge lets the others go on, and nothing is stepped afterwards", function()
    host.tries(function()
      local value = run([[
        local client, over, longest, now = new(), false, 0, require("cfpurge.core").now
        host.spawn(function()
          while not over do
            local before = now()
            core.msleep(1)
            longest = math.max(longest, now() - before)
          end
        end)
        local steps, step = 0, client.step
        function client:step(...) steps = steps + 1 return step(self, ...) end
        assert(client:purge { tags = { "a" } })
        core.msleep(20)
        local before = steps
        core.msleep(50)
        over = true
        return { longest = longest, later = steps - before }
      ]], { answers = { { delay = 0.5, pass = true } } })
      assert.equal(0, value.later)
      return value.longest < 0.1, value.longest .. " s"
    end)
  end)

  it("others are answered within 10 ms while a purge waits, or 1,000 are under way", function()
    local dir = host.must("mktemp -d " .. host.dir() .. "/asked.XXXXXX"):match "%S+"
    local function check(code, answers)
      asked(("--unix-socket %s/site.sock http://site/"):format(dir), function()
        run(code, { answers = answers, env = "CFPURGE_SPEC_DIR=" .. dir })
      end)
    end
    check("assert(new():purge { tags = { 'a' } })", { { delay = 0.5, pass = true } })
    check [[
      local client, list, accepted = new(), {}, 0
      local function on_done(result) accepted = accepted + result.accepted end
      for i = 1, 1000 do
        list[i] = "many" .. i
        assert(client:start({ tags = { "t" .. i } }, nil, on_done))
      end
      assert(client:start({ tags = list }, { max_items = 1 }, on_done))
      host.wait_until(function() return accepted == 2000 end)
    ]]
  end)

  it("outside its tasks a purge names start, and start says where it may be called", function()
    local PURGE = "purge waits in a task, an action or a service of HAProxy: use start"
    local START = "begin in a task, an action or a service of HAProxy, in no coroutine of your own"
    local code = [[
      local client, problems = new(), {}
      local function try()
        problems.purge = select(2, client:purge { tags = { "a" } }).message
        problems.start = select(2, client:start { tags = { "a" } }).message
        problems.left = client:in_flight()
      end
      if args.main then try() else coroutine.wrap(try)() end
      return problems
    ]]
    for _, main in ipairs { true, false } do
      local value = run(code, { main = main })
      assert.same({ purge = START, start = START, left = 0 }, value)
    end
    local value = run([[
      local client, problem, result = new(), nil, nil
      assert(client:start({ tags = { "a" } }, nil, function() result = true end))
      coroutine.wrap(function() problem = select(2, client:purge { tags = { "b" } }).message end)()
      host.wait_until(function() return result end)
      return { problem = problem }
    ]])
    assert.same({ problem = PURGE }, value)
  end)

  it("does not interrupt what we do, and others have their turns in between", function()
    if elsewhere "uncounted" then return end
    local value = run [[
      local client, list = new(), {}
      for i = 1, 20000 do list[i] = "t" .. i end
      local interrupted, inside, done, other = 0, false, nil, 0
      host.spawn(function()
        while not done do
          if inside then interrupted = interrupted + 1 end
          other = other + 1
          core.yield()
        end
      end)
      local turns = 0
      for _ = 1, 10 do
        core.msleep(1)
        inside = true
        local request = assert(client:start({ tags = list }, nil, function() turns = turns + 1 end))
        inside = false
        request:cancel()
      end
      local before = other
      for i = 1, 1000 do assert(client:start { tags = { "a" .. i } }) end
      done = true
      return { interrupted = interrupted, turns = turns, between = other - before }
    ]]
    assert.same({ 0, 10 }, { value.interrupted, value.turns })
    assert.is_true(value.between >= 10, value.between .. " turns between 1,000 of ours")
  end)

  it("an on_done that sleeps holds up nobody", function()
    local value = run [[
      local client, woken, during = new(), false, nil
      assert(client:start({ tags = { "a" } }, nil, function() core.msleep(1500) woken = true end))
      core.msleep(100)
      during = assert(client:purge { tags = { "b" } }).accepted
      local before = woken
      host.wait_until(function() return woken end)
      return { during = during, before = before, left = client:in_flight() }
    ]]
    assert.same({ during = 1, before = false, left = 0 }, value)
  end)

  -- As distributions have it: another user, who may start no threads, and a folder without any file.
  describe("that has taken threads and files away", function()
    local dir = host.must("mktemp -d"):gsub("%s", "")
    local env, jail = edge.up(), dir .. "/jail"
    host.must(("mkdir %s && cat /etc/ssl/certs/ca-certificates.crt %s >%s/bundle.pem"):format(jail, env.CA_FILE, dir))
    teardown(function() host.must("rm -r " .. dir) end)

    local function purge(base_url, library, more)
      return program.run("haproxy", [[
        local result, err = host.client:purge { tags = { "a" } }
        return { said = result and "accepted" or err.message, files = io.open "/etc/passwd" ~= nil }
      ]], { args = { base_url = base_url },
        env = ("LD_PRELOAD=%s CFPURGE_JAIL=%s %s"):format(host.preloaded(library), jail, more or "") })
    end

    it("names resolve", function()
      assert.same({ said = "accepted", files = false },
        purge(env.API_HTTP:gsub("127%.0%.0%.1", "slow-1.test"), "slow_dns"))
    end)

    it("the system's certificates are trusted", function()
      assert.same({ said = "accepted", files = false },
        purge(env.API_TLS, "curl", "SPEC_CAINFO=" .. dir .. "/bundle.pem"))
      assert.matches("certificate", purge(env.API_TLS, "curl", "").said)
    end)

    it("a queue needs an address for Redis, and for SQLite threads and a path below the folder", function()
      host.must(("chmod 755 %s && chmod 777 %s"):format(dir, jail))
      local server = stores.server("--bind 127.0.0.1", nil, recipe.port())
      local function queue(store, more)
        return program.run("haproxy", [[
          local added, err = host.queue:add { tags = { "a" } }
          return { said = added and host.queue:drain { deadline = 9 }.waiting .. " left" or tostring(err) }
        ]], { env = ("CFPURGE_JAIL=%s CFPURGE_STORE=%s %s"):format(jail, store, more or "") }).said
      end
      assert.equal("0 left", queue(("redis://127.0.0.1:%d"):format(server.port)))
      server:stop()
      assert.matches("no thread for the store", queue "/queue.db")
      assert.equal("0 left", queue("/queue.db", "CFPURGE_FORKS=yes"))
      assert.equal("nobody\n", host.must("stat -c %U " .. jail .. "/queue.db"))
    end)
  end)

  it("a name that is not found is told when the client is made", function()
    local value = run([[
      local ok, err = pcall(new, { base_url = "https://none.invalid" })
      return { ok = ok, err = tostring(err) }
    ]], { main = true })
    assert.is_false(value.ok)
    assert.matches("base_url: its address was not found", value.err)
  end)
end)
