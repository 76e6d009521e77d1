-- Each sending is an attempt: libcurl sends no purge again by itself where a kept connection dies, a purge that the server
-- refused unread costs no attempt, and one that met a dead connection is tried again at once.
local elsewhere = require "spec.support.where"
local api = require "spec.support.api"
local clients = require "spec.support.client"
local cqueues = require "cqueues"
local edge = require "spec.support.edge"
local faults = require "spec.support.faults"
local host = require "spec.support.host"
local socket = require "socket"

local env = edge.up()
local major, minor = require("cfpurge.core").libcurl():match "^libcurl/(%d+)%.(%d+)"
local CANNOT_TELL = (tonumber(major) > 8 or tonumber(major) == 8 and tonumber(minor) > 14)
  and "this libcurl sends refused streams again like others: each is an attempt (csrc/engine/libcurl.h)"
-- How long the first retry of a purge waited at most, since this was set to 0.
local waited
local function note(event)
  if event.name == "retry" and event.attempt == 1 then waited = math.max(waited, event.wait) end
end
local TRANSPORTS = {
  { name = "HTTP/1.1 without TLS", clear = true, ways = { "rst", "fin" } },
  { name = "HTTP/1.1 over TLS", alpn = "http/1.1", ways = { "rst", "fin" } },
  { name = "HTTP/2", alpn = "h2", ways = { "rst", "fin", "goaway" } },
}

