-- What the API refuses of a long list: requests that are too large, items that are at fault, and the request itself.
-- lua/cfpurge/bulk.
local edge = require "spec.support.edge"
local clients = require "spec.support.client"
local lists = require "spec.support.lists"

local tags, iterator, all, sent, refusal = lists.tags, lists.iterator, lists.all, lists.sent, lists.refusal

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
        assert.same({ #wrong < #list and "partial" or "bad_request", 1082, #list - #wrong },
          { err.kind, err.code, err.accepted })
        assert.same(wrong, err.remaining.files)
        assert.equal(#wrong, #err.failures)
        for _, failure in ipairs(err.failures) do
          assert.same({ 1, 1082 }, { #failure.items, failure.error.code })
        end
        assert.equal(err.accepted, edge.counts(zone).items)
      end
    end
  end)

  it("is all of it where no URL is of the zone: told after a few requests", function()
    local list = files(3000, {})
    for i = 1, #list do list[i] = ("https://other.example/%04d"):format(i) end
    for _, in_flight in ipairs { 1, 8 } do
      for _, form in ipairs { "table", "function" } do
        edge.reset(zone)
        local _, err = client:purge({ files = form == "table" and list or iterator(list) }, { max_in_flight = in_flight })
        assert.same({ "bad_request", 1082, 0 }, { err.kind, err.code, err.accepted })
        assert.truthy(err.message:find("every one of", 1, true), err.message)
        assert.truthy(err.requests <= 100, err.requests)
        assert.same(list, all(err.remaining.files))
      end
    end
    -- Unlikely as it looks at first.
    local bad = {}
    for i = 1, 100 do bad[i] = i end
    for i = 1, 29 do bad[100 + i] = 100 * i + 7 * i % 100 + 1 end
    local mixed, wrong = files(3000, bad)
    local _, err = client:purge({ files = mixed }, { max_in_flight = 1 })
    assert.equal(3000 - #wrong, err.accepted)
    assert.same(wrong, err.remaining.files)
  end)

  it("is told in the list's order, whichever answer came first", function()
    edge.reset(zone)
    local late, early = refusal(1016), refusal(1016)
    late.match, late.delay, early.match = '"t1"', 0.5, '"t2"'
    edge.script(zone, { late, early })
    local _, err = client:purge({ tags = tags(3) }, { max_items = 1, max_in_flight = 3 })
    assert.same({ 1, 2 }, { err.accepted, #err.failures })
    assert.same({ { "t1" }, { "t2" }, { "t1", "t2" } }, { err.failures[1].items, err.failures[2].items, err.remaining.tags })
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
        assert.same(all(tags(5000)), all(err.remaining.tags))
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
        answer.match = '"bad'
        edge.script(zone, { answer })
        local _, err = client:purge({ tags = form == "table" and list or iterator(list) }, { max_in_flight = 1 })
        assert.same({ count - 50, 50 }, { err.accepted, #err.remaining.tags })
        assert.equal(count - 50, edge.counts(zone).items)
      end
    end
  end)

  it("is not the request where an answer on its way accepts some", function()
    local list, wrong = tags(100), {}
    for i = 10, 100, 10 do
      list[i] = "bad" .. i
      wrong[#wrong + 1] = list[i]
    end
    local answer = refusal(9999)
    answer.match = '"bad'
    edge.script(zone, { answer, { delay = 0.2, pass = true, times = 0 } })
    local _, err = client:purge({ tags = list })
    assert.same({ "partial", 90 }, { err.kind, err.accepted })
    assert.same(wrong, err.remaining.tags)
    for i, failure in ipairs(err.failures) do assert.same({ wrong[i] }, failure.items) end
  end)

  it("stops all where no other item can escape", function()
    local function check(params, options, kind, most)
      edge.reset(zone)
      local from = edge.counts(zone).requests
      local _, err = client:purge(params, options)
      assert.same({ kind, 0 }, { err.kind, err.accepted })
      assert.truthy(edge.counts(zone).requests - from <= most)
      assert.same(all(tags(900)), all(err.remaining.tags))
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
    assert.same({ "not_found", "zone", 1 }, { refused.kind, refused.about, edge.counts(zone).requests })
  end)

  it("stops where the API is out of reach", function()
    local _, err = client:purge({ tags = iterator(tags(5000)) }, { base_url = edge.env.API_CLOSED, max_in_flight = 2 })
    assert.same({ "connection", 0 }, { err.kind, err.accepted })
    assert.truthy(err.requests <= 5)
    assert.same(all(tags(5000)), all(err.remaining.tags))
  end)

  it("can be given to purge again, with its zone and environment", function()
    local other, told = edge.zone()
    local id = told.environments.staging
    for _, form in ipairs { "table", "function" } do
      edge.reset(other)
      edge.script(other, { { times = 1, pass = true }, { status = 401, body = "{}" } })
      local list = form == "table" and tags(450) or iterator(tags(450))
      local _, err = client:purge_environment(id, { zone_id = other, tags = list }, { max_in_flight = 1 })
      assert.same({ "partial", 100, other, id, form }, { err.kind, err.accepted, err.remaining.zone_id,
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
