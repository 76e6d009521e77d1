-- The error of a list as a whole: its kind, whether it may be tried again, and what it counts.
local clients = require "spec.support.client"
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local lists = require "spec.support.lists"

local tags, iterator = lists.tags, lists.iterator

describe("the error of a list", function()
  teardown(clients.close)

  local client, zone
  before_each(function() client, zone = clients.new { max_retries = 0 } end)

  local function answer(match, status, code)
    local errors = { { code = code or status, message = "no " .. match } }
    return { match = match, status = status, times = 0, json = { success = false, errors = errors } }
  end

  local function each_form(list, options, check)
    for _, form in ipairs { "table", "function" } do
      edge.reset(zone)
      local result, err = client:purge({ tags = form == "table" and list or iterator(list) }, options)
      assert.is_nil(result)
      check(err)
    end
  end

  it("is partial where some were accepted, and says how many and the first cause", function()
    edge.script(zone, { answer('"t150"', 503) })
    local _, err = client:purge { tags = tags(250) }
    assert.same({ "partial", 150, 1, 503 }, { err.kind, err.accepted, #err.failures, err.failures[1].error.status })
    assert.matches("^partial: 100 items not accepted, 150 accepted: server: ", tostring(err))
    assert.is_true(err.retryable)
    edge.script(zone, { answer('"t101"', 503) })
    _, err = client:purge { tags = tags(101) }
    assert.matches("^partial: 1 item not accepted, 100 accepted: server: ", tostring(err))
  end)

  it("is partial where the causes differ, although nothing was accepted", function()
    edge.script(zone, { answer('"t1"', 503), answer('"t150"', 422) })
    local _, err = client:purge({ tags = tags(200) }, { isolate = false, max_in_flight = 1 })
    assert.same({ "partial", 0, "server", "unprocessable" },
      { err.kind, err.accepted, err.failures[1].error.kind, err.failures[2].error.kind })
  end)

  it("is of the one kind where nothing was accepted and there is one", function()
    edge.script(zone, { answer('"', 503) })
    local _, err = client:purge { tags = tags(200) }
    assert.same({ "server", true }, { err.kind, err.retryable })
    edge.script(zone, { answer('"', 403) })
    _, err = client:purge { tags = tags(200) }
    assert.same({ "permission_denied", false }, { err.kind, err.retryable })
  end)

  it("may be tried again where one of its failures may", function()
    edge.script(zone, { answer('"t1"', 422), answer('"t150"', 503), { times = 0, pass = true } })
    local _, err = client:purge({ tags = tags(300) }, { isolate = false, max_in_flight = 1 })
    assert.same({ 422, true }, { err.status, err.retryable })
    edge.script(zone, { answer('"t1"', 422), { times = 0, pass = true } })
    _, err = client:purge({ tags = tags(300) }, { isolate = false, max_in_flight = 1 })
    assert.same({ "partial", false }, { err.kind, err.retryable })
  end)

  it("says invalid_request only where nothing was sent", function()
    local list = tags(3)
    list[2] = "a b"
    each_form({ "a b", "c d" }, nil, function(err)
      assert.same({ "invalid_request", 0, 0 }, { err.kind, err.accepted, edge.counts(zone).requests })
    end)
    local _, err = client:purge { tags = iterator(list) }
    assert.same({ "partial", 2, "invalid_request" }, { err.kind, err.accepted, err.failures[1].error.kind })
    local i = 0
    _, err = client:purge { tags = function()
      i = i + 1
      return i <= 100 and "t" .. i or error "the file is gone"
    end }
    assert.same({ "partial", 100, 1, 0 }, { err.kind, err.accepted, #err.failures, #err.failures[1].items })
    assert.matches("the file is gone", err.failures[1].error.message)
    assert.matches("^0 items not accepted, 100 accepted: invalid_request: tags: the iterator raised", err.message)
  end)

  it("has the deadline among the failures, with what was read and not sent", function()
    host.tries(function()
      edge.script(zone, { { pass = true }, { times = 0, delay = 5 } })
      local _, err = client:purge({ tags = tags(2000) }, { deadline = 0.3, max_in_flight = 1 })
      local kinds, items = {}, 0
      for _, failure in ipairs(err.failures) do
        kinds[failure.error.kind], items = true, items + #failure.items
      end
      assert.same({ timeout = true }, kinds)
      assert.is_true(items > 0)
      return err.kind == "partial", err
    end)
  end)

  for _, how in ipairs { "cancel", "close" } do
    it("stays cancelled or closed where its caller ended it: " .. how, function()
      client, zone = clients.new { max_retries = 0 }
      edge.script(zone, { { times = 1, pass = true }, { times = 0, hang = 20 } })
      local request = client:start({ tags = tags(300) }, { max_in_flight = 1 })
      repeat client:step(0.01) until edge.counts(zone).requests >= 2
      if how == "cancel" then request:cancel() else client:close() end
      local _, err = request:result()
      assert.same({ how == "cancel" and "cancelled" or "closed", 100 }, { err.kind, err.accepted })
    end)
  end

  it("is told of by progress that never says more were sent than there are", function()
    local most, last = 0, nil
    edge.script(zone, { answer('"t77"', 400, 1100) })
    local _, err = client:purge({ tags = tags(250) }, { max_in_flight = 3, on_progress = function(progress)
      most, last = math.max(most, progress.sent), progress
      assert.is_true(progress.accepted + progress.failed <= progress.sent)
    end })
    assert.same({ 249, 250, 250, 1 }, { err.accepted, most, last.total, last.failed })
    assert.is_true(err.requests > 10)
  end)

  it("counts equal items as often as they were asked for, by table and by iterator", function()
    local ten = { "a", "b", "A", "c", "d", "bad", "a", "e", "f", "BAD" }
    for _, refused in ipairs { false, true } do
      for _, form in ipairs { "short", "started", "long", "auto", "function" } do
        local about
        client, zone, about = clients.new { max_retries = 0 }
        if form == "auto" then
          client = clients.new { max_retries = 0, zone_id = zone, api_token = edge.token { zones = { zone } } }
        end
        edge.script(zone, refused and { answer('"bad"', 400, 1100), answer('"BAD"', 400, 1100) } or {})
        local items, params, options = {}, {}, { on_progress = nil }
        for i, item in ipairs(ten) do
          items[i] = form == "auto" and "https://" .. about.name .. "/" .. item:lower() or item
        end
        if form == "long" then
          options.max_items, options.max_in_flight = 2, 1
        elseif form == "auto" then
          options.zone = "auto"
        end
        params[form == "auto" and "files" or "tags"] = form == "function" and iterator(items) or items
        if form == "auto" and refused then edge.script(zone, { answer("/bad", 400, 1100) }) end
        local result, err
        if form == "started" then
          result, err = client:start(params):wait()
        else
          result, err = client:purge(params, options)
        end
        local expected = refused and 8 or 10
        assert.same({ form, expected }, { form, (result or err).accepted })
      end
    end
  end)

  it("counts them in progress too", function()
    local list, seen = {}, {}
    for i = 1, 300 do list[i] = "t" .. (i - 1) % 120 end
    edge.script(zone, { answer('"t5"', 400, 1100) })
    local _, err = client:purge({ tags = list }, { on_progress = function(progress)
      seen[#seen + 1] = progress
      assert.is_true(progress.accepted + progress.failed <= progress.sent and progress.sent <= progress.total)
    end })
    assert.same({ 297, 1, 1 }, { err.accepted, #err.remaining.tags, #err.failures })
    assert.same({ 297, 300, 300 }, { seen[#seen].accepted, seen[#seen].sent, seen[#seen].total })
  end)

  -- A list with each item twice, and options that look at how many are accepted, always the same number.
  local function twice(count, accepted, item_of)
    local list = {}
    for i = 1, count do list[2 * i - 1], list[2 * i] = item_of(i), item_of(i) end
    return list, { max_in_flight = 3, on_progress = function(progress) assert.equal(accepted, progress.accepted) end }
  end

  it("counts them no sooner than they are accepted, where all is cancelled", function()
    client, zone = clients.new { max_retries = 0, max_connections = 1 }
    edge.script(zone, { { pass = true }, { times = 0, hang = 20 } })
    local list, options = twice(600, 200, function(i) return "t" .. i end)
    local request = client:start({ tags = list }, options)
    repeat client:step(0.01) until edge.counts(zone).requests >= 2
    request:cancel()
    assert.equal(200, select(2, request:result()).accepted)
  end)

  it("counts them no sooner than they are accepted, where each goes to its zone", function()
    local _, first, second
    zone, first = edge.zone()
    _, second = edge.zone()
    client = clients.new { max_retries = 0, zone_id = zone, api_token = edge.token { zones = { zone, second.id } } }
    edge.script(zone, { answer("purge_cache", 401) })
    local list, options = twice(150, 0, function(i) return "https://" .. (i % 5 == 0 and second or first).name .. "/" .. i end)
    options.zone, options.max_in_flight = "auto", 1
    local _, err = client:purge({ files = list }, options)
    assert.same({ 0, 300 - 150 }, { err.accepted, #err.remaining.files })
  end)
end)
