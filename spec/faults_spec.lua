-- A network that is slow, a peer that vanishes, a server that goes away while it is written to or under load: the right
-- error or a retry that succeeds, one ending for each purge, every item accounted for.
local elsewhere = require "spec.support.where"
if elsewhere "engine cqueues" then return end

local edge = require "spec.support.edge"
local clients = require "spec.support.client"
local faults = require "spec.support.faults"
local host = require "spec.support.host"

local env = edge.up()
local system = host.system()
local TAGS = { tags = { "a", "b" } }

local protocols = {
  { name = "HTTP/1.1", base = env.API_HTTP },
  { name = "HTTP/1.1 over TLS", base = env.API_TLS1 },
  { name = "HTTP/2", base = env.API_TLS, multiplexes = true },
}

local function client_of(proxy, options)
  local filled = { base_url = proxy.url, ca_file = env.CA_FILE, loop = "cqueues", max_retry_wait = 0 }
  for name, value in pairs(options or {}) do filled[name] = value end
  return clients.new(filled)
end

local function purge(c, params, options, asked)
  local done = 0
  local request = assert(c:start(params or TAGS, options, function() done = done + 1 end))
  local result, err = request:wait()
  assert.equal(1, done)
  faults.accounted(asked or 2, result, err)
  return result, err
end

-- A purge whose endings `log` counts.
local function start(c, params, log)
  local request
  request = assert(c:start(params, nil, function() log[request] = (log[request] or 0) + 1 end))
  return request
end

local function all_accepted(requests, log)
  for _, request in ipairs(requests) do
    local result, err = request:result()
    assert.is_nil(err and tostring(err))
    assert.same({ 1, 1 }, { log[request], result.accepted })
  end
end

-- Of those that the server was asked for, however often.
local function distinct_items(zone)
  local seen, count = {}, 0
  for _, request in ipairs(edge.requests(zone)) do
    for item in request.body:gmatch '"([^"]*)"' do
      if item ~= "tags" and not seen[item] then
        seen[item], count = true, count + 1
      end
    end
  end
  return count
end

local function each_protocol(what, fn)
  for _, protocol in ipairs(protocols) do
    it(what .. ", " .. protocol.name, function()
      faults.run(function()
        fn(faults.proxy(protocol.base), protocol)
        clients.close()
      end)
    end)
  end
end

