-- on_event: what a request tells of itself, in order, and what its handler may do.
local edge = require "spec.support.edge"
local client = require "spec.support.client"

local env = edge.up()
local kind_of, logbook, run = client.kind_of, client.logbook, client.run
local tags = { tags = { "a" } }

describe("on_event", function()
  -- A client that notes its events; `handler` runs in addition.
  local function watched(options, handler)
    local events = {}
    local filled = { on_event = function(event)
      events[#events + 1] = event
      if handler then handler(event) end
    end }
    for name, value in pairs(options or {}) do filled[name] = value end
    local c, zone = client.new(filled)
    return c, zone, events
  end

  it("tells request, response, retry and done, in that order, with what a log line needs", function()
    local c, zone, events = watched()
    edge.script(zone, { { status = 503, headers = { ["Retry-After"] = "0", ["CF-Ray"] = "ray-1" }, body = "busy" } })
    local result = assert(c:purge(tags))
    local path, sent = "/zones/" .. zone .. "/purge_cache", #'{"tags":["a"]}'
    local expected = {
      { name = "request", attempt = 1, bytes = sent },
      { name = "response", attempt = 1, status = 503, ray_id = "ray-1", bytes = 4, kind = "server", seconds = 0 },
      { name = "retry", attempt = 1, status = 503, ray_id = "ray-1", wait = 0, kind = "server" },
      { name = "request", attempt = 2, bytes = sent },
      { name = "response", attempt = 2, status = 200, ray_id = result.ray_id, bytes = 0, seconds = 0 },
      { name = "done", attempt = 2, status = 200, ray_id = result.ray_id, bytes = 0, seconds = 0 },
    }
    assert.equal(#expected, #events)
    local id = events[1].id
    for i, event in ipairs(events) do
      assert.same({ "POST", path, id }, { event.method, event.path, event.id })
      if event.seconds then
        assert.is_true(event.seconds > 0 and event.seconds < 5)
        event.seconds = 0
      end
      if event.status == 200 then
        assert.is_true(event.bytes > 50)
        event.bytes = 0
      end
      event.method, event.path, event.id = nil, nil, nil
      assert.same(expected[i], event)
    end
    c:close()
  end)

  it("names what failed", function()
    for kind, case in pairs {
      tls = { { base_url = env.API_TLS }, { "request", "response", "done" } },
      connection = { { base_url = env.API_CLOSED, max_retries = 1, max_retry_wait = 0 },
        { "request", "response", "retry", "request", "response", "done" } },
      cancelled = { {}, { "request", "done" }, "cancel" },
      closed = { {}, { "request", "done" }, "close" },
    } do
      local c, zone, events = watched(case[1])
      edge.script(zone, { { times = 0, delay = 20, pass = true } })
      local request = c:start(tags)
      c:step(0)
      if case[3] == "cancel" then request:cancel() elseif case[3] then c:close() else run(c) end
      local names = {}
      for i, event in ipairs(events) do
        names[i] = event.name
        assert.equal(event.name ~= "request" and kind or nil, event.kind)
        assert.is_nil(event.status)
      end
      assert.same(case[2], names)
      c:close()
    end
  end)

  it("may raise, and no purge notices", function()
    local c, zone, events = watched(nil, function() error { "boom" } end)
    edge.script(zone, { { status = 503, headers = { ["Retry-After"] = "0" } } })
    assert.equal(2, assert(c:purge(tags)).attempts)
    assert.equal(6, #events)
    c:close()
  end)

  it("may purge, step and close", function()
    local depth, c = 0, nil
    local made, zone, events = watched(nil, function(event)
      if event.name == "response" and depth < 3 then
        depth = depth + 1
        assert(c:purge { tags = { "inner" .. depth } })
        c:step(0)
      end
    end)
    c = made
    assert(c:purge(tags))
    assert.equal(3, depth)
    assert.equal(4, #edge.requests(zone))
    local done = {}
    for _, event in ipairs(events) do if event.name == "done" then done[event.id] = (done[event.id] or 0) + 1 end end
    assert.same({ 1, 1, 1, 1 }, done)
    c:close()

    for _, at in ipairs { "request", "response", "done" } do
      local closing
      local function watch()
        local watched_zone
        closing, watched_zone = watched(nil, function(event) if event.name == at then closing:close() end end)
        -- Else a newer libcurl may have the answer before the event is told.
        if at == "request" then edge.script(watched_zone, { { delay = 1, pass = true } }) end
      end
      watch()
      local log, note = logbook()
      local request = closing:start(tags, nil, note(at))
      run(closing)
      assert.same({ at == "request" and "closed" or "accepted" }, log[at], at)
      assert.is_true(request:done())
      watch()
      assert.equal(log[at][1], kind_of(closing:purge(tags)), at)
    end
  end)
end)
