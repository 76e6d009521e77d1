-- Lists whose iterator yields, and perhaps never comes back. lua/cfpurge/bulk.
local clients = require "spec.support.client"
local edge = require "spec.support.edge"
local elsewhere = require "spec.support.where"

describe("a list whose iterator has yielded", function()
  teardown(clients.close)

  -- Reads `from` items and then yields once for each; the coroutine that runs it is `thread`.
  local function begun(options)
    local client, zone = clients.new(options)
    local seen = { calls = 0, client = client, zone = zone }
    local i = 0
    local function next_item()
      i = i + 1
      if i > 250 then coroutine.yield() end
      return i <= 600 and "t" .. i or nil
    end
    seen.thread = coroutine.create(function()
      seen.request = assert(client:start({ tags = next_item }, nil, function(_, err)
        seen.calls, seen.err = seen.calls + 1, err
      end))
      seen.came_back = true
    end)
    assert(coroutine.resume(seen.thread))
    assert.equal("suspended", coroutine.status(seen.thread))
    return seen
  end

  local function ended(seen, kind, accepted)
    assert.same({ 1, kind, accepted }, { seen.calls, seen.err.kind, seen.err.accepted })
    assert.equal(0, seen.client:in_flight())
    return seen.err.remaining.tags
  end

  if elsewhere "yields" then return end

  it("is ended at once by cancel, and what it reads afterwards remains", function()
    for _, late in ipairs { false, true } do
      local seen = begun()
      while seen.client:in_flight() > 0 do seen.client:step(1) end
      seen.client:cancel()
      local remaining = ended(seen, "cancelled", 200)
      if late then
        -- It comes back, and finds that the list has ended: nothing more is read or sent.
        assert(coroutine.resume(seen.thread))
        assert.is_true(seen.came_back)
        assert.same({ true, false, 1 }, { seen.request:done(), seen.request:cancel(), seen.calls })
      end
      local rest = {}
      local reader = coroutine.create(function()
        for item in remaining do rest[#rest + 1] = item end
      end)
      while coroutine.status(reader) ~= "dead" do assert(coroutine.resume(reader)) end
      -- The item that the dropped coroutine had taken is nobody's but its own.
      assert.same({ "t201", late and "t251" or "t252", "t600", late and 400 or 399 },
        { rest[1], rest[51], rest[#rest], #rest })
      seen.client:step(0)
      assert.equal(200, edge.counts(seen.zone).items)
    end
  end)

  it("is ended at once by close, and once", function()
    local seen = begun()
    seen.client:close()
    ended(seen, "closed", 0)
    seen.client:close()
    assert(coroutine.resume(seen.thread))
    assert.equal(1, seen.calls)
  end)

  it("is ended by the one who waits for it, where nobody could resume it", function()
    local client = clients.new()
    local calls, i = 0, 0
    local request = assert(client:start({ tags = function()
      i = i + 1
      if i > 1000 then coroutine.yield() end
      return "t" .. i
    end }, { max_in_flight = 1 }, function() calls = calls + 1 end))
    local thread = coroutine.create(function()
      while not request:done() do client:step(1) end
      return "came back"
    end)
    assert(coroutine.resume(thread))
    assert.equal("suspended", coroutine.status(thread))
    local before = os.clock()
    local result, err = request:wait()
    assert.same({ nil, "tags" }, { result, err.field })
    assert.matches("nobody resumes it", err.message)
    assert.is_true(os.clock() - before < 1)
    assert.same({ true, "came back" }, { coroutine.resume(thread) })
    assert.equal(1, calls)
  end)

  it("ends with the client that is collected, and with the state", function()
    local calls, kind = 0, nil
    local function forget()
      local client = clients.new { loop = "blocking" }
      local thread = coroutine.create(function()
        client:start({ tags = function() coroutine.yield() end }, nil, function(_, err)
          calls, kind = calls + 1, err.kind
        end)
      end)
      assert(coroutine.resume(thread))
    end
    forget()
    for _ = 1, 4 do collectgarbage() end
    assert.same({ 1, "closed" }, { calls, kind })
    assert.matches("told%s+closed", clients.lua([[
      local client = assert(require "cfpurge".new { api_token = "t", zone_id = "z" })
      kept = coroutine.create(function()
        client:start({ tags = function() coroutine.yield() end }, nil, function(_, err) print("told", err.kind) end)
      end)
      assert(coroutine.resume(kept))]]))
  end)

  it("ends where its coroutine is collected, in the next step", function()
    local seen = begun()
    while seen.client:in_flight() > 0 do seen.client:step(1) end
    seen.thread = nil
    for _ = 1, 4 do collectgarbage() end
    assert.is_true(seen.client:active())
    seen.client:step(0)
    ended(seen, "partial", 200)
    assert.matches("coroutine in which the iterator had yielded is gone", seen.err.message)
  end)
end)

-- Lua 5.1 too: it runs in a coroutine of its own.
describe("an iterator that yields outside any coroutine", function()
  teardown(clients.close)

  it("goes on when somebody resumes it", function()
    local client = clients.new()
    local i, waiting, result = 0, nil, nil
    assert(client:start({ tags = function()
      i = i + 1
      if i % 100 == 50 then
        waiting = coroutine.running()
        coroutine.yield()
      end
      return i <= 1000 and "t" .. i or nil
    end }, nil, function(...) result = assert(...) end))
    while not result do
      if client:active() then client:step(1) end
      local thread = waiting
      waiting = nil
      if thread then assert(coroutine.resume(thread)) end
    end
    assert.equal(1000, result.accepted)
  end)

  it("ends a purge that blocks, which could not go on", function()
    local client, zone = clients.new()
    local i = 0
    local result, err = client:purge { tags = function()
      i = i + 1
      if i == 150 then coroutine.yield() end
      return "t" .. i
    end }
    assert.is_nil(result)
    assert.same({ 100, 100 }, { err.accepted, edge.counts(zone).items })
    assert.matches("tags: the iterator has yielded, and nobody resumes it here", err.message)
    assert.equal("t101", err.remaining.tags())
  end)
end)
