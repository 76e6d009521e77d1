-- The one descriptor of a client, seen by hosts that wait for nothing else: poll(2), and step(0) when it is readable.
local elsewhere = require "spec.support.where"
if elsewhere "engine" then return end

local edge = require "spec.support.edge"
local client = require "spec.support.client"
local host = require "spec.support.host"
local core = require "cfpurge.core"

local env = edge.up()
local system = host.system()
local tags = { tags = { "a" } }
local PATIENCE = 20

local function with(base, more)
  for name, value in pairs(more or {}) do base[name] = value end
  return base
end

local function plain(more) return with({ base_url = env.API_HTTP }, more) end
local function http2(more) return with({ base_url = env.API_TLS, ca_file = env.CA_FILE }, more) end
local function http1(more) return with({ base_url = env.API_TLS1, ca_file = env.CA_FILE }, more) end

-- The same with a name in place of an address: a look-up for each connection.
local function named(options)
  return options { base_url = options().base_url:gsub("127%.0%.0%.1", "localhost") }
end

-- Waits until all have ended, as a host does that trusts the descriptor; how often it woke, CPU and real seconds.
local function watch(c, requests)
  local wakes, cpu, start = 0, system.cpu(), system.now()
  for _, request in ipairs(requests) do
    while not request:done() do
      assert.is_true(system.poll(c:fileno(), PATIENCE), "the descriptor is silent")
      wakes = wakes + 1
      c:step(0)
    end
  end
  return wakes, system.cpu() - cpu, system.now() - start
end

-- Where nothing is to be done the descriptor falls silent; timers that were set before may fire once more.
local function settle(c)
  local wakes = 0
  while system.poll(c:fileno(), 0.3) do
    wakes = wakes + 1
    assert.is_true(wakes <= 4, "woken for nothing")
    c:step(0)
  end
end

local function kind_of(request)
  local result, err = request:result()
  return result and "accepted" or err.kind
end

