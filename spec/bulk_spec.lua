-- Lists of any length: split, streamed, stopped, and every item accounted for. lua/cfpurge/bulk and begin.
local edge = require "spec.support.edge"
local clients = require "spec.support.client"
local host = require "spec.support.host"
local lists = require "spec.support.lists"

local clock = require("cfpurge.core").now
local tags, iterator, all, sent = lists.tags, lists.iterator, lists.all, lists.sent

describe("a list longer than a request", function()
  teardown(clients.close)

  local client, zone, about
  before_each(function() client, zone, about = clients.new { max_retries = 0 } end)

  it("is split, whole and in order, as a table and as an iterator", function()
    for _, list in ipairs { tags(250), iterator(tags(250)) } do
      edge.reset(zone)
      local result = assert(client:purge({ tags = list }, { max_in_flight = 1 }))
      assert.same({ 250, 3, 3, result.ids[1] }, { result.accepted, result.requests, #result.ids, result.id })
      local items, sizes = sent(zone)
      assert.same(tags(250), items)
      assert.same({ 100, 100, 50 }, sizes)
      assert.truthy(result.elapsed > 0 and result.attempts == 3 and result.ray_id)
    end
  end)

  it("is sent once, however slowly it is read or its progress is told", function()
    local function pause(seconds)
      local ends = clock() + seconds
      while clock() < ends do end
    end
    local next_item, read = iterator(tags(500)), 0
    local result = assert(client:purge({ tags = function()
      read = read + 1
      if read % 100 == 0 then pause(0.3) end
      return next_item()
    end }, { timeout = 1, max_retries = 0 }))
    assert.same({ 500, 500 }, { result.accepted, edge.counts(zone).items })
    local second = select(2, clients.new { max_retries = 0 })
    result = assert(client:purge({ tags = tags(500), zone_id = second }, { timeout = 1, max_retries = 0,
      on_progress = function() pause(0.3) end }))
    assert.same({ 500, 500 }, { result.accepted, edge.counts(second).items })
  end)

  it("is accepted where the deadline passes when all of it was", function()
    local result, err = client:purge({ tags = tags(250) }, { deadline = 2, on_progress = function(progress)
      local begun = clock()
      while progress.accepted == 250 and clock() - begun < 2.1 do client:step(0.01) end
    end })
    assert.same({ 250 }, { result and result.accepted, err })
  end)

  it("sends nothing more once its iterator has cancelled it", function()
    local list, i, request, seen = tags(1000), 0, nil, nil
    request = client:start({ tags = function()
      i = i + 1
      if i == 450 then request:cancel() end
      return list[i]
    end }, { max_in_flight = 1 }, function(_, err) seen = err end)
    while client:in_flight() > 0 do client:step(1) end
    assert.same({ "cancelled", 400, 400 }, { seen.kind, seen.accepted, edge.counts(zone).items })
    local rest = {}
    for item in seen.remaining.tags do rest[#rest + 1] = item end
    assert.same({ 600, "t401", "t1000" }, { #rest, rest[1], rest[600] })
  end)

  it("tells in an error how long all of it took", function()
    edge.script(zone, { { delay = 0.3, pass = true }, { times = 0, status = 403, json = { success = false, errors = {} } } })
    local _, err = client:purge({ tags = tags(250) }, { max_in_flight = 1 })
    assert.same({ "partial", "permission_denied", 100 }, { err.kind, err.failures[1].error.kind, err.accepted })
    assert.truthy(err.elapsed > 0.25, err.elapsed)
  end)

  it("may be the lines of a file", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write(table.concat(tags(250), "\n"), "\n")
    file:close()
    local function lines() return io.lines(path) end
    local planned = assert(client:purge({ tags = lines() }, { dry_run = true }))
    assert.same({ 250, 3 }, { planned.items, #planned.requests })
    assert.equal(250, assert(client:purge({ tags = lines() }, { max_in_flight = 1 })).accepted)
    assert.same(tags(250), (sent(zone)))
    edge.script(zone, { { times = 0, status = 403, json = { success = false, errors = {} } } })
    local _, err = client:purge({ tags = lines() }, { max_in_flight = 1 })
    os.remove(path)
    assert.same(all(tags(250)), all(err.remaining.tags))
  end)

  it("is split by max_items and by the plan, for every kind and convenience", function()
    local function urls(count)
      local list = {}
      for i = 1, count do list[i] = "https://" .. about.name .. "/" .. i end
      return list
    end
    local _, sizes
    assert(client:purge_tags(tags(7), { max_items = 3, max_in_flight = 1 }))
    _, sizes = sent(zone)
    assert.same({ 3, 3, 1 }, sizes)
    local enterprise, at, told = clients.new { plan = "enterprise" }
    edge.limits { zone = at, plan = "enterprise" }
    about = told
    assert.equal(600, assert(enterprise:purge_files(urls(600), { max_in_flight = 1 })).accepted)
    _, sizes = sent(at, "files")
    assert.same({ 500, 100 }, sizes)
    assert.equal(2, assert(enterprise:purge_tags(iterator(tags(150)))).requests)
    for _, kind in ipairs { "hosts", "prefixes" } do
      local list = {}
      for i = 1, 120 do list[i] = "h" .. i .. "." .. about.name .. (kind == "prefixes" and "/a" or "") end
      assert.equal(120, assert(enterprise["purge_" .. kind](enterprise, list)).accepted)
    end
    assert.equal(600 + 150 + 120 + 120, edge.counts(at).items)
  end)

  it("has max_in_flight requests in flight and no more", function()
    for _, most in ipairs { 1, 3, 8 } do
      edge.reset(zone)
      edge.script(zone, { { times = 0, delay = 0.03, pass = true } })
      local request = client:start({ tags = iterator(tags(1200)) }, { max_in_flight = most })
      local seen = client:in_flight()
      while not request:done() do
        client:step()
        seen = math.max(seen, client:in_flight())
        local counts = edge.counts(zone)
        assert.truthy(counts.requests - counts.accepted <= most)
      end
      assert.equal(most, seen)
      assert.equal(1200, assert(request:result()).accepted)
    end
  end)

  it("is read only as fast as it is sent", function()
    edge.script(zone, { { times = 4, delay = 1, pass = true } })
    local read, list = 0, iterator(tags(1000))
    local request = client:start({ tags = function()
      read = read + 1
      return list()
    end }, { max_in_flight = 4 })
    assert.equal(400, read)
    repeat client:step(0.01) until edge.counts(zone).requests >= 4
    assert.truthy(read <= 100 * (4 + edge.counts(zone).accepted), read)
    assert.equal(1000, assert(request:wait()).accepted)
    assert.equal(1001, read)
  end)

  it("stays flat in memory, whatever its length", function()
    local _, blind = edge.zone { blind = true }
    local count = _VERSION == "Lua 5.4" and 1000000 or 200000
    local function peak_of(most)
      collectgarbage()
      collectgarbage()
      local before, peak, i = collectgarbage "count", 0, 0
      local result = assert(client:purge({ zone_id = blind.id, tags = function()
        i = i + 1
        if i % 20000 == 0 then
          collectgarbage()
          peak = math.max(peak, collectgarbage "count" - before)
        end
        return i <= most and "tag" .. i or nil
      end }))
      assert.same({ most, most / 100 }, { result.accepted, #result.ids })
      -- The ids are what the caller wants to have; all else is flat.
      return peak - most / 100 * 0.1
    end
    local short, long = peak_of(100000), peak_of(count)
    assert.truthy(long < short + 600, short .. " KB, then " .. long .. " KB")
  end)

  it("gathers the messages of all its requests", function()
    local function answer(text)
      return { json = { success = true, errors = {}, messages = { { code = 1, message = text } }, result = { id = text } } }
    end
    edge.script(zone, { answer "one", answer "two", answer "three" })
    local result = assert(client:purge({ tags = tags(250) }, { max_in_flight = 1 }))
    assert.same({ "one", "two", "three" }, result.ids)
    assert.same({ { code = 1, message = "one" }, { code = 1, message = "two" }, { code = 1, message = "three" } },
      result.messages)
  end)

  it("is sent once where items are equal", function()
    local result = assert(client:purge { tags = { "a", "A", "b", "a", "B" } })
    assert.same({ 5, { "a", "b" } }, { result.accepted, (sent(zone)) })
    local name = about.name
    local long, list = { "https://" .. name .. "/", "https://" .. name:upper() .. "/", "HTTPS://" .. name .. "/",
      { url = "https://" .. name .. "/", headers = { Origin = "https://a.example" } },
      { url = "https://" .. name:upper() .. "/", headers = { Origin = "https://a.example" } },
      "https://" .. name .. "/A", "https://" .. name .. "/a" }, {}
    for _ = 1, 40 do for _, item in ipairs(long) do list[#list + 1] = item end end
    edge.reset(zone)
    result = assert(client:purge { files = list })
    assert.same({ 280, 1 }, { result.accepted, result.requests })
    assert.same({ long[1], long[4], long[6], long[7] }, (sent(zone, "files")))
    edge.reset(zone)
    list = tags(150)
    for i = 1, 150 do list[150 + i] = "T" .. i end
    result = assert(client:purge { tags = list })
    assert.same({ 300, 2 }, { result.accepted, result.requests })
    assert.equal(150, edge.counts(zone).items)
  end)

  it("goes through start: one request, one on_done", function()
    local calls = {}
    local request = assert(client:start({ tags = iterator(tags(300)) }, nil, function(...) calls[#calls + 1] = { ... } end))
    assert.is_false(request:done())
    assert.is_nil(request:result())
    repeat until client:step() == 0
    assert.is_true(request:done())
    assert.equal(300, request:result().accepted)
    assert.same({ { request:result() } }, calls)
    assert.is_false(request:cancel())
    assert.equal(300, request:wait().accepted)
  end)

  it("goes in an event loop that does not stand still meanwhile", function()
    edge.script(zone, { { times = 0, delay = 0.1, pass = true } })
    local said = clients.lua(([[
      local cqueues = require "cqueues"
      local client = require("cfpurge").new { api_token = "%s", zone_id = "%s", base_url = "%s" }
      local i, turns, result = 0, 0, nil
      local loop = cqueues.new()
      loop:wrap(function()
        result = assert(client:purge_tags(function() i = i + 1 return i <= 1000 and "t" .. i or nil end))
      end)
      loop:wrap(function() while not result do turns = turns + 1 cqueues.sleep(0.005) end end)
      assert(loop:loop())
      print(result.accepted, result.requests, turns > 3)
    ]]):format(edge.env.TOKEN, zone, edge.env.API_HTTP))
    edge.reset(zone)
    if said:find("module 'cqueues' not found", 1, true) then return pending "no cqueues for this Lua" end
    assert.equal("1000\t10\ttrue\n", said)
  end)

  it("tells how far it is", function()
    local seen = {}
    local function on_progress(progress) seen[#seen + 1] = progress end
    edge.script(zone, { { match = '"t150"', status = 503 } })
    local result, err = client:purge({ tags = tags(350) }, { max_in_flight = 1, on_progress = on_progress })
    assert.same({ nil, "partial", "server", 250, 4 },
      { result, err.kind, err.failures[1].error.kind, err.accepted, #seen })
    for i, expected in ipairs { { 100, 0, 100 }, { 100, 100, 200 }, { 200, 100, 300 }, { 250, 100, 350 } } do
      local now = seen[i]
      assert.same(expected, { now.accepted, now.failed, now.sent })
      assert.equal(350, now.total)
      assert.truthy(now.rate > 0 and now.eta >= 0)
    end
    assert.equal(0, seen[4].eta)
    seen = {}
    assert(client:purge({ tags = iterator(tags(150)) }, { on_progress = on_progress }))
    assert.same({ 2, nil, nil, 150 }, { #seen, seen[1].total, seen[1].eta, seen[2].accepted })
    seen = {}
    assert(client:purge({ tags = tags(3) }, { on_progress = on_progress }))
    assert.same({ 1, 3 }, { #seen, seen[1].accepted })
    assert(client:start({ tags = tags(150) }, { on_progress = on_progress },
      function() seen.done = #seen end):wait())
    assert.equal(#seen, seen.done)
  end)

  it("loses nothing where on_progress raises, and raises that", function()
    local ok, raised = pcall(client.purge, client, { tags = tags(300) }, { on_progress = function() error "a bug" end })
    assert.is_false(ok)
    assert.truthy(raised:find("a bug", 1, true))
    assert.equal(300, edge.counts(zone).items)
    assert.equal(1, assert(client:purge { tags = { "a" } }).accepted)
  end)
end)

describe("a list that is interrupted", function()
  teardown(clients.close)

  local client, zone
  before_each(function() client, zone = clients.new { max_retries = 0 } end)

  it("ends at its deadline as a whole", function()
    host.tries(function()
      edge.reset(zone)
      edge.script(zone, { { times = 0, delay = 0.5, pass = true } })
      local before = edge.counts(zone).requests
      local _, err = client:purge({ tags = iterator(tags(5000)) }, { deadline = 2, max_in_flight = 2 })
      assert.equal("timeout", err.failures[1].error.kind)
      assert.truthy(err.accepted <= 1000, err.accepted)
      assert.equal(5000, err.accepted + #all(err.remaining.tags))
      -- Nothing began after it.
      assert.truthy(edge.counts(zone).requests - before <= 12, edge.counts(zone).requests)
      return err.accepted >= 200, err.accepted
    end)
  end)

  it("ends by cancel, and by cancel from within", function()
    edge.script(zone, { { times = 3, pass = true }, { times = 0, hang = 20 } })
    local ended = 0
    local request = client:start({ tags = tags(1000) }, { max_in_flight = 2 }, function() ended = ended + 1 end)
    repeat client:step(0.01) until edge.counts(zone).requests >= 5
    assert.is_true(request:cancel())
    local _, err = request:result()
    assert.same({ 1, "cancelled", 300, 700 }, { ended, err.kind, err.accepted, #err.remaining.tags })
    assert.same({ 0, false }, { client:in_flight(), request:cancel() })
    for _, form in ipairs { "table", "function" } do
      edge.script(zone, {})
      local list = form == "table" and tags(1000) or iterator(tags(1000))
      request = client:start({ tags = list }, { max_in_flight = 2, on_progress = function(progress)
        if progress.accepted >= 300 then request:cancel() end
      end })
      err = select(2, request:wait())
      -- What had been answered already counts.
      assert.truthy(err.kind == "cancelled" and err.accepted >= 300 and err.accepted <= 500)
      assert.equal(1000, err.accepted + #all(err.remaining.tags))
    end
    -- Where nothing is in flight just then, and where it comes too late.
    for _, case in ipairs { { 5, true, "cancelled", 5 }, { 15, false, "accepted", 15 } } do
      local cancelled
      ended = 0
      request = client:start({ tags = tags(15) }, { max_items = 5, max_in_flight = 1, on_progress = function(progress)
        if progress.accepted == case[1] then cancelled = request:cancel() end
      end }, function() ended = ended + 1 end)
      local result, problem = request:wait()
      assert.same({ case[2], case[3], case[4], 1 },
        { cancelled, result and "accepted" or problem.kind, (result or problem).accepted, ended })
    end
    -- From the iterator itself, in the middle of a request that is being filled.
    local i = 0
    request = nil
    request = client:start({ tags = function()
      i = i + 1
      if i == 450 then assert.is_true(request:cancel()) end
      return i <= 1000 and "t" .. i or nil
    end }, { max_in_flight = 2 })
    err = select(2, request:wait())
    assert.equal("cancelled", err.kind)
    assert.equal(1000, err.accepted + #all(err.remaining.tags))
  end)

  for _, form in ipairs { "table", "function" } do
    it("ends by close: " .. form, function()
      local own, at = clients.new { max_retries = 0 }
      edge.script(at, { { times = 2, pass = true }, { times = 0, hang = 20 } })
      local ended
      local list = form == "table" and tags(1000) or iterator(tags(1000))
      local request = own:start({ tags = list }, { max_in_flight = 2 }, function(_, err) ended = err end)
      repeat own:step(0.01) until edge.counts(at).requests >= 4
      own:close()
      assert.same({ true, "closed", 200 }, { request:done(), ended.kind, ended.accepted })
      assert.equal(800, #all(ended.remaining.tags))
    end)
  end

  it("ends by close from its iterator, which is not asked again before somebody goes on", function()
    local own, at = clients.new { max_retries = 0 }
    local i = 0
    local _, err = own:purge({ tags = function()
      i = i + 1
      if i == 250 then own:close() end
      return i <= 1000 and "t" .. i or nil
    end }, { max_in_flight = 1 })
    assert.same({ "closed", 200 }, { err.kind, err.accepted })
    assert.equal(200, edge.counts(at).items)
    assert.equal(800, #all(err.remaining.tags))
  end)

  it("ends by an error of its iterator, which becomes the error", function()
    local i = 0
    local _, err = client:purge({ tags = function()
      i = i + 1
      if i > 250 then error "the file is gone" end
      return "t" .. i
    end }, { max_in_flight = 1 })
    assert.same({ "partial", "tags", 200, 50 }, { err.kind, err.field, err.accepted, #err.remaining.tags })
    local last = err.failures[#err.failures]
    assert.same({ "invalid_request", 50, "t201" }, { last.error.kind, #last.items, last.items[1] })
    assert.truthy(err.message:find("the file is gone", 1, true))
  end)
end)
