-- While a name is looked up nobody waits for it but the purge that needs it: not a step, not a time-out, not the end of
-- the client, the state or the process. What was found is kept, until a connection fails. Each case is a process whose
-- name server is slow, or changes its mind (spec/hosts/slow_dns.c).
local elsewhere = require "spec.support.where"
if elsewhere "engine" then return end

local edge = require "spec.support.edge"
local host = require "spec.support.host"
local system = host.system()

local env = edge.up()
-- Seconds that no look-up here is done in, even on a machine that stands still for a while.
local AT_ONCE = 1

-- A client of a host whose look-up takes so long; `timed` notes the longest call.
local prelude = [[
  local longest = 0
  local function timed(f, ...)
    local start = system.now()
    local value = f(...)
    longest = math.max(longest, system.now() - start)
    return value
  end
  local function slow(milliseconds, options)
    options = options or {}
    options.base_url = args.base_url:gsub("//[^:]*:", "//slow-" .. milliseconds .. ".test:")
    options.allow_http = true
    return client.new(options)
  end
  local tags = { tags = { "a" } }
  local function begin(c)
    local request = timed(c.start, c, tags)
    while system.lookups() == 0 do
      timed(c.step, c, 0)
    end
    return request
  end
]]

-- What the code returned, and how long the process lived.
local function run(code, options)
  options = options or {}
  options.preload, options.args = "slow_dns", options.args or { base_url = env.API_HTTP }
  local start = system.now()
  local value = host.run((options.bare and "" or prelude) .. code, options)
  return value, system.now() - start
end

describe("a slow look-up", function()
  if elsewhere "unwatched" then return end

  it("blocks no step, and the purge goes through", function()
    local got = run [[
      local c = slow(1500)
      local request, start, steps = begin(c), system.now(), 0
      while not request:done() do
        assert(system.poll(c:fileno(), 10), "the descriptor is silent")
        steps = steps + 1
        timed(c.step, c, 0)
      end
      local seconds = system.now() - start
      return { accepted = request:result().accepted, longest = longest, steps = steps, seconds = seconds }]]
    assert.equal(1, got.accepted)
    assert.is_true(got.seconds > 1.4 and got.seconds < 8, got.seconds)
    assert.is_true(got.longest < AT_ONCE, got.longest)
    assert.is_true(got.steps < 40, got.steps .. " steps")
  end)

  it("blocks no purge to a name that is known", function()
    local got = run [[
      local c = slow(3000)
      begin(c)
      local start = system.now()
      local result = assert(c:purge(tags, { base_url = args.base_url }))
      return { accepted = result.accepted, seconds = system.now() - start }]]
    assert.equal(1, got.accepted)
    assert.is_true(got.seconds < 2, got.seconds)
  end)

  for name, code in pairs {
    timeout = [[
      local c = slow(30000, { timeout = 0.2, max_retries = 0 })
      local request = begin(c)
      while not request:done() do
        assert(system.poll(c:fileno(), 10), "the descriptor is silent")
        timed(c.step, c, 0)
      end
      local _, err = request:result()
      return { kind = err.kind, longest = longest }]],
    ["timeout of a purge that waits"] = [[
      local start, _, err = system.now(), slow(30000, { timeout = 0.2, max_retries = 1, max_retry_wait = 0 }):purge(tags)
      return { kind = err.kind, longest = (system.now() - start) / 12 }]],
    deadline = [[
      local start, _, err = system.now(), slow(30000, { deadline = 0.3 }):purge(tags)
      return { kind = err.kind, longest = (system.now() - start) / 12 }]],
    cancelled = [[
      local request = begin((slow(30000)))
      timed(request.cancel, request)
      local _, err = request:result()
      return { kind = err.kind, longest = longest }]],
    closed = [[
      local c = slow(30000)
      local request = begin(c)
      timed(c.close, c)
      local _, err = request:result()
      return { kind = err.kind, longest = longest }]],
    ["closed by the collector"] = [[
      local kind
      begin((slow(30000, { on_event = function(event) if event.name == "done" then kind = event.kind end end })))
      for _ = 1, 4 do timed(collectgarbage) end
      return { kind = kind, longest = longest }]],
  } do
    it("delays nobody who is " .. name .. ", nor the end of the process", function()
      local got, lived = run(code)
      local kind = name:find "closed" and "closed" or name == "cancelled" and name or "timeout"
      assert.equal(kind, got.kind)
      assert.is_true(got.longest < AT_ONCE, got.longest)
      assert.is_true(lived < 15, lived)
    end)
  end

  it("delays no end of a state, and survives the unloading of the module", function()
    local lua = os.getenv "CFPURGE_LUA" or "lua5.4"
    local cpath = package.cpath .. ";" .. host.built() .. "/" .. lua .. "/?.so"
    local got = run([[
      local start = system.now()
      local said = system.threads(1, args.code)[1]
      local seconds, began, ended = system.now() - start, system.lookups()
      local maps = io.open "/proc/self/maps"
      local mapped = maps and maps:read "*a":find("cfpurge/core.so", 1, true) ~= nil
      while select(2, system.lookups()) == 0 do
        system.poll(-1, 0.02)
      end
      -- The thread that looked it up goes on in libcurl.
      system.poll(-1, 0.2)
      return { said = said, seconds = seconds, began = began, ended = ended, mapped = mapped }]],
      { bare = true, args = { code = ([[
        package.cpath = %q
        local core, system = require "cfpurge.core", require "spec_system"
        local c = core.new { api_token = "t", zone_id = "z", allow_http = true, base_url = "http://slow-4000.test:1" }
        assert(c:start { tags = { "a" } })
        while system.lookups() == 0 do c:step(0.01) end
        return "left"]]):format(cpath) } })
    assert.same({ "left", 1, 0, true }, { got.said, got.began, got.ended, got.mapped })
    assert.is_true(got.seconds < 3.5, got.seconds)
  end)

  it("delays no exit that closes nothing", function()
    local got, lived = run [[
      KEPT = slow(30000)
      begin(KEPT)
      io.stdout:write('\n={"value":true}\n')
      io.stdout:flush()
      os.exit(0)]]
    assert.is_true(got)
    assert.is_true(lived < 15, lived)
  end)
end)

