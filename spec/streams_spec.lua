-- HTTP/2's streams and HTTP/1.1's connections: requests beyond them wait in our queue, and their time-out begins when they
-- are sent; few connections are opened, whatever else the client has met.
local elsewhere = require "spec.support.where"
if elsewhere "engine" then return end

local api = require "spec.support.api"
local clients = require "spec.support.client"
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local socket = require "socket"

local env = edge.up()
local whole = (os.getenv "CFPURGE_LUA" or "lua5.4") == "lua5.4" and not host.watched

-- Tags of which the server refuses none.
local function tags_of(count)
  local list = {}
  for _, tag in ipairs(api.tags(count)) do list[#list + 1] = tag .. "x" end
  return list
end

local function all_accepted(ended, seen, tags)
  for _, tag in ipairs(tags) do
    local one = ended[tag]
    assert.is_nil(one.err and tostring(one.err))
    assert.same({ tag, 1, 1 }, { one.result.id, one.result.attempts, seen[tag] })
  end
end

describe("many purges of one host", function()
  local server
  setup(function() server = api.start() end)
  teardown(function()
    clients.close()
    api.stop()
  end)

  local function ready(settings)
    server.close "fin"
    server.reset()
    for _, name in ipairs { "alpn", "delay", "streams" } do
      if settings[name] == nil then settings[name] = false end
    end
    server.set(settings)
  end

  for _, case in ipairs { { streams = 100, count = whole and 900 or 450, delay = whole and 1.5 or 0.7 },
    { streams = 10, count = 160, delay = 0.4 } } do
    it(("wait for a stream, not for an answer: %d, %d a connection"):format(case.count, case.streams), function()
      ready { streams = case.streams, delay = case.delay }
      local c, tags = api.client(server, { timeout = case.delay + 0.5, max_retries = 0 }), tags_of(case.count)
      local start = socket.gettime()
      local ended = api.burst(c, tags)
      local seconds = socket.gettime() - start
      all_accepted(ended, server.counts().seen, tags)
      assert.is_true(c:stats().connections <= 6, c:stats().connections .. " connections")
      -- As many rounds as the streams of four connections make.
      local rounds = math.ceil(case.count / (4 * case.streams))
      assert.is_true(seconds < (rounds + 1) * case.delay + (host.watched and 20 or 1), seconds)
      c:close()
    end)
  end

  it("keep HTTP/2 where a call without TLS came in between", function()
    ready { delay = 0.02 }
    local c = api.client(server, { max_retries = 0 })
    all_accepted(api.burst(c, { "first" }), { first = 1 }, { "first" })
    assert(c:purge({ tags = { "clear" } }, { base_url = server.clear_url }))
    local tags = tags_of(300)
    all_accepted(api.burst(c, tags), server.counts().seen, tags)
    assert.is_true(c:stats().connections <= 6, c:stats().connections .. " connections")
    c:close()
  end)

  it("keep HTTP/2 where a call to another host met HTTP/1.1", function()
    ready { delay = 0.02 }
    local c = api.client(server, { max_retries = 0 })
    assert(c:purge { tags = { "first" } })
    c:purge({ tags = { "other" } }, { base_url = env.API_TLS1 }) -- whatever it says
    local tags = tags_of(300)
    all_accepted(api.burst(c, tags), server.counts().seen, tags)
    assert.is_true(c:stats().connections <= 6, c:stats().connections .. " connections")
    c:close()
  end)

  for _, way in ipairs { "clear_url", "url" } do
    -- One that was offered HTTP/2 may stay open beside those of HTTP/1.1.
    local probe = way == "url" and 1 or 0
    local over = way == "url" and "HTTP/1.1 over TLS" or "HTTP/1.1"

    it("open 64 connections and no more, over " .. over, function()
      ready { alpn = "http/1.1", delay = 0.05 }
      local c, tags = api.client(server, { base_url = server[way], max_retries = 0 }), tags_of(300)
      local ended = api.burst(c, tags)
      local counts = server.counts()
      all_accepted(ended, counts.seen, tags)
      assert.is_true(counts.most <= 64 + probe, counts.most .. " at once")
      assert.is_true(counts.most >= 32, "only " .. counts.most .. " at once")
      c:close()
    end)

    it("open as many as `max_connections` says, and their time-out waits too, over " .. over, function()
      ready { alpn = "http/1.1", delay = 0.2 }
      local c = api.client(server, { base_url = server[way], max_retries = 0, max_connections = 5, timeout = 0.9 })
      local tags = tags_of(40)
      local ended = api.burst(c, tags)
      local counts = server.counts()
      all_accepted(ended, counts.seen, tags)
      assert.is_true(counts.most >= 5 and counts.most <= 5 + probe, counts.most .. " at once")
      c:close()
    end)
  end

  it("are bounded in all, where several hosts are asked", function()
    ready { alpn = "http/1.1", delay = 0.1 }
    local c = api.client(server, { max_retries = 0, max_connections = 6 })
    local tags, calls = tags_of(60), 0
    local ended = api.burst(c, tags, function()
      calls = calls + 1
      return calls % 2 == 0 and { base_url = server.clear_url } or nil
    end)
    local counts = server.counts()
    all_accepted(ended, counts.seen, tags)
    assert.is_true(counts.most <= 13, counts.most .. " at once")
    c:close()
  end)
end)

describe("a burst over HTTP/2", function()
  -- 20,000 where a machine has the time.
  local count = whole and 20000 or 2000

  it("is told rightly, each of " .. count, function()
    local c, zone = clients.new { zone_id = edge.zone { blind = true }, base_url = env.API_TLS, ca_file = env.CA_FILE,
      loop = "blocking" }
    local accepted, wrong = 0, {}
    local function on_done(result, err)
      if result then accepted = accepted + 1 else wrong[#wrong + 1] = tostring(err) end
    end
    local params = { tags = { "a" } }
    for _ = 1, count do assert(c:start(params, nil, on_done)) end
    while c:step(1) > 0 do end
    assert.is_nil(wrong[1])
    assert.equal(count, accepted)
    local stats = c:stats()
    assert.equal(count + stats.retries, stats.attempts)
    local requests = edge.counts(zone).requests
    assert.is_true(requests <= stats.attempts, requests .. " sent in " .. stats.attempts .. " attempts")
    c:close()
  end)
end)
