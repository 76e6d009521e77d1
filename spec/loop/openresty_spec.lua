-- lua/cfpurge/loop/openresty.lua inside real nginx. Its Lua is LuaJIT: one run of the five is enough.
local elsewhere = require "spec.support.where"
if elsewhere "luajit" then return end

local edge = require "spec.support.edge"
local host = require "spec.support.host"
local nginx = require "spec.hosts.nginx"
local contract = require "spec.hosts.contract"

local function slow(delay)
  return { { match = "slow", delay = delay or 30, pass = true, times = 0 } }
end

local function zone_with(answers)
  local zone = edge.zone()
  if answers then
    edge.script(zone, answers)
  end
  return { zone = zone }
end

local PURGE = [[
  local result, err = client:purge { zone_id = args.zone, tags = { args.tag or "a" } }
  memory.purged = true
  return result and result.accepted, err
]]
-- What on_done was told is in memory.told.
local START = [[
  local told = {}
  memory.told = told
  local request, err = client:start({ zone_id = args.zone, tags = { args.tag or "a" } }, nil, function(result, failure)
    table.insert(told, result and "accepted" or failure.kind)
  end)
  return request ~= nil, err
]]
local TOLD = "wait_until(function() return memory.told[1] end) ngx.sleep(0.01) return table.concat(memory.told, ' ')"

