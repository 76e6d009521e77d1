-- What becomes of purges where nginx's workers fork, reload, quit, stop, or have no timer left (loop/openresty.lua).
local elsewhere = require "spec.support.where"
if elsewhere "luajit" then return end

local socket = require "socket"
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local nginx = require "spec.hosts.nginx"

local function slow_zone(delay)
  local zone = edge.zone()
  edge.script(zone, { { match = "slow", delay = delay, pass = true, times = 0 } })
  return zone
end

-- What an on_done was told goes to the error log, which outlives the worker.
local START = [[
  for i = 1, args.count or 1 do
    local function on_done(result, err)
      ngx.log(ngx.NOTICE, "told: ", result and "accepted" or err.kind, args.also and args.also(result, err) or "")
    end
    local request, err = client:start({ zone_id = args.zone, tags = { "slow" } }, nil, on_done)
    if not request then return nil, err end
  end
  return true
]]
local PURGE = [[
  local result, err = client:purge { zone_id = args.zone, tags = { "slow" } }
  return result and result.accepted, err
]]

local function count(text, pattern)
  return select(2, text:gsub(pattern, ""))
end

describe("nginx's workers", function()
  local it_runs, hanging, hanging_began, hanging_zone, answers

  local function start(options)
    it_runs = nginx.start(options)
    return it_runs
  end

  -- It takes 4 seconds; the other tests run meanwhile.
  setup(function()
    hanging_zone = slow_zone(60)
    hanging = nginx.start()
    answers = {}
    for i = 1, 3 do
      answers[i] = hanging:begin("content", PURGE, { zone = hanging_zone })
    end
    assert(hanging:run("log", [[
      function args.also()
        return " again: " .. tostring(select(2, client:start { zone_id = args.zone, tags = { "x" } }))
      end
    ]] .. START, { zone = hanging_zone, count = 3 }))
    edge.requests(hanging_zone, 6)
    hanging_began = socket.gettime()
    hanging:signal "QUIT"
  end)

  after_each(function()
    if it_runs then
      it_runs:stop()
      assert.equal("", it_runs:problems())
      it_runs = nil
    end
  end)

  it("share a client that the master made and used, and nothing else", function()
    local zone = edge.zone()
    local it = start {
      workers = 2,
      plan = { zone = zone },
      init = [[
        local core
        host.client, core = require("spec.support.client").beneath({}, nil, host.new) -- its Lua layer cannot wait here
        assert(core:purge { zone_id = host.plan.zone, tags = { "master" } })
      ]],
      init_worker = [[
        assert(ngx.timer.at(0, function()
          local name = "worker" .. ngx.worker.id()
          for i = 1, 10 do
            assert(host.client:purge { zone_id = host.plan.zone, tags = { name } })
          end
          host.wait_until(function() return host.timers() == 1 end)
          ngx.log(ngx.NOTICE, name, " has ", table.concat(host.descriptors(), " "), ";")
        end))
      ]],
    }
    local owner = {}
    for _, request in ipairs(edge.requests(zone, 21)) do
      local who = request.body:match '"tags":%["(%w+)"'
      assert.equal(who, owner[request.connection] or who)
      owner[request.connection] = who
    end
    local connections = {}
    for _, who in pairs(owner) do
      connections[who] = (connections[who] or 0) + 1
    end
    assert.same({ master = 1, worker0 = 1, worker1 = 1 }, connections)
    -- Each worker: nginx's own epoll, ours, and the master's, which the fork left open and nobody uses.
    nginx.wait_until(function()
      return count(it:log(), "worker%d has ") == 2
    end)
    for list in it:log():gmatch "worker%d has ([^;]*);" do
      assert.equal(3, count(list, "anon_inode:%[eventpoll%]"))
      assert.equal(2, count(list, "anon_inode:%[timerfd%]"))
    end
    local sockets = {}
    for line in io.popen("ls -l /proc/" .. it.master .. "/fd"):lines() do
      local inode = line:match "socket:%[(%d+)%]"
      if inode then
        sockets[inode] = true
      end
    end
    local api = edge.env.API_HTTP:match ":(%d+)/"
    local own = 0
    for line in io.lines "/proc/net/tcp" do
      local port, inode = line:match "^%s*%d+: %x+:%x+ %x+:(%x+) 01 %S+ %S+ %S+%s+%S+%s+%S+ (%d+)"
      if port == ("%04X"):format(api) and sockets[inode] then
        own = own + 1
      end
    end
    assert.equal(1, own)
  end)

  it("refuse to purge or start in init_by_lua, to purge in init_worker, and send nothing", function()
    local zone = edge.zone()
    local it = start {
      plan = { zone = zone },
      init = [[
        local function tell(ok, err) table.insert(host.memory, tostring(ok) .. " " .. tostring(err)) end
        host.tell = tell
        tell(host.client:purge { zone_id = host.plan.zone, tags = { "a" } })
        tell(host.client:start { zone_id = host.plan.zone, tags = { "a" } })
      ]],
      init_worker = [[ host.tell(host.client:purge { zone_id = host.plan.zone, tags = { "a" } }) ]],
    }
    local a, b, c = it:run("content", "return unpack(memory)")
    assert.matches("^nil invalid_request: .*init_by_lua.*use start in init_worker_by_lua", a)
    assert.equal(a, b)
    assert.matches("^nil invalid_request: purge cannot wait here .*init_worker_by_lua.*use start", c)
    assert.equal(0, it:run("content", "wait_until(function() return timers() == 0 end) return timers()"))
    assert.equal(0, edge.counts(zone).requests)
  end)

  it("start in init_worker", function()
    local zone = edge.zone()
    local it = start {
      workers = 2,
      plan = { zone = zone },
      init_worker = "local args, client = { zone = host.plan.zone }, host.client\n" .. START,
    }
    nginx.wait_until(function()
      return count(it:log(), "told: accepted") == 2
    end)
    assert.equal(2, edge.counts(zone).accepted)
  end)

  it("finish what is in flight when nginx reloads or quits", function()
    local zone = slow_zone(0.6)
    local it = start()
    local old = it:run("content", "return ngx.worker.pid()")
    local finish = it:begin("content", PURGE, { zone = zone })
    assert(it:run("log", START, { zone = zone, count = 3 }))
    edge.requests(zone, 4)
    it:signal "HUP"
    nginx.wait_until(function()
      return it:run("content", "return ngx.worker.pid()") ~= old
    end)
    -- The new worker has a client of its own.
    local again = it:begin("content", PURGE, { zone = zone })
    assert.equal(1, (finish()))
    nginx.wait_until(function()
      return not nginx.read("/proc/" .. old .. "/stat")
    end, 3)
    assert.equal(3, count(it:log(), "told: accepted"))
    assert(it:run("log", START, { zone = zone, count = 3 }))
    edge.requests(zone, 8)
    assert.equal(0, it:stop "QUIT")
    assert.equal(1, (again()))
    assert.equal(6, count(it:log(), "told: accepted"))
    assert.equal(8, edge.counts(zone).accepted)
  end)

  it("quit at once when nothing is in flight", function()
    host.tries(function()
      local it = start()
      assert.equal(1, (it:run("content", PURGE, { zone = edge.zone() })))
      local began = socket.gettime()
      assert.equal(0, it:stop "QUIT")
      return socket.gettime() - began < 3, "not at once"
    end)
  end)

  it("carry what begins while nginx quits", function()
    local zone = slow_zone(0.3)
    local it = start()
    -- Where the first timer of a worker is made as late as that, nginx itself complains in the end.
    it:run("content", "ngx.timer.at(0, function() end) wait_until(function() return timers() == 0 end)")
    local finish = it:begin("content", "wait_until(ngx.worker.exiting)" .. START, { zone = zone })
    it:run("content", "return 1")
    it:signal "QUIT"
    assert.is_true(finish())
    assert.equal(0, it:stop "QUIT")
    assert.equal(1, count(it:log(), "told: accepted"))
  end)

  it("tell of all that is queued before they are killed, however much it is", function()
    host.tries(function()
      local zone = slow_zone(60)
      local it = start()
      assert(it:run("log", [[
        local told = 0
        for i = 1, args.count do
          assert(client:start({ zone_id = args.zone, tags = { "slow" } }, nil, function(_, err)
            told = told + (err.kind == "cancelled" and 1 or 0)
            if told == args.count then ngx.log(ngx.NOTICE, "told of all") end
          end))
        end
        return true
      ]], { zone = zone, count = 40000 }))
      local began = socket.gettime()
      assert.equal(0, it:stop "QUIT")
      local took = socket.gettime() - began
      assert.equal(1, count(it:log(), "told of all"))
      return took < 4, took
    end)
  end)

  it("serve others meanwhile, however many begin", function()
    host.tries(function()
      local zone = edge.zone()
      local it = start()
      local finish = it:begin("content", [[
        local now = require("resty.core.time").monotonic_time
        local ended, longest, told = false, 0, 0
        ngx.thread.spawn(function()
          while not ended do
            local before = now()
            ngx.sleep(0.001)
            longest = math.max(longest, now() - before)
          end
        end)
        for i = 1, args.count do
          assert(client:start({ zone_id = args.zone, tags = { "a" } }, nil, function() told = told + 1 end))
          if i % 100 == 0 then ngx.sleep(0.001) end
        end
        wait_until(function() return told == args.count end)
        ended = true
        return longest
      ]], { zone = zone, count = 20000 })
      local longest = finish()
      -- It was seconds where each start did all of its work. spec/bench tells the milliseconds.
      return longest < 0.1, longest
    end)
  end)

  for _, exit_worker in ipairs { "", "host.client:close()" } do
    local by = exit_worker == "" and "the state that closes" or "exit_worker_by_lua"
    it("stop at once; what is in flight is reported by " .. by, function()
      host.tries(function()
        local zone = slow_zone(60)
        local it = start { exit_worker = exit_worker }
        local connections = {}
        for i = 1, 5 do
          connections[i] = select(2, it:begin("content", PURGE, { zone = zone }))
        end
        -- Anything of the request that is gone must be out of reach.
        assert(it:run("log", [[
          args.also = function()
            return " timer: " .. tostring(pcall(ngx.timer.at, 0, function() end)) .. tostring(ngx.get_phase())
          end
        ]] .. START, { zone = zone, count = 5 }))
        edge.requests(zone, 10)
        local began = socket.gettime()
        assert.equal(0, it:stop "TERM")
        local took = socket.gettime() - began
        assert.equal(5, count(it:log(), "told: closed"))
        assert.equal(exit_worker == "" and 5 or 0, count(it:log(), "timer: falseinit"))
        for _, connection in ipairs(connections) do
          connection:close()
        end
        return took < 3, took
      end)
    end)
  end

  it("need not cache code", function()
    local zone = edge.zone()
    local it = start { http = "lua_code_cache off;" }
    local function descriptors()
      return it:run("content", "collectgarbage() return #descriptors()")
    end
    assert.equal(1, (it:run("content", PURGE, { zone = zone })))
    local before = descriptors()
    for i = 1, 10 do
      select(2, it:begin("log", "client:start { zone_id = args.zone, tags = { 'a' } }", { zone = zone })):close()
      assert.equal(1, (it:run("content", PURGE, { zone = zone })))
      edge.requests(zone, 2 * i + 1)
    end
    assert.equal(0, it:run("content", "wait_until(function() return timers() == 0 end) return timers()"))
    assert.equal(21, edge.counts(zone).accepted)
    -- A state that stayed open would keep four of them.
    assert.is_true(descriptors() < before + 10)
    it:stop()
    it:problems "lua_code_cache is off"
  end)

  it("say so where no timer may be pending, and send nothing", function()
    local zone = edge.zone()
    local it = start { http = "lua_max_pending_timers 1;" }
    local ok, err, accepted = it:run("content", [[
      assert(ngx.timer.at(0.1, function() end))
      local request, err = client:start { zone_id = args.zone, tags = { "a" } }
      local accepted = client:purge { zone_id = args.zone, tags = { "a" } }
      wait_until(function() return timers() == 0 end)
      return request, err, accepted
    ]], { zone = zone })
    assert.is_nil(ok)
    assert.is_nil(accepted)
    assert.equal("invalid_request", err.kind)
    assert.matches("too many pending timers", err.message)
    assert.same({ tags = { "a" }, zone_id = zone }, err.remaining)
    assert.equal(0, edge.counts(zone).requests)
    assert.equal(1, (it:run("content", PURGE, { zone = zone })))
  end)

  it("need no timer to run for a purge, and carry later what nginx dropped", function()
    local zone = edge.zone()
    local it = start { http = "lua_max_running_timers 1;" }
    local before, accepted, after = it:run("content", [[
      local go
      assert(ngx.timer.at(0, function() wait_until(function() return go end) end))
      wait_until(function() return ngx.timer.running_count() == 1 end)
      local request = assert(client:start { zone_id = args.zone, tags = { "a" } })
      ngx.sleep(0.1)
      local before = request:done()
      local accepted = assert(client:purge { zone_id = args.zone, tags = { "a" } }).accepted
      go = true
      return before, accepted, assert(request:wait()).accepted
    ]], { zone = zone })
    assert.is_false(before)
    assert.equal(1, accepted)
    assert.equal(1, after)
    assert.equal(2, edge.counts(zone).accepted)
    it:stop()
    assert.equal("", it:problems "1 lua_max_running_timers are not enough")
  end)

  it("work as the README shows it", function()
    local zone = edge.zone()
    local it = start(nginx.recipe(zone))
    assert.equal("accepted: 1\n", nginx.receive(it:request "/purge?tag=node%3A1"))
    assert.equal("saved\n", nginx.receive(it:request "/articles/one"))
    local requests = edge.requests(zone, 2)
    assert.equal('{"tags":["node:1"]}', requests[1].body)
    assert.equal('{"tags":["one"]}', requests[2].body)
    nginx.wait_until(function()
      return it:log():find("purge: accepted", 1, true)
    end)
    it:signal "HUP"
    nginx.wait_until(function()
      return count(it:log(), "start worker process %d") == 2 and count(it:log(), "exited with code 0") == 1
    end)
    assert.equal("accepted: 1\n", nginx.receive(it:request "/purge?tag=news"))
  end)

  it("cancel after 4 seconds what does not end when nginx quits", function()
    nginx.wait_until(function()
      return hanging:ended()
    end)
    local took = socket.gettime() - hanging_began
    for _, answer in ipairs(answers) do
      local accepted, err = answer()
      assert.is_nil(accepted)
      assert.equal("cancelled", err.kind)
    end
    assert.equal(3, count(hanging:log(), "told: cancelled again: invalid_request: [^\n]*nginx is shutting down"))
    assert.is_true(took > 3.5, took)
    assert.equal("", hanging:problems())
    assert.equal(6, edge.counts(hanging_zone).requests)
  end)
end)
