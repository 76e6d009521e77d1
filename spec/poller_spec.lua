-- The one descriptor of a client, how long a step may be put off, and the builds for systems without epoll.
local elsewhere = require "spec.support.where"
if elsewhere "engine" then return end

local api = require "spec.support.api"
local edge = require "spec.support.edge"
local client = require "spec.support.client"
local host = require "spec.support.host"
local socket = require "socket"

local env = edge.up()
local system = host.system()
local tags = { tags = { "a" } }

-- Tags of which the server of api refuses none.
local function tags_of(count)
  local list = api.tags(count)
  for i, tag in ipairs(list) do list[i] = tag .. "x" end
  return list
end

-- Is the client's descriptor readable within so many seconds?
local function readable(c, patience)
  local fd = c:fileno()
  local object = { getfd = function() return fd end, dirty = function() return false end }
  return #socket.select({ object }, nil, patience or 0) == 1
end

-- On a slow machine a timer of libcurl's may fall due after the last answer: one step, and it is over.
local function is_quiet(c)
  if readable(c) then c:step(0) end
  return not readable(c)
end

describe("step", function()
  it("does not wait where a request ended as it was begun, and waits for the next", function()
    local core = require "cfpurge.core"
    local options, zone = client.options { rate = { requests = 0.01, requests_bucket = 1 } }
    edge.script(zone, { { delay = 20, pass = true } })
    local c = core.new(options)
    assert(c:start(tags))
    for _ = 1, 4 do c:step(0.1) end
    local began = core.now()
    local refused = assert(c:start(tags, { deadline = 1 }))
    assert.equal(1, c:step(10))
    assert.is_true(core.now() - began < 1.5)
    local left = core.now()
    c:step(0.2)
    assert.is_true(core.now() - left > 0.1, "told of twice")
    local id, _, err = c:take()
    assert.same({ refused, "timeout" }, { id, err.kind })
    c:close()
  end)
end)

describe("fileno", function()
  for name, options in pairs {
    ["in clear text"] = {}, ["over TLS"] = { base_url = env.API_TLS, ca_file = env.CA_FILE },
  } do
    it("is readable whenever step has work, and no longer, " .. name, function()
      local c, zone = client.new(options)
      edge.script(zone, { { match = '"late"', delay = 0.3, pass = true, times = 0 } })
      assert.is_false(readable(c))
      assert.is_nil(c:timeout())
      local requests = {}
      for i = 1, 10 do requests[i] = assert(c:start { tags = { i == 10 and "late" or "t" .. i } }) end
      local wakes, started = 0, system.now()
      while c:stats().in_flight > 0 do
        assert.is_true(readable(c, 10), "asleep for ever")
        -- Level-triggered: who does not step is told again.
        assert.is_true(readable(c))
        c:step(0)
        wakes = wakes + 1
        assert.is_true(system.now() - started < 10)
      end
      for _, request in ipairs(requests) do assert(request:result()) end
      assert.is_true(wakes < 300, wakes .. " wakes")
      c:step(0)
      assert.is_false(readable(c))
      assert.is_nil(c:timeout())
      c:close()
      assert.is_nil(c:fileno())
    end)
  end

  it("is still while the server is slow", function()
    local c, zone = client.new()
    assert(c:purge(tags)) -- the connection is there
    edge.script(zone, { { delay = 0.6, pass = true } })
    local wakes, started = 0, system.now()
    local request = c:start(tags)
    while edge.counts(zone).requests < 2 do c:step(0) end
    for _ = 1, 3 do c:step(0) end
    while not request:done() do
      assert.is_true(readable(c, 10))
      wakes = wakes + 1
      c:step(0)
    end
    assert.is_true(wakes <= 8, wakes .. " wakes")
    assert.is_true(system.now() - started > 0.5)
    c:close()
  end)

  it("is still while a request waits for a bucket that those in flight hold", function()
    local c, zone = client.new { rate = { requests = 100, requests_bucket = 8 } }
    assert(c:purge(tags)) -- the connection is there
    edge.script(zone, { { delay = 2, pass = true, times = 6 } })
    local requests = {}
    for i = 1, 8 do requests[i] = assert(c:start(tags)) end
    while edge.counts(zone).requests < 6 do c:step(0.01) end
    for _ = 1, 3 do c:step(0) end
    assert.is_true(c:stats().queued >= 1)
    local wakes = 0
    while c:stats().in_flight > 0 do
      assert.is_true(readable(c, 10))
      wakes = wakes + 1
      c:step(0)
    end
    for _, request in ipairs(requests) do assert(request:result()) end
    assert.equal(9, edge.counts(zone).requests)
    assert.is_true(wakes <= 60, wakes .. " wakes")
    c:close()
  end)

  it("wakes for a retry, a timeout and a deadline", function()
    local late = { delay = 20, pass = true, times = 0 }
    for name, case in pairs {
      retry = { { { status = 503 } }, { max_retry_wait = 0.2 } },
      timeout = { { late }, { timeout = 0.2, max_retries = 0 } },
      deadline = { { late }, { deadline = 0.2 } },
    } do
      local c, zone = client.new(case[2])
      edge.script(zone, case[1])
      local started = system.now()
      local request = c:start(tags)
      while not request:done() do
        assert.is_true(c:timeout() ~= nil and c:timeout() <= 10.1, name)
        assert.is_true(readable(c, 15), name)
        c:step(0)
      end
      local took = system.now() - started
      assert.is_true(took > 0.18 and took < 15, name .. " took " .. took)
      c:close()
    end
  end)

  it("stays readable while an ending waits to be taken", function()
    local c = require("cfpurge.core").new((client.options()))
    local quick, other = c:start(tags), c:start(tags)
    local fd = c:fileno()
    while c:step(10) > 0 do end
    assert.is_true(readable(c))
    assert.equal(0, c:timeout())
    assert.equal(other, (c:take(other)))
    assert.is_true(readable(c))
    assert.equal(quick, (c:take()))
    assert.is_true(is_quiet(c))
    -- By cancel as well, which no server's answer announces.
    local third = c:start(tags)
    assert.is_true(c:cancel(third))
    assert.is_true(readable(c))
    -- What was left untaken does not make a wait return at once, or a host would spin.
    local zone
    local options = client.options()
    zone = options.zone_id
    edge.script(zone, { { delay = 0.3, pass = true } })
    assert(c:start(tags, { zone_id = zone }))
    local steps = 0
    while c:step(10) > 0 do steps = steps + 1 end
    assert.is_true(steps < 30, steps .. " steps")
    while c:take() do end
    assert.is_true(is_quiet(c))
    assert.equal(fd, c:fileno())
    c:close()
  end)

  it("is there before anything is in flight, and the same afterwards", function()
    local c = client.new()
    local fd = c:fileno()
    assert.is_true(fd > 2)
    for _ = 1, 3 do
      assert(c:purge(tags))
      assert.equal(fd, c:fileno())
    end
    c:close()
  end)
end)