-- Of a client's epoll descriptor: what the kernel holds, {[fd] = inode}; and those of it that are no longer open here.
local function members(fd)
  local held, stale, open = {}, {}, {}
  local pid = io.open("/proc/self/stat"):read "*l":match "^%d+"
  local list = io.popen("ls -l /proc/" .. pid .. "/fd")
  for line in list:lines() do
    local number, target = line:match " (%d+) %-> (.*)$"
    if number then open[tonumber(number)] = target end
  end
  list:close()
  for line in io.lines("/proc/self/fdinfo/" .. fd) do
    local number, inode = line:match "^tfd:%s*(%d+) .*ino:(%x+)"
    if number then
      number, inode = tonumber(number), tonumber(inode, 16)
      held[number] = inode
      local target = open[number]
      if not target or (target ~= ("socket:[%d]"):format(inode) and not target:find "^anon_inode:") then
        stale[#stale + 1] = number .. " " .. tostring(target)
      end
    end
  end
  return held, stale
end

local function count(list)
  local n = 0
  for _ in pairs(list) do n = n + 1 end
  return n
end

describe("a host that only waits for fileno", function()
  for name, options in pairs { plain = plain, ["HTTP/2"] = http2, ["TLS and HTTP/1.1"] = http1 } do
    it("ends every purge and rests meanwhile, " .. name, function()
      local c, zone = client.new(options())
      local wakes = watch(c, { assert(c:start(tags)) })
      assert.is_true(wakes < 60, wakes .. " wakes")
      edge.script(zone, { { delay = 0.6, pass = true } })
      local request = assert(c:start(tags))
      local more, cpu, seconds = watch(c, { request })
      assert.equal("accepted", kind_of(request))
      assert.is_true(seconds >= 0.5, seconds)
      assert.is_true(more < 12, more .. " wakes")
      assert.is_true(host.watched or cpu < seconds / 2, cpu .. " s of CPU")
      edge.script(zone, { { times = 32, delay = 0.05, pass = true } })
      local requests = {}
      for i = 1, 32 do requests[i] = assert(c:start { tags = { "t" .. i } }) end
      watch(c, requests)
      for _, each in ipairs(requests) do assert.equal("accepted", kind_of(each)) end
      settle(c)
      c:close()
    end)
  end

  it("is woken for the times of retries", function()
    local c, zone = client.new(plain())
    edge.script(zone, { { status = 503 } })
    local request = assert(c:start(tags))
    local wakes, cpu, seconds = watch(c, { request })
    assert.equal(2, request:result().attempts)
    assert.is_true(seconds > 0.3 and seconds < 15, seconds)
    assert.is_true(wakes < 40, wakes .. " wakes")
    assert.is_true(host.watched or cpu < seconds / 2, cpu .. " s of CPU")
    c:close()
  end)

  it("is woken for time-outs and deadlines", function()
    for _, options in ipairs { plain, http2 } do
      for _, limit in ipairs { { timeout = 0.3, max_retries = 0 }, { deadline = 0.3 },
        { deadline = 0.3, timeout = 0.1 } } do
        local c, zone = client.new(options(limit))
        edge.script(zone, { { times = 0, delay = 20, pass = true } })
        local request = assert(c:start(tags))
        local wakes, _, seconds = watch(c, { request })
        assert.equal("timeout", kind_of(request))
        assert.is_true(seconds < 15, seconds)
        assert.is_true(wakes < 80, wakes .. " wakes")
        c:close()
      end
    end
  end)

  it("is woken for a time-out though its connection has news to the last moment", function()
    local c, zone = client.new(http2())
    edge.script(zone, { { match = '"slow"', times = 0, delay = 20, pass = true } })
    assert(c:purge(tags))
    for i = 1, 20 do
      local start = system.now()
      local request = assert(c:start({ tags = { "slow" } }, { timeout = 0.04, max_retries = 0 }))
      while system.now() < start + 0.0389 + i * 0.0001 do
        watch(c, { assert(c:start(tags)) })
      end
      watch(c, { request })
      assert.equal("timeout", kind_of(request))
      assert.is_true(system.now() - start < 15, system.now() - start)
    end
    c:close()
  end)

  it("is woken when no connection comes about", function()
    local c = client.new { base_url = env.API_CLOSED, max_retries = 1, max_retry_wait = 0.05 }
    local request = assert(c:start(tags))
    watch(c, { request })
    assert.equal("connection", kind_of(request))
    c:close()
  end)

  it("is woken by the look-up of a name", function()
    local c = client.new { base_url = (env.API_HTTP:gsub("127%.0%.0%.1", "localhost")) }
    local request = assert(c:start(tags))
    watch(c, { request })
    assert.equal("accepted", kind_of(request))
    c:close()
  end)

  it("is woken earlier where a nearer time comes after a farther one", function()
    local c, zone = client.new(plain())
    edge.script(zone, { { match = '"far"', status = 503, headers = { ["Retry-After"] = "50" } },
      { match = '"near"', times = 0, delay = 20, pass = true } })
    local far = assert(c:start { tags = { "far" } })
    while c:stats().waiting == 0 do
      assert.is_true(system.poll(c:fileno(), PATIENCE))
      c:step(0)
    end
    -- Nothing nearer is set any more.
    settle(c)
    assert.is_true(c:timeout() > 10)
    local near = assert(c:start({ tags = { "near" } }, { timeout = 0.2, max_retries = 0 }))
    local _, _, seconds = watch(c, { near })
    assert.equal("timeout", kind_of(near))
    assert.is_true(seconds < 15, seconds)
    assert.is_true(far:cancel())
    c:close()
  end)

  it("is woken for the deadline of one that is not sent yet, and only then", function()
    local c, zone = client.new { max_connections = 1 }
    edge.script(zone, { { times = 0, delay = 20, pass = true } })
    assert(c:start(tags))
    local last = assert(c:start(tags, { deadline = 0.5 }))
    c:step(0)
    assert.equal(1, c:stats().queued)
    local wakes, _, seconds = watch(c, { last })
    assert.equal("timeout", kind_of(last))
    assert.equal(0, select(2, last:result()).attempts)
    assert.is_true(seconds < 10, seconds)
    assert.is_true(wakes < 300, wakes .. " wakes")
    assert.equal(1, c:stats().running)
    c:close()
  end)

  it("is told again and again until what ended is taken", function()
    local c = core.new((client.options()))
    local id = assert(c:start(tags))
    while c:stats().done == 0 do
      assert.is_true(system.poll(c:fileno(), PATIENCE))
      c:step(0)
    end
    for _ = 1, 3 do
      assert.is_true(system.poll(c:fileno(), 0))
      assert.equal(0, c:timeout())
      c:step(0)
    end
    assert.equal(id, (c:take()))
    settle(c)
    c:close()
  end)
end)

describe("closed descriptors", function()
  -- Every way that a connection ends. Over HTTP/2 nginx keeps the end of a cut answer to itself while other streams
  -- are open.
  local function churn(c, zone, multiplexed)
    edge.script(zone, { { match = '"close"', times = 0, headers = not multiplexed and { Connection = "close" } or nil,
        json = { success = true } },
      multiplexed and { match = '"cut"', times = 4, status = 503 }
        or { match = '"cut"', times = 4, length = 100, body = "{" },
      { match = '"slow"', times = 0, delay = 20, pass = true } })
    for i = 1, 6 do
      local requests = {}
      for j, what in ipairs { "close", "cut", "slow", "quick", "slow", "close" } do
        requests[j] = assert(c:start({ tags = { what } },
          { max_retry_wait = 0.01, timeout = j == 5 and 0.05 or 20, max_retries = j == 5 and 0 or 9 }))
      end
      c:step(0)
      if i % 2 == 0 then system.poll(c:fileno(), 0.01) c:step(0) end
      assert.is_true(requests[3]:cancel())
      for j, request in ipairs(requests) do
        watch(c, { request })
        assert.equal(({ [3] = "cancelled", [5] = "timeout" })[j] or "accepted", kind_of(request))
      end
    end
  end

  for name, options in pairs { plain = plain, ["TLS"] = http1, ["HTTP/2"] = http2 } do
    it("do not linger in it, " .. name, function()
      local c, zone = client.new(named(options))
      if not members(c:fileno()) or count((members(c:fileno()))) == 0 then return pending "no epoll here" end
      churn(c, zone, name == "HTTP/2")
      local held, stale = members(c:fileno())
      assert.same({}, stale)
      -- Its own two, and the connections that are kept.
      assert.is_true(count(held) <= 2 + 16, count(held) .. " members")
      c:close()
    end)

    it("do not linger in it where a forked child still has them, " .. name, function()
      local c, zone = client.new(named(options))
      if count((members(c:fileno()))) == 0 then return pending "no epoll here" end
      -- At the fork some connections are idle, others busy.
      edge.script(zone, { { match = '"busy"', times = 0, delay = 20, pass = true },
        { times = 6, delay = 0.1, pass = true } })
      local busy, kept = {}, {}
      for i = 1, 6 do kept[i] = c:start(tags) end
      for i = 1, 4 do busy[i] = c:start { tags = { "busy" } } end
      watch(c, kept)
      local child = system.fork()
      if child == 0 then
        system.poll(-1, 60)
        system.exit(0)
      end
      for i = 1, 4 do busy[i]:cancel() end
      churn(c, zone, name == "HTTP/2")
      local _, stale = members(c:fileno())
      os.execute("kill " .. child)
      system.wait(child)
      assert.same({}, stale)
      c:close()
    end)
  end
end)

describe("a forked child", function()
  local function in_child(work)
    local child = system.fork()
    if child == 0 then
      local ok, code = pcall(work)
      if not ok then io.stderr:write(tostring(code), "\n") end
      system.exit(ok and (code or 0) or 99)
    end
    return system.wait(child)
  end

  it("does not silence its parent's descriptor by taking what had ended", function()
    local c = core.new((client.options()))
    assert(c:start(tags))
    while c:stats().done == 0 do c:step(1) end
    assert.is_true(system.poll(c:fileno(), 0))
    assert.equal(7, in_child(function()
      local id, result = c:take()
      return id and result.accepted == 1 and not c:take() and 7
    end))
    assert.is_true(system.poll(c:fileno(), 0))
    assert.is_truthy(c:take())
    c:close()
  end)

  it("does not move its parent's timer", function()
    local c, zone = client.new(plain())
    edge.script(zone, { { status = 503, headers = { ["Retry-After"] = "1" } } })
    local request = assert(c:start(tags))
    while c:stats().waiting == 0 do
      assert.is_true(system.poll(c:fileno(), PATIENCE))
      c:step(0)
    end
    for _, method in ipairs { "step", "fileno", "timeout", "stats", "close" } do
      assert.equal(0, in_child(function() c[method](c, method == "step" and 0 or nil) end), method)
    end
    watch(c, { request })
    assert.equal("accepted", kind_of(request))
    c:close()
  end)

  it("closes nothing that it opened itself under the numbers of its parent's descriptors", function()
    -- In a process of its own, where no finalizer closes anything by its number.
    local codes = host.run [[
      local tags, codes = { tags = { "a" } }, {}
      local function new() return client.new { base_url = edge.env.API_TLS1, ca_file = edge.env.CA_FILE } end
      local b, a = new(), new()
      b:fileno()
      for _, c in ipairs { b, a, a } do assert(c:purge(tags)) end
      local function in_child(work)
        collectgarbage()
        local child = system.fork()
        if child == 0 then
          -- What a daemon does: everything is closed, then its own files are opened.
          for fd = 3, 255 do system.close(fd) end
          local ok, problem = pcall(work)
          if not ok then io.stderr:write(tostring(problem), "\n") end
          system.exit(ok and 7 or 99)
        end
        codes[#codes + 1] = system.wait(child)
      end
      in_child(function()
        local files = {}
        for i = 1, 64 do files[i] = assert(io.open("/dev/null", "w")) end
        assert(a:purge(tags))
        for _, file in ipairs(files) do assert(file:write "x" and file:flush()) end
      end)
      -- Nor does one client close what another has opened since.
      in_child(function()
        for _, c in ipairs { a, b, a, b } do assert(c:purge(tags)) end
        assert(a:stats().connections == 1 and b:stats().connections == 1) -- counted since the fork
        b:close()
        assert(a:purge(tags, { deadline = 5 }))
      end)
      for _, c in ipairs { a, b } do assert(c:purge(tags) and c:stats().connections == 1) end
      return codes]]
    assert.same({ 7, 7 }, codes)
  end)
end)