describe("nginx", function()
  local it_runs, expected

  local function check(it)
    assert.equal("", it:problems(unpack(expected)))
    expected = {}
  end

  setup(function()
    it_runs = nginx.start()
  end)

  teardown(function()
    assert.equal(0, it_runs:stop "QUIT")
    expected = {}
    check(it_runs)
  end)

  before_each(function()
    expected = {}
    it_runs:run("content", "for name in pairs(memory) do memory[name] = nil end")
  end)

  -- Whatever happened: nothing is left running, and the log is clean.
  after_each(function()
    assert.equal(0, it_runs:run("content", "wait_until(function() return timers() == 0 end) return client:in_flight()"))
    check(it_runs)
  end)

  local function run(...)
    return it_runs:run(...)
  end

  for _, phase in ipairs { "rewrite", "access", "content", "timer", "ssl_cert" } do
    it("waits in " .. phase .. " while the worker serves others", function()
      local args = zone_with(slow(1.5))
      args.tag = "slow"
      if phase == "ssl_cert" then
        local code = "memory.asked = true wait_until(function() return memory.go end)" .. PURGE
        -- openssl is waited for: what happens meanwhile is seen from inside.
        run("content", [[
          assert(ngx.timer.at(0, function()
            wait_until(function() return memory.asked end)
            memory.go = true
            wait_until(function() return client:in_flight() > 0 end)
            memory.meanwhile = not memory.purged
          end))
        ]])
        assert.equal(1, (it_runs:run_tls(phase, code, args)))
        assert.is_true(run("content", "return memory.meanwhile"))
      else
        local finish = it_runs:begin(phase, PURGE, args)
        edge.requests(args.zone, 1)
        assert.is_nil(run("content", "return memory.purged"))
        assert.equal(1, (finish()))
      end
    end)
  end

  for _, phase in ipairs { "set", "header_filter", "body_filter", "log", "balancer", "ssl_session_store" } do
    it("says in " .. phase .. " that purge cannot wait there, and sends nothing", function()
      local args = zone_with()
      local in_tls = phase:find "ssl"
      local accepted, err = it_runs[in_tls and "run_tls" or "run"](it_runs, phase, PURGE, args)
      assert.is_nil(accepted)
      assert.equal("invalid_request", err.kind)
      assert.matches("cannot wait.*use start", err.message)
      assert.same({ tags = { "a" }, zone_id = args.zone }, err.remaining)
      run("content", "wait_until(function() return timers() == 0 end)")
      assert.equal(0, edge.counts(args.zone).requests)
    end)
  end

  for _, phase in ipairs {
    "rewrite", "access", "content", "timer", "set", "header_filter", "body_filter", "log", "balancer",
    "ssl_client_hello", "ssl_cert", "ssl_session_fetch", "ssl_session_store",
  } do
    it("starts in " .. phase, function()
      local args = zone_with()
      local in_tls = phase:find "ssl"
      local started, err = it_runs[in_tls and "run_tls" or "run"](it_runs, phase, START, args)
      assert.is_nil(err)
      assert.is_true(started)
      assert.equal("accepted", run("content", TOLD))
      -- A phase of a handshake came several times.
      assert.is_true(in_tls and edge.counts(args.zone).requests >= 1 or edge.counts(args.zone).requests == 1)
    end)
  end

  for _, way in ipairs { "http", "tls" } do
    it("keeps the contract over " .. way, function()
      local text = contract.prepare(edge, { tls = way == "tls", stores = { "sqlite", "redis" } })
      local before = #it_runs:log()
      local report = run(way == "tls" and "timer" or "content", [[
        return contract.run {
          plan = loadstring(args.text)(),
          wait_until = function(fn) while not fn() do ngx.sleep(0.002) end end,
          spawn = function(fn) ngx.thread.spawn(fn) end,
          polls = true,
        }
      ]], { text = text })
      assert.same({}, contract.verify(edge, text, report, it_runs:log():sub(before)))
      expected = { "raised:" }
    end)
  end

  it("waits in 32 threads, a coroutine of one's own and several clients, with one pump and its watch", function()
    local args = zone_with(slow(1.5))
    local accepted, running = run("content", [[
      local clients, threads, accepted = { client, new(), new() }, {}, 0
      for i = 1, 32 do
        threads[i] = ngx.thread.spawn(function()
          return coroutine.wrap(function()
            local result = assert(clients[i % 3 + 1]:purge { zone_id = args.zone, tags = { "slow" .. i } })
            accepted = accepted + result.accepted
          end)()
        end)
      end
      ngx.sleep(0.1)
      local running = timers()
      for i = 1, 32 do ngx.thread.wait(threads[i]) end
      return accepted, running
    ]], args)
    assert.equal(32, accepted)
    assert.equal(2, running)
    assert.equal(32, edge.counts(args.zone).requests)
  end)

  it("looks often at first, then less often, and never when idle", function()
    host.tries(function()
      local args = zone_with(slow(1.2))
      local report, idle, looks = run("content", [[
        local semaphore, intervals, waits = require "ngx.semaphore", {}, 0
        local wait = semaphore.wait
        function semaphore:wait(seconds)
          if seconds <= 0.02 then
            waits = waits + 1
            if intervals[#intervals] ~= seconds then table.insert(intervals, seconds) end
          end
          return wait(self, seconds)
        end
        local request = assert(client:start { zone_id = args.zone, tags = { "slow" } })
        assert(request:wait())
        semaphore.wait = wait
        local looks = waits
        wait_until(function() return timers() == 0 end)
        ngx.sleep(0.05)
        return table.concat(intervals, " "), waits - looks, looks
      ]], args)
      assert.equal(0, idle)
      return report == "0.001 0.002 0.004" and looks < 600, report .. ": " .. looks
    end)
  end)

  it("looks at once when a purge joins a slow one", function()
    local args = zone_with(slow(2))
    assert.is_true(run("content", [[
      local semaphore, woken = require "ngx.semaphore", false
      local wait = semaphore.wait
      local request = assert(client:start { zone_id = args.zone, tags = { "slow" } })
      ngx.sleep(0.2)
      function semaphore:wait(seconds)
        local ok, problem = wait(self, seconds)
        woken = woken or ok and seconds <= 0.02
        return ok, problem
      end
      assert(client:purge { zone_id = args.zone, tags = { "a" } })
      semaphore.wait = wait
      assert(request:wait())
      return woken
    ]], args))
  end)

  it("says so inside a function of C, and sends nothing", function()
    local args = zone_with()
    local accepted, err = run("content", [[
      local result, err
      table.sort({ 1, 2 }, function(a, b)
        if not err then result, err = client:purge { zone_id = args.zone, tags = { "a" } } end
        return a < b
      end)
      ngx.sleep(0.05)
      return result, err
    ]], args)
    assert.is_nil(accepted)
    assert.matches("cannot wait here %(.*C%-call boundary.*use start", err.message)
    assert.equal(0, edge.counts(args.zone).requests)
  end)

  for _, phase in ipairs { "content", "abort" } do
    it("survives a client that goes away, lua_check_client_abort " .. (phase == "abort" and "on" or "off"), function()
      local args = zone_with(slow(1.5))
      args.tag = "slow"
      local list = {}
      for i = 1, 5 do
        list[i] = select(2, it_runs:begin(phase, "ngx.on_abort(function() ngx.exit(499) end)" .. PURGE, args))
      end
      edge.requests(args.zone, 5)
      for _, connection in ipairs(list) do
        connection:close()
      end
      assert.equal(phase == "content" or nil, run("content", [[
        wait_until(function() return client:in_flight() == 0 end)
        ngx.sleep(0.02)
        return memory.purged
      ]]))
      assert.equal(5, edge.counts(args.zone).accepted)
      assert.equal(1, run("content", PURGE, args))
    end)
  end

  it("sends what a thread has read of an iterator before it was killed there", function()
    local args = zone_with()
    assert.same({ 1, 0 }, { it_runs:run("content", [[
      local client, count = new { zone_id = args.zone, max_items = 2 }, 0
      local thread = ngx.thread.spawn(function()
        client:start { tags = function()
          count = count + 1
          if count > 3 then ngx.sleep(60) end
          return "t" .. count
        end }
      end)
      ngx.sleep(0.05)
      ngx.thread.kill(thread)
      wait_until(function() return client:in_flight() == 0 end)
      return client:stats().finished, client:in_flight()
    ]], args) })
    assert.equal(2, edge.counts(args.zone).items)
  end)

  it("survives a waiting thread that is killed", function()
    local args = zone_with(slow(1.5))
    assert.is_true(run("content", [[
      local thread = ngx.thread.spawn(function() client:purge { zone_id = args.zone, tags = { "slow" } } end)
      assert(client:in_flight() == 1 and ngx.thread.kill(thread))
      collectgarbage()
      wait_until(function() return client:in_flight() == 0 end)
      return true
    ]], args))
    assert.equal(1, edge.counts(args.zone).accepted)
  end)

  -- ---- on_done ----

  it("logs what an on_done raises", function()
    local args = zone_with()
    assert.equal("raises accepted", run("content", [[
      local told = {}
      for i = 1, 2 do
        assert(client:start({ zone_id = args.zone, tags = { "a" } }, nil, function()
          told[i] = i == 1 and "raises" or "accepted"
          if i == 1 then error "oops" end
        end))
      end
      wait_until(function() return told[1] and told[2] end)
      return table.concat(told, " ")
    ]], args))
    nginx.wait_until(function()
      return it_runs:log():find("cfpurge: [^\n]*oops")
    end)
    expected = { "oops" }
  end)

  for what, code in pairs {
    sleeps = "ngx.sleep(3)", purges = "assert(client:purge(params))", exits = "ngx.exit(0)",
  } do
    it("lets the others go on while an on_done " .. what, function()
      local args = zone_with { { match = "later", delay = 0.1, pass = true } }
      local took = run("content", ([[
        local params, ended, later = { zone_id = args.zone, tags = { "a" } }, false, false
        assert(client:start({ zone_id = args.zone, tags = { "later" } }, nil, function() later = true end))
        assert(client:start(params, nil, function() %s ended = true end))
        local began = ngx.now()
        assert(client:purge { zone_id = args.zone, tags = { "later" } })
        wait_until(function() return later end)
        local took = ngx.now() - began
        wait_until(function() return ended or args.exits end)
        return took
      ]]):format(code), { zone = args.zone, exits = what == "exits" or nil })
      assert.is_true(took < 2.5, took)
    end)
  end
end)