describe("a host whose address moved", function()
  if elsewhere "unwatched" then return end

  -- At its first address nobody listens.
  local moved = [[
    local c, zone = client.new { base_url = args.base_url:gsub("//[^:]*:", "//moves-1.test:"), allow_http = true,
      max_retries = args.max_retries, max_retry_wait = 0.01 }
    local outcomes = {}
    for i = 1, 2 do
      local result, err = c:purge { tags = { "a" } }
      outcomes[i] = result and "accepted after " .. result.attempts or err.kind
    end
    local looked_up = system.lookups()
    edge.script(zone, { { times = 0, delay = 0.2, pass = true } })
    -- All but one need a connection of their own. libcurl may have kept nothing of the look-up after the failed one.
    local later = {}
    for i = 1, 2 do
      for _ = 1, 2 * i do assert(c:start { tags = { "b" } }) end
      client.run(c)
      later[i] = system.lookups()
    end
    return { outcomes = outcomes, looked_up = looked_up, first = later[1], last = later[2],
      connections = c:stats().connections }]]

  it("is looked up again after a failed connection, and then no more", function()
    for retries, outcomes in pairs { [0] = { "connection", "accepted after 1" }, { "accepted after 2", "accepted after 1" } } do
      local got = run(moved, { args = { base_url = env.API_HTTP, max_retries = retries } })
      assert.same({ outcomes, 2, 4 }, { got.outcomes, got.looked_up, got.connections })
      assert.is_true(got.first <= 3 and got.last == got.first, got.last)
    end
  end)
end)

describe("a libcurl that cannot keep the promise", function()
  if elsewhere "unwatched" then return end

  local code = [[
    local names, messages = {}, {}
    local function note(event)
      names[#names + 1] = event.name
      if event.name == "warning" then
        messages[#messages + 1] = event.message
        event.name, event.message = nil, nil
        assert(next(event) == nil)
      end
    end
    local c, silent = client.new { on_event = note }, client.new()
    assert(#names == 0)
    assert(silent:purge { tags = { "a" } })
    assert(c:purge { tags = { "a" } })
    assert(c:purge { tags = { "a" } })
    assert((client.new { on_event = note }):purge { tags = { "a" } })
    return { names = table.concat(names, " "), messages = messages }]]

  it("is told of once a client, before its first request", function()
    for what, text in pairs { blocking = "in the thread that calls it", ["7.86"] = "7%.87 or newer" } do
      local got = run(code, { env = { SPEC_LIBCURL = what } })
      assert.equal("warning request response done request response done warning request response done", got.names)
      assert.equal(2, #got.messages)
      assert.is_truthy(got.messages[1]:find(text), got.messages[1])
    end
  end)

  it("is not the one that runs here", function()
    local got = run(code)
    assert.equal("request response done request response done request response done", got.names)
  end)
end)