describe("step", function()
  it("does not wait where it was told so, and no longer than it was told", function()
    local c, zone = client.new()
    edge.script(zone, { { delay = 5, pass = true } })
    local request = c:start(tags)
    local started, slow, waits = system.now(), 0, 0
    for _ = 1, 50 do
      local before = system.now()
      c:step(0)
      if system.now() - before > 0.02 then slow = slow + 1 end
    end
    -- The machine itself may stand still for a while.
    assert.is_true(slow < 10, slow)
    while edge.counts(zone).requests < 1 do c:step(0) end
    repeat waits = waits + 1 until c:step(0.1) == 0
    assert.is_true(waits > 2, waits)
    assert(request:result())
    assert.is_true(system.now() - started > 4.9)
    assert.equal(0, c:step())
    c:close()
  end)

  for name, options in pairs {
    ["in clear text"] = {}, ["over TLS"] = { base_url = env.API_TLS, ca_file = env.CA_FILE },
  } do
    it("that comes late finds what was there in time, and ends what was not, " .. name, function()
      options.timeout, options.max_retries = 2, 0
      local c, zone = client.new(options)
      assert(c:purge(tags))
      edge.script(zone, { { match = "never", delay = 20, pass = true }, { delay = 0.5, pass = true, times = 0 } })
      local kinds, started = {}, system.now()
      for i = 1, 17 do
        assert(c:start({ tags = { i == 9 and "never" or "t" } }, nil, function(_, err)
          local kind = err and err.kind or "accepted"
          kinds[kind] = (kinds[kind] or 0) + 1
        end))
      end
      while edge.counts(zone).requests < 18 do c:step(0) end
      socket.sleep(math.max(started + 2.5 - system.now(), 0.7))
      while edge.counts(zone).accepted < 17 do socket.sleep(0.01) end
      socket.sleep(0.05)
      while c:step() > 0 do assert.is_true(system.now() - started < 10) end
      assert.same({ accepted = 16, timeout = 1 }, kinds)
    end)
  end

  -- Their ends are news of which nothing is wanted: more than one look takes.
  it("that comes late finds its answer behind the ends of 100 idle connections", function()
    local server = api.start { delay = 0.2, idle = 0.2 }
    finally(api.stop)
    local c = api.client(server, { base_url = server.clear_url, max_retries = 0, max_connections = 100, timeout = 0.4 })
    for _, one in pairs(api.burst(c, tags_of(100), { timeout = 10 })) do assert(one.result, tostring(one.err)) end
    local request = assert(c:start { tags = tags_of(1) })
    for _ = 1, 5 do c:step(0) end
    socket.sleep(0.6)
    while c:step(0) > 0 do assert.is_nil(select(2, request:result())) end
    assert(request:result())
    c:close()
  end)

  it("ends each of several when its own time is over, and one without a limit with its answer", function()
    local c, zone = client.new { max_retries = 0 }
    edge.script(zone, { { match = '"slow"', times = 0, delay = 20, pass = true },
      { match = '"late"', times = 0, delay = 0.7, pass = true } })
    local requests = {}
    for i, case in ipairs { { "slow", 0.1 }, { "slow", 0.4 }, { "late", math.huge }, { "late", 3e6 }, { "slow", 0.2 } } do
      requests[i] = assert(c:start({ tags = { case[1] } }, { timeout = case[2], connect_timeout = math.huge }))
    end
    while c:step() > 0 do assert.is_true(#requests == 5) end
    local kinds = {}
    for i, request in ipairs(requests) do
      local result, err = request:result()
      kinds[i] = result and "accepted" or err.kind
    end
    assert.same({ "timeout", "timeout", "accepted", "accepted", "timeout" }, kinds)
  end)

  it("waits without working: a slow purge costs next to no CPU", function()
    for _, options in ipairs { {}, { base_url = env.API_TLS, ca_file = env.CA_FILE } } do
      local c, zone = client.new(options)
      assert(c:purge(tags))
      edge.script(zone, { { delay = 0.7, pass = true } })
      local cpu, started = system.cpu(), system.now()
      assert(c:purge(tags))
      cpu = system.cpu() - cpu
      assert.is_true(system.now() - started > 0.65)
      assert.is_true(host.watched or cpu < 0.35, cpu .. " s of CPU")
      -- Many of them, too.
      edge.script(zone, { { delay = 1, pass = true, times = 0 } })
      for _ = 1, 50 do c:start(tags) end
      cpu = system.cpu()
      while c:step() > 0 do end
      assert.is_true(host.watched or system.cpu() - cpu < 0.5)
      c:close()
    end
  end)
end)

describe("a build", function()
  local program = [[
    local report = { fileno = {} }
    for i, base in ipairs { edge.env.API_HTTP, edge.env.API_TLS } do
      local c, zone = client.new { base_url = base, ca_file = edge.env.CA_FILE, max_retry_wait = 0.2 }
      report.fileno[i] = c:fileno() ~= nil
      assert(c:purge { tags = { "a" } })
      edge.script(zone, { { match = '"retry"', status = 503 },
        { match = '"slow"', times = 0, delay = 20, pass = true },
        { match = '"late"', times = 0, delay = 0.2, pass = true } })
      local started = system.now()
      assert(assert(c:purge { tags = { "retry" } }).attempts == 2)
      local took = system.now() - started
      assert(took > 0.19 and took < 15, took)
      local slow, ended = assert(c:start { tags = { "slow" } }), 0
      local function on_done(result, err) assert(result, tostring(err)) ended = ended + 1 end
      for n = 1, 50 do assert(c:start({ tags = { n % 2 == 0 and "late" or "t" } }, nil, on_done)) end
      local cpu = system.cpu()
      while c:step() > 1 do end
      cpu = system.cpu() - cpu
      assert(ended == 50)
      report.cpu = math.max(report.cpu or 0, cpu)
      assert(slow:cancel() and not slow:cancel())
      assert(select(2, slow:result()).kind == "cancelled")
      local _, err = c:purge({ tags = { "slow" } }, { timeout = 0.2, max_retries = 0 })
      assert(err.kind == "timeout")
      assert(c:timeout() == nil)
      local last = c:start { tags = { "slow" } }
      c:step(0)
      c:close()
      assert(select(2, last:result()).kind == "closed")
    end
    return report]]

  it("without epoll waits by poll(2) and has no descriptor", function()
    host.build("poll", "-DCF_POLLER_POLL")
    local report = host.run(program, { build = "poll" })
    assert.same({ false, false }, report.fileno)
    assert.is_true(host.watched or report.cpu < 0.25, report.cpu)
  end)

  it("without epoll notices a fork as well", function()
    host.build("poll", "-DCF_POLLER_POLL")
    local connections = host.run([[
      local c, zone = client.new { max_retries = 0 }
      assert(c:purge { tags = { "a" } })
      local pid = system.fork()
      if pid == 0 then os.exit(c:purge { tags = { "child" } } and 0 or 1, true) end
      assert(system.wait(pid) == 0)
      assert(c:purge { tags = { "b" } })
      local list = {}
      for i, request in ipairs(edge.requests(zone)) do list[i] = request.connection end
      return list]], { build = "poll" })
    assert.equal(3, #connections)
    assert.equal(connections[1], connections[3])
    assert.are_not.equal(connections[1], connections[2])
  end)
end)