describe("a peer that vanishes", function()
  for _, how in ipairs { "hang", "deaf" } do
    each_protocol("before it answers (" .. how .. "): the time-out, then a new connection", function(proxy)
      local c, zone = client_of(proxy, { timeout = 0.4, max_retries = 5 })
      assert(purge(c, nil, { timeout = 20 }))
      proxy.fault = { how = how }
      local result, err = purge(c)
      assert.is_nil(err and tostring(err))
      -- More where the machine stood still for the time-out's time.
      local opened = proxy.opened
      assert.is_true(result.attempts > 1 and opened > 1)
      -- Nor is it tried again.
      assert.equal(1, assert(purge(c, nil, { timeout = 20 })).attempts)
      assert.equal(opened, proxy.opened)
      assert.is_true(#edge.requests(zone) >= 3)
    end)
  end

  each_protocol("while eight wait on it: they are served elsewhere, long before their time is over", function(proxy)
    local c, zone = client_of(proxy, { timeout = 40, connect_timeout = 1, max_retries = 5 })
    local log, requests = {}, {}
    local function eight(name)
      for i = 1, 8 do
        requests[#requests + 1] = start(c, { tags = { name .. i } }, log)
      end
      for _, request in ipairs(requests) do request:wait() end
    end
    eight "before"
    local alive = proxy.opened
    proxy:vanish()
    local begun = system.now()
    eight "after"
    assert.is_true(system.now() - begun < 20)
    all_accepted(requests, log)
    assert.is_true(proxy.opened > alive)
    assert.equal(16, distinct_items(zone))
  end)

  -- HTTP/2 is asked for again soon, and not in 10 s.
  it("when HTTP/2 was to be asked for again: nobody waits for the others' connections", function()
    if elsewhere "once unwatched" then return end
    host.build("ask", "-DCF_ASK_AGAIN=1000")
    local took = host.run([[
      local cqueues, faults, took = require "cqueues", require "spec.support.faults", nil
      faults.run(function()
        local proxy = faults.proxy(edge.env.API_TLS1)
        local c = require("spec.support.client").new { base_url = proxy.url, ca_file = edge.env.CA_FILE, loop = "cqueues",
          max_retries = 0, connect_timeout = 0.2 }
        assert(c:purge { tags = { "a" } })
        proxy:reset()
        proxy.fault = { after = 0, how = "hang", every = true }
        local requests, began = {}, cqueues.monotime()
        for i = 1, 15 do requests[i] = assert(c:start { tags = { "t" .. i } }) end
        for i = 1, 15 do assert(select(2, requests[i]:wait()).kind == "timeout") end
        took = cqueues.monotime() - began
      end)
      return took]], { build = "ask" })
    assert.is_true(took < 2, took)
  end)
end)

describe("a slow network", function()
  each_protocol("delays an answer", function(proxy)
    local c = client_of(proxy, { max_retries = 0 })
    proxy.fault = function() return { how = "delay", delay = 0.03 } end
    for _ = 1, 3 do assert.equal(1, assert(purge(c)).attempts) end
  end)

  each_protocol("passes one byte at a time, both ways, and nobody spins", function(proxy)
    local c = client_of(proxy, { max_retries = 0, on_event = function() end })
    proxy.fault = function() return { how = "drip" } end
    local steps, step = 0, c.step
    function c.step(...)
      steps = steps + 1
      return step(...)
    end
    assert.equal(1, assert(purge(c)).attempts)
    assert.equal(1, assert(purge(c)).attempts)
    assert.is_true(steps < 3 * (proxy.sent + 3000), steps .. " steps for " .. proxy.sent .. " bytes")
  end)

  each_protocol("is too slow: the time-out says where it stood, and how much remains", function(proxy)
    local c = client_of(proxy, { timeout = 0.8, max_retries = 0 })
    proxy.fault = { how = "hang" }
    local _, err = purge(c)
    assert.same({ "timeout", true }, { err.kind, err.retryable })
    assert.matches(proxy.url:find "^https" and "^timed out after %d+ ms, connecting$"
      or "^timed out after %d+ ms, waiting for an answer$", err.message)
    assert(purge(c, nil, { timeout = 20 }))
    proxy.fault = { how = "hang", after = 60 }
    _, err = purge(c)
    assert.equal("timeout", err.kind)
    assert.matches(proxy.url:find "^https" and "waiting for an answer$" or "within the answer$", err.message)
  end)
end)

describe("a peer that ends the connection while it is written to", function()
  -- More than any socket holds.
  local params = { files = {} }
  for i = 1, 400 do params.files[i] = "https://www.example.com/" .. i .. ("/x"):rep(7000) end

  -- What an old connection says last must not meet the next one's fault.
  local function close(proxy)
    clients.close()
    faults.wait(function() return proxy:count() == 0 end)
  end

  local function big(proxy, max_retries)
    local zone = edge.zone { blind = true }
    return client_of(proxy, { plan = "enterprise", max_retries = max_retries, timeout = 60, zone_id = zone })
  end

  for _, how in ipairs { "fin", "rst" } do
    each_protocol("by " .. how, function(proxy)
      system.sigpipe "default"
      for _, after in ipairs { 2000, 10000, 100000, 1000000, 4000000 } do
        proxy.fault = { up = true, after = after, how = how }
        local result, err = purge(big(proxy, 1), params, nil, 400)
        assert.is_nil(err and tostring(err):sub(1, 100))
        assert.equal(2, result.attempts)
        close(proxy)
        proxy.fault = { up = true, after = after, how = how }
        result, err = purge(big(proxy, 0), params, nil, 400)
        assert.is_nil(result)
        assert.same({ "connection", true }, { err.kind, err.retryable }, tostring(err):sub(1, 100))
        close(proxy)
      end
    end)
  end
end)

describe("a server that restarts under load", function()
  -- Down once all are in flight, up again once some have found it down.
  local function restart(proxy, zone, count, failures)
    faults.wait(function() return edge.counts(zone).requests >= count end)
    edge.script(zone, {})
    proxy:stop()
    proxy:reset()
    local before = failures()
    faults.wait(function() return failures() >= before + count + 8 end)
    proxy:start()
  end

  local function failing_counter()
    local count = 0
    return function(event)
      if event.name == "response" and event.kind == "connection" then count = count + 1 end
    end, function() return count end
  end

  each_protocol("with 32 purges in flight", function(proxy)
    local note, failures = failing_counter()
    local c, zone = client_of(proxy, { max_retries = 50, max_retry_wait = 0.1, on_event = note })
    edge.script(zone, { { times = 0, delay = 30, pass = true } })
    local log, requests = {}, {}
    for i = 1, 32 do requests[i] = start(c, { tags = { "t" .. i } }, log) end
    restart(proxy, zone, 32, failures)
    for _, request in ipairs(requests) do request:wait() end
    all_accepted(requests, log)
    assert.equal(32, distinct_items(zone))
  end)

  each_protocol("with a long list in flight", function(proxy)
    local note, failures = failing_counter()
    local c, zone = client_of(proxy, { max_retries = 50, max_retry_wait = 0.1, on_event = note, max_items = 20,
      max_in_flight = 32 })
    edge.script(zone, { { times = 0, delay = 30, pass = true } })
    local tags, done = {}, 0
    for i = 1, 990 do tags[i] = "t" .. i end
    local request = assert(c:start({ tags = tags }, nil, function() done = done + 1 end))
    restart(proxy, zone, 32, failures)
    local result = assert(request:wait())
    assert.same({ 1, 990 }, { done, result.accepted })
    assert.equal(990, distinct_items(zone))
  end)

  each_protocol("and does not come back: what was not accepted remains", function(proxy)
    local c, zone = client_of(proxy, { max_retries = 1, max_items = 20, max_in_flight = 4 })
    local tags, done = {}, 0
    for i = 1, 990 do tags[i] = "t" .. i end
    local request = assert(c:start({ tags = tags }, nil, function() done = done + 1 end))
    faults.wait(function() return edge.counts(zone).requests >= 10 end)
    proxy:stop()
    proxy:reset()
    local result, err = request:wait()
    assert.is_nil(result)
    assert.same({ 1, "partial", "connection", true }, { done, err.kind, err.failures[1].error.kind, err.retryable })
    assert.is_true(err.accepted > 0)
    faults.accounted(990, result, err)
    assert.is_true(distinct_items(zone) >= err.accepted)
    proxy:start()
    assert.equal(990 - err.accepted, assert(c:purge(err.remaining)).accepted)
    assert.equal(990, distinct_items(zone))
  end)
end)
