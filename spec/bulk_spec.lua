-- Lists of any length: split, streamed, isolated, and every item accounted for. lua/cfpurge/bulk and call.
local cjson = require("cjson").new()
local edge = require "spec.support.edge"
local clients = require "spec.support.client"

local function tags(count, from)
  local list = {}
  for i = 1, count do list[i] = "t" .. (from or 0) + i end
  return list
end

local function iterator(list)
  local i = 0
  return function()
    i = i + 1
    return list[i]
  end
end

-- A list, or what an iterator gives, as a sorted copy.
local function all(items)
  local list = {}
  if type(items) == "function" then
    for item in items do list[#list + 1] = item end
  else
    for i, item in ipairs(items) do list[i] = item end
  end
  table.sort(list)
  return list
end

local function sorted(list) return all(list) end

-- What the requests on the edge's record asked for, in order of arrival, and how many items each had.
local function sent(zone, kind)
  local items, sizes = {}, {}
  for i, request in ipairs(edge.requests(zone)) do
    local list = cjson.decode(request.body)[kind or "tags"]
    sizes[i] = #list
    for _, item in ipairs(list) do items[#items + 1] = item end
  end
  return items, sizes
end

local function refusal(code, status)
  return { status = status or 400, times = 0,
    json = { success = false, errors = { { code = code, message = "refused " .. code } }, messages = cjson.empty_array } }
end

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
      local seen = 0
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
    edge.script(zone, { { times = 4, delay = 0.2, pass = true } })
    local read, list = 0, iterator(tags(1000))
    local request = client:start({ tags = function()
      read = read + 1
      return list()
    end }, { max_in_flight = 4 })
    assert.equal(400, read)
    repeat client:step(0.01) until edge.counts(zone).requests == 4
    assert.equal(400, read)
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

  it("is sent once where items are equal", function()
    local result = assert(client:purge { tags = { "a", "A", "b", "a", "B" } })
    assert.same({ 2, { "a", "b" } }, { result.accepted, (sent(zone)) })
    local name = about.name
    local long, list = { "https://" .. name .. "/", "https://" .. name:upper() .. "/", "HTTPS://" .. name .. "/",
      { url = "https://" .. name .. "/", headers = { Origin = "https://a.example" } },
      { url = "https://" .. name:upper() .. "/", headers = { Origin = "https://a.example" } },
      "https://" .. name .. "/A", "https://" .. name .. "/a" }, {}
    for _ = 1, 40 do for _, item in ipairs(long) do list[#list + 1] = item end end
    edge.reset(zone)
    result = assert(client:purge { files = list })
    assert.same({ 4, 1 }, { result.accepted, result.requests })
    assert.same({ long[1], long[4], long[6], long[7] }, (sent(zone, "files")))
    edge.reset(zone)
    list = tags(150)
    for i = 1, 150 do list[150 + i] = "T" .. i end
    result = assert(client:purge { tags = list })
    assert.same({ 150, 2 }, { result.accepted, result.requests })
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
    edge.script(zone, { { times = 0, delay = 0.02, pass = true } })
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
    assert.same({ nil, "server", 250, 4 }, { result, err.kind, err.accepted, #seen })
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

describe("an over-limit answer", function()
  teardown(clients.close)

  it("makes the requests smaller from then on, for the client's next lists too", function()
    for _, case in ipairs { { 1094, "files" }, { 1101, "tags" }, { 1111, "hosts" }, { 413, "tags" } } do
      local client, zone, about = clients.new { max_retries = 0 }
      local code, kind = case[1], case[2]
      local function list(count)
        local items = {}
        for i = 1, count do
          items[i] = kind == "files" and "https://" .. about.name .. "/" .. i
            or kind == "hosts" and "h" .. i .. "." .. about.name or "t" .. i
        end
        return items
      end
      if code == 413 then
        edge.script(zone, { { status = 413, body = "<html>too large</html>" }, { status = 413, body = "" } })
      else
        edge.limits { zone = zone, max_items = 30 }
      end
      local result = assert(client:purge({ [kind] = list(100) }, { max_in_flight = 1 }))
      assert.equal(100, result.accepted)
      local _, sizes = sent(zone, kind)
      assert.same({ 100, 50, 25, 25, 25, 25 }, sizes)
      assert.equal(100, edge.counts(zone).items)
      edge.requests(zone)
      assert.equal(60, assert(client:purge({ [kind] = list(60) }, { max_in_flight = 1 })).accepted)
      _, sizes = sent(zone, kind)
      assert.same({ 25, 25, 10 }, { sizes[7], sizes[8], sizes[9] })
      assert.equal(10, #sizes - 6 == 3 and sizes[#sizes])
    end
  end)

  it("serves with many in flight, and isolate = false does not matter to it", function()
    local client, zone = clients.new()
    edge.limits { zone = zone, max_items = 30 }
    local result = assert(client:purge({ tags = iterator(tags(2000)) }, { isolate = false }))
    assert.same({ 2000, 2000 }, { result.accepted, edge.counts(zone).items })
  end)
end)

describe("what is refused", function()
  teardown(clients.close)

  local client, zone, about
  before_each(function() client, zone, about = clients.new { max_retries = 0 } end)

  -- Files, of which those at `bad` belong to no zone.
  local function files(count, bad)
    local list, wrong = {}, {}
    for i = 1, count do list[i] = ("https://%s/%04d"):format(about.name, i) end
    for _, i in ipairs(bad) do
      list[i] = ("https://other.example/%04d"):format(i)
      wrong[#wrong + 1] = list[i]
    end
    return list, wrong
  end

  it("is isolated wherever it stands, and all else is accepted", function()
    local everywhere = {}
    for i = 1, 20 do everywhere[i] = i end
    for _, case in ipairs { { 100, { 1, 100 } }, { 100, { 50 } }, { 100, { 50, 51, 52 } }, { 20, everywhere },
      { 350, { 1, 100, 101, 349, 350 } }, { 2, { 2 } }, { 101, { 101 } } } do
      for _, form in ipairs { "table", "function" } do
        edge.reset(zone)
        local list, wrong = files(case[1], case[2])
        local result, err = client:purge { files = form == "table" and list or iterator(list) }
        assert.is_nil(result)
        assert.same({ "bad_request", 1016, #list - #wrong }, { err.kind, err.code, err.accepted })
        assert.same(wrong, err.remaining.files)
        assert.equal(#wrong, #err.failures)
        for _, failure in ipairs(err.failures) do
          assert.same({ 1, 1016 }, { #failure.items, failure.error.code })
        end
        assert.equal(err.accepted, edge.counts(zone).items)
      end
    end
  end)

  it("fails whole requests without isolate", function()
    local list = files(250, { 120 })
    local _, err = client:purge({ files = list }, { isolate = false })
    assert.same({ 150, 1, 100 }, { err.accepted, #err.failures, #err.remaining.files })
    assert.same({ list[101], list[200] }, { err.remaining.files[1], err.remaining.files[100] })
    _, err = client:purge({ files = files(50, { 2 }) }, { isolate = false })
    assert.same({ 0, 50 }, { err.accepted, #err.remaining.files })
    local without = clients.new { max_retries = 0, zone_id = zone, isolate = false }
    edge.reset(zone)
    _, err = without:purge { files = files(50, { 2 }) }
    assert.same({ 0, 50, 1 }, { err.accepted, #err.remaining.files, edge.counts(zone).requests })
  end)

  it("is the request itself where everything is: it stops after a few, and says so", function()
    for _, answer in ipairs { refusal(99), refusal(1012), refusal(99, 422) } do
      for _, options in ipairs { { max_in_flight = 1 }, { max_in_flight = 8 }, { max_items = 1 }, { isolate = false } } do
        edge.script(zone, { answer })
        edge.reset(zone)
        edge.script(zone, { answer })
        local _, err = client:purge({ tags = tags(5000) }, options)
        assert.truthy(edge.counts(zone).requests <= 24, edge.counts(zone).requests)
        assert.same({ 0, 5000 }, { err.accepted, #err.remaining.tags })
        assert.same(sorted(tags(5000)), all(err.remaining.tags))
        assert.truthy(tostring(err):find("it is not about an item", 1, true), tostring(err))
      end
    end
  end)

  it("is not the request where the items of its beginning are", function()
    -- A code that nobody knows: what comes later shows that the rest is fine.
    for _, form in ipairs { "table", "function" } do
      for _, count in ipairs { 100, 400 } do
        edge.reset(zone)
        local list = tags(count)
        for i = 1, 50 do list[i] = "bad" .. i end
        local answer = refusal(4242)
        answer.match = "bad"
        edge.script(zone, { answer })
        local _, err = client:purge({ tags = form == "table" and list or iterator(list) }, { max_in_flight = 1 })
        assert.same({ count - 50, 50 }, { err.accepted, #err.remaining.tags })
        assert.equal(count - 50, edge.counts(zone).items)
      end
    end
  end)

  it("stops all where no other item can escape", function()
    local function check(params, options, kind, most)
      edge.reset(zone)
      local from = edge.counts(zone).requests
      local _, err = client:purge(params, options)
      assert.same({ kind, 0 }, { err.kind, err.accepted })
      assert.truthy(edge.counts(zone).requests - from <= most)
      assert.same(sorted(tags(900)), all(err.remaining.tags))
      return err
    end
    local one = { max_in_flight = 1 }
    check({ tags = tags(900) }, { api_token = "wrong" }, "authentication", 8)
    check({ tags = tags(900) }, { api_token = "wrong", max_in_flight = 1 }, "authentication", 1)
    check({ tags = iterator(tags(900)) }, { api_token = edge.env.TOKEN_NO_PURGE, max_in_flight = 1 },
      "permission_denied", 1)
    local err = check({ tags = tags(900), zone_id = ("0"):rep(32) }, one, "permission_denied", 1)
    assert.equal(("0"):rep(32), err.remaining.zone_id)
    assert.equal(1, err.requests)
    err = check({ tags = tags(900), zone_id = "malformed" }, one, "not_found", 1)
    assert.equal("malformed", err.remaining.zone_id)
    err = check({ tags = iterator(tags(900)), environment_id = "nope" }, one, "not_found", 1)
    assert.equal("nope", err.remaining.environment_id)
    edge.reset(zone)
    edge.script(zone, { refusal(7003) })
    local _, refused = client:purge({ tags = tags(900) }, one)
    assert.same({ "bad_request", 1 }, { refused.kind, edge.counts(zone).requests })
  end)

  it("stops where the API is out of reach", function()
    local _, err = client:purge({ tags = iterator(tags(5000)) }, { base_url = edge.env.API_CLOSED, max_in_flight = 2 })
    assert.same({ "connection", 0 }, { err.kind, err.accepted })
    assert.truthy(err.requests <= 5)
    assert.same(sorted(tags(5000)), all(err.remaining.tags))
  end)

  it("can be given to purge again, with its zone and environment", function()
    local other, told = edge.zone()
    local id = told.environments.staging
    for _, form in ipairs { "table", "function" } do
      edge.reset(other)
      edge.script(other, { { times = 1, pass = true }, { status = 401, body = "{}" } })
      local list = form == "table" and tags(450) or iterator(tags(450))
      local _, err = client:purge_environment(id, { zone_id = other, tags = list }, { max_in_flight = 1 })
      assert.same({ "authentication", 100, other, id, form }, { err.kind, err.accepted, err.remaining.zone_id,
        err.remaining.environment_id, type(err.remaining.tags) })
      edge.script(other, {})
      local result = assert(client:purge(err.remaining))
      assert.equal(350, result.accepted)
      assert.equal(450, edge.counts(other).items)
      for _, request in ipairs(edge.requests(other)) do
        assert.equal("/client/v4/zones/" .. other .. "/environments/" .. id .. "/purge_cache", request.path)
      end
    end
  end)
end)

describe("every item", function()
  teardown(clients.close)

  -- A generator of our own: the same numbers on every Lua.
  local state = 20261121
  local function random(most)
    state = (state * 16807) % 2147483647
    return state % most + 1
  end

  local function json(code) return refusal(code).json end

  it("is accepted or remains, whatever the answers", function()
    local client, zone = clients.new { max_retries = 0 }
    for round = 1, 25 do
      edge.reset(zone)
      local count, answers, bad = 50 + random(600), {}, {}
      local list = tags(count)
      for _ = 1, random(4) - 1 do
        local i = random(count)
        list[i] = "BAD" .. i
        bad[#bad + 1] = '"' .. list[i] .. '"'
      end
      for i = 1, 12 do
        local turn = random(7)
        answers[i] = ({ { pass = true }, { status = 429, headers = { ["Retry-After"] = "0" }, json = json(971) },
          { status = 500, headers = { ["Retry-After"] = "0" }, body = "{}" }, { cut = 10, body = clients.OK },
          { status = 400, json = json(1101) }, { pass = true, delay = 0.002 },
          { status = 400, json = json(1100) } })[turn]
      end
      for _, text in ipairs(bad) do answers[#answers + 1] = { match = text, times = 0, status = 400, json = json(1100) } end
      edge.script(zone, answers)
      local is_list = round % 2 == 0
      local result, err = client:purge({ tags = is_list and list or iterator(list) },
        { max_in_flight = random(4), max_items = random(2) == 1 and 100 or 17, max_retries = round % 8 == 0 and 1 or 0 })
      local accepted, remaining = (result or err).accepted, all(result and {} or err.remaining.tags)
      assert.equal(count, accepted + #remaining, "round " .. round)
      local left = {}
      for _, tag in ipairs(remaining) do left[tag] = (left[tag] or 0) + 1 end
      local failed = 0
      for _, failure in ipairs(err and err.failures or {}) do failed = failed + #failure.items end
      assert.truthy(failed <= #remaining)
      -- What the API has accepted is what is not left, each once.
      assert.equal(accepted, edge.counts(zone).items, "round " .. round)
      for _, tag in ipairs(list) do
        if left[tag] then left[tag] = nil end
      end
      assert.is_nil(next(left))
      if err then
        edge.script(zone, {})
        assert.equal(#remaining, assert(client:purge { tags = remaining }).accepted)
        assert.equal(count, edge.counts(zone).items)
      end
    end
  end)
end)

describe("a list that is interrupted", function()
  teardown(clients.close)

  local client, zone
  before_each(function() client, zone = clients.new { max_retries = 0 } end)

  it("ends at its deadline as a whole", function()
    edge.script(zone, { { times = 0, delay = 0.12, pass = true } })
    local _, err = client:purge({ tags = iterator(tags(5000)) }, { deadline = 0.5, max_in_flight = 2 })
    assert.equal("timeout", err.kind)
    assert.truthy(err.accepted >= 200 and err.accepted <= 1000, err.accepted)
    assert.equal(5000, err.accepted + #all(err.remaining.tags))
    -- Nothing began after it.
    assert.truthy(edge.counts(zone).requests <= 12, edge.counts(zone).requests)
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
    -- From the iterator itself, in the middle of a request that is being filled.
    local i = 0
    request = nil
    request = client:start({ tags = function()
      i = i + 1
      if i == 450 then request:cancel() end
      return i <= 1000 and "t" .. i or nil
    end }, { max_in_flight = 2 })
    err = select(2, request:wait())
    assert.equal("cancelled", err.kind)
    assert.equal(1000, err.accepted + #all(err.remaining.tags))
  end)

  it("ends by close", function()
    for _, form in ipairs { "table", "function" } do
      local own, at = clients.new { max_retries = 0 }
      edge.script(at, { { times = 2, pass = true }, { times = 0, hang = 20 } })
      local ended
      local list = form == "table" and tags(1000) or iterator(tags(1000))
      local request = own:start({ tags = list }, { max_in_flight = 2 }, function(_, err) ended = err end)
      repeat own:step(0.01) until edge.counts(at).requests >= 4
      own:close()
      assert.same({ true, "closed", 200 }, { request:done(), ended.kind, ended.accepted })
      assert.equal(800, #all(ended.remaining.tags))
    end
  end)

  it("ends by an error of its iterator, which becomes the error", function()
    local i = 0
    local _, err = client:purge({ tags = function()
      i = i + 1
      if i > 250 then error "the file is gone" end
      return "t" .. i
    end }, { max_in_flight = 1 })
    assert.same({ "invalid_request", "tags", 200, 50 }, { err.kind, err.field, err.accepted, #err.remaining.tags })
    assert.truthy(err.message:find("the file is gone", 1, true))
  end)
end)

describe("bad input", function()
  teardown(clients.close)

  local client, zone
  before_each(function() client, zone = clients.new { max_retries = 0 } end)

  it("in a table is refused by its place before anything is sent", function()
    local function with(i, value)
      local list = tags(450)
      list[i] = value
      return { tags = list }
    end
    for _, i in ipairs { 1, 100, 101, 333, 450 } do
      local params = with(i, "a b")
      local result, err = client:purge(params)
      assert.same({ nil, "invalid_request", "tags[" .. i .. "]" }, { result, err.kind, err.field })
      assert.truthy(err.message:find("tags[" .. i .. "]", 1, true))
      assert.equal(params, err.remaining)
      local ok, raised = pcall(client.purge, client, with(i, 5))
      assert.is_false(ok)
      assert.truthy(raised:find("bad argument #1 to 'purge' (tags[" .. i .. "]: string expected, got number)", 1, true),
        raised)
    end
    for _, i in ipairs { 1, 128, 225, 256, 449 } do
      local params = with(i, nil)
      params.tags[i] = nil
      local result, err = client:purge(params)
      assert.same({ nil, "invalid_request" }, { result, err.kind })
      assert.truthy(err.message:find("hole", 1, true) or err.message:find("not a list", 1, true), err.message)
    end
    local params = with(1, "a")
    params.tags.name = "b"
    local _, err = client:purge(params)
    assert.same({ "invalid_request", "tags" }, { err.kind, err.field })
    assert.equal(0, edge.counts(zone).requests)
  end)

  it("beside a list of any form is refused before anything is sent", function()
    for _, list in ipairs { tags(200), iterator(tags(200)) } do
      for field, params in pairs { nope = { tags = list, nope = 1 }, zone_id = { tags = list, zone_id = "a/b" },
        environment_id = { tags = list, environment_id = "" } } do
        local result, err = client:purge(params)
        assert.same({ nil, "invalid_request", field, params }, { result, err.kind, err.field, err.remaining })
      end
      local result, err = client:purge { tags = list, hosts = { "a.example" } }
      assert.same({ nil, "invalid_request" }, { result, err.kind })
      err = select(2, client:purge({ tags = list }, { nope = 1 }))
      assert.same({ "invalid_request", "nope" }, { err.kind, err.field })
      assert.has_error(function() client:purge({ tags = list }, { timeout = "5" }) end)
      assert.has_error(function() client:purge({ tags = list }, { on_progress = 5 }) end)
      assert.has_error(function() client:purge_tags "a" end)
    end
    assert.equal("invalid_request", select(2, client:purge { tags = function() end }).kind)
    assert.equal("invalid_request", select(2, client:purge { tags = {} }).kind)
    assert.equal(0, edge.counts(zone).requests)
  end)

  it("in an iterator fails alone", function()
    local list = tags(250)
    list[1], list[100], list[101], list[180] = "a b", 5, "", {}
    local result, err = client:purge { tags = iterator(list) }
    assert.same({ nil, "invalid_request", 246, 4 }, { result, err.kind, err.accepted, #err.failures })
    assert.same({ "a b", 5, "", {} }, err.remaining.tags)
    local fields = {}
    for i, failure in ipairs(err.failures) do
      fields[i] = failure.error.field
      assert.truthy(failure.error.message:find(fields[i], 1, true), failure.error.message)
    end
    assert.same({ "tags[1]", "tags[100]", "tags[101]", "tags[180]" }, fields)
    assert.equal(246, edge.counts(zone).items)
  end)
end)