describe("a kept connection that ends when the server has read a purge", function()
  if elsewhere "once" then return end

  local server
  setup(function() server = api.start() end)
  before_each(function()
    server.set { alpn = false, cut = false, idle = false, refuse = false, half = false, delay = false }
  end)
  teardown(function()
    clients.close()
    api.stop()
  end)

  -- A client with a kept connection: it has learned by then what the server speaks, and opens no more.
  local function warm(transport, options)
    server.set { alpn = transport.alpn or false }
    local filled = { base_url = transport.clear and server.clear_url or nil, on_event = note }
    waited = 0
    for name, value in pairs(options) do filled[name] = value end
    local c = api.client(server, filled)
    for _ = 1, 5 do
      local before, tag = c:stats().connections, api.tags(1)[1]
      assert.equal(tag, assert(c:purge { tags = { tag } }).id)
      if before > 0 and c:stats().connections == before then
        server.reset()
        return c
      end
    end
    error "no connection is kept"
  end

  -- A libcurl before 7.80 cannot be asked not to: its bodies cannot be sent again.
  for _, how in ipairs { "rst", "fin" } do
    it("was sent once by an older libcurl as well, and is tried again at once (" .. how .. ")", function()
      if elsewhere "unwatched" then return end
      host.build("noprereq", "-DCF_NO_PREREQ")
      for _, max_retries in ipairs { 0, 1 } do
        for _, url in ipairs { server.clear_url, server.url } do
          server.set { cut = { at = 2, how = how, times = 1 } }
          server.reset()
          local told = host.run([[
            local waited = 0
            local c = require "cfpurge".new { api_token = "t0k3n-0123456789", zone_id = "z", base_url = args.url,
              ca_file = args.ca, loop = "blocking", max_retries = args.max_retries, proxy = "", on_event = function(event)
                if event.name == "retry" then waited = math.max(waited, event.wait) end
              end }
            assert(c:purge { tags = { "first" } })
            local result, err = c:purge { tags = { "second" } }
            local ended = result or err
            return { result and "accepted" or err.kind, ended.attempts, waited }]],
            { build = "noprereq", args = { url = url, ca = env.CA_FILE, max_retries = max_retries } })
          assert.equal(max_retries + 1, server.counts().seen.second)
          assert.same({ max_retries == 0 and "connection" or "accepted", max_retries + 1, 0 }, told)
        end
      end
    end)
  end

  for _, transport in ipairs(TRANSPORTS) do
    for _, how in ipairs(transport.ways) do
      local where = (" (%s, %s)"):format(transport.name, how)

      it("was sent once, where no retry is allowed" .. where, function()
        local c, tag = warm(transport, { max_retries = 0 }), api.tags(1)[1]
        server.set { cut = { at = 0, how = how, times = 1 } }
        local result, err = c:purge { tags = { tag } }
        assert.equal(1, server.counts().seen[tag])
        assert.is_nil(result)
        assert.same({ "connection", 1 }, { err.kind, err.attempts }, tostring(err))
        c:close()
      end)

      it("is tried again at once on a fresh one, and that is an attempt" .. where, function()
        local c, tag = warm(transport, { max_retries = 2 }), api.tags(1)[1]
        server.set { cut = { at = 0, how = how, times = 1 } }
        local result = assert(c:purge { tags = { tag } })
        assert.equal(2, server.counts().seen[tag])
        assert.same({ tag, 2 }, { result.id, result.attempts })
        assert.same({ 1, 0 }, { c:stats().retries, waited })
        c:close()
      end)

      it("ends every one: each sending is counted" .. where, function()
        local c, tag = warm(transport, { max_retries = 2 }), api.tags(1)[1]
        server.set { cut = { at = 0, how = how } }
        local result, err = c:purge { tags = { tag } }
        assert.is_nil(result)
        assert.same({ "connection", 3, 3 }, { err.kind, err.attempts, server.counts().seen[tag] }, tostring(err))
        c:close()
      end)

      it("with eight in flight: none is sent more often than it was tried" .. where, function()
        local c = warm(transport, { max_retries = 4 })
        server.set { delay = 0.02 }
        api.burst(c, api.tags(8))
        server.reset()
        -- Of HTTP/2 it is the one connection of all, in the middle of its streams.
        server.set { cut = transport.alpn == "h2" and { at = 13, how = how, times = 2 } or { at = 4, how = how } }
        local ended = api.burst(c, api.tags(40), nil, 8)
        local counts = server.counts()
        assert.is_true(counts.cuts > 0)
        local wrong = api.wrong(ended, counts.seen)
        assert(not wrong[1], ("%d wrong: %s"):format(#wrong, tostring(wrong[1])))
        assert.equal(36, api.accepted(ended))
        c:close()
      end)
    end
  end

  it("by nginx, which says so over TLS: was sent once, and is tried again at once where that is allowed", function()
    for _, url in ipairs { env.API_HTTP, env.API_TLS1 } do
      for retries = 0, 2, 2 do
        local c, zone = clients.new { base_url = url, ca_file = env.CA_FILE, max_retries = retries, loop = "blocking",
          on_event = note }
        waited = 0
        for _ = 1, 3 do assert(c:purge { tags = { "warm" } }) end
        edge.script(zone, { { close = true } })
        local result, err = c:purge { tags = { "cut" } }
        assert.equal(retries == 0 and 4 or 5, #edge.requests(zone))
        assert.equal(retries == 0 and 1 or 2, (result or err).attempts)
        assert.equal(retries == 0 and "connection" or nil, err and err.kind)
        assert.equal(0, waited)
        c:close()
      end
    end
  end)

  for _, count in ipairs { 1, 32 } do
    it("streams that are refused cost no attempt: " .. count, function()
      if CANNOT_TELL then return pending(CANNOT_TELL) end
      local c = warm({ alpn = "h2" }, { max_retries = 0 })
      server.set { refuse = count, delay = 0.02 }
      local tags = api.tags(count, "refused")
      local ended = api.burst(c, tags)
      local counts = server.counts()
      assert.equal(count, counts.refused)
      for _, tag in ipairs(tags) do
        if not tag:find "7$" then
          local one = ended[tag]
          assert.is_nil(one.err and tostring(one.err))
          assert.same({ 1, 1 }, { one.result.attempts, counts.seen[tag] })
        end
      end
      c:close()
    end)
  end

  it("GOAWAY that refuses the second half of 32 streams costs no attempt", function()
    if CANNOT_TELL then return pending(CANNOT_TELL) end
    -- libcurl (7.88) reads from GnuTLS once more after the end, which takes the streams before it along.
    if elsewhere "openssl" then return end
    server.reset()
    server.set { alpn = "h2", half = 32 }
    local c, tags = api.client(server, { max_retries = 0, timeout = 5 }), api.tags(32, "half")
    local ended = api.burst(c, tags)
    local counts = server.counts()
    assert.equal(16, counts.refused)
    assert.same({}, api.wrong(ended, counts.seen))
    for _, tag in ipairs(tags) do
      local one = ended[tag]
      assert.is_true(one.result ~= nil or one.err.kind == "bad_request", tostring(one.err))
      assert.same({ 1, 1 }, { (one.result or one.err).attempts, counts.seen[tag] })
    end
    c:close()
  end)

  -- The network has forgotten them: each is reset by what is sent on it.
  it("with all others that are kept: a fresh one is the second that is tried (HTTP/2)", function()
    server.reset()
    server.set { alpn = "h2", streams = 4, delay = 0.05 }
    faults.run(function()
      local proxy = faults.proxy(server.url)
      local c = api.client(server, { base_url = proxy.url, loop = "cqueues", max_retries = 1 })
      local function burst(count)
        local requests = {}
        for i, tag in ipairs(api.tags(count, "x")) do requests[i] = assert(c:start { tags = { tag .. "x" } }) end
        for _, request in ipairs(requests) do assert(request:wait()) end
      end
      burst(1)
      burst(16)
      assert.is_true(proxy.open > 1, proxy.open)
      -- libcurl counts whole seconds.
      cqueues.sleep(2.1)
      for connection in pairs(proxy.connections) do
        connection.fault = { about = { how = "rst", up = true }, left = 0, up = true }
      end
      burst(8)
      c:close()
    end)
    server.set { streams = false, delay = false }
  end)

  for _, transport in ipairs(TRANSPORTS) do
    it("while it was idle: eight at once go on without a wait (" .. transport.name .. ")", function()
      local c = warm(transport, { max_retries = 2 })
      server.set { idle = 0.05, delay = 0.005 }
      -- Some begin just before the server gives up, some just after.
      for round = -8, 8 do
        local tags = api.tags(8, "idle")
        local ended = api.burst(c, tags)
        assert.same({}, api.wrong(ended, server.counts().seen))
        for _, tag in ipairs(tags) do
          local one = ended[tag]
          assert.is_true(one.result ~= nil or one.err.kind == "bad_request", tostring(one.err))
        end
        assert.equal(0, waited)
        socket.sleep(0.05 + round / 2000)
      end
      c:close()
    end)
  end
end)
