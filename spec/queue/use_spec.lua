-- The queue as its user has it: adds, work, status, ends. Both stores, the real edge.
local cfpurge = require "cfpurge"
local cjson = require "cjson"
local clients = require "spec.support.client"
local edge = require "spec.support.edge"
local stores = require "spec.support.stores"


local function step(queue, seconds, is_over)
  local ends = os.time() + seconds
  repeat
    queue:step(0.05)
  until is_over() or os.time() > ends
  return is_over()
end

for _, store in ipairs(stores) do describe("a queue, " .. store.name, function()
  teardown(stores.close)
  it("sends what was added, each equal item once", function()
    local zone, about = edge.zone()
    local queue = store.queue(nil, { zone_id = zone })
    assert.same({ added = 3, merged = 0 }, queue:add { tags = { "a", "b", "c" } })
    assert.same({ added = 1, merged = 2 }, queue:add { tags = { "A", "c", "d" } })
    assert.same({ added = 1, merged = 0 }, queue:add({ purge_everything = true }, { environment = "production" }))
    local status = queue:status()
    assert.same({ 5, 0, 0, false }, { status.waiting, status.in_flight, status.failed, status.working })
    assert.same({ waiting = 0, failed = 0 }, queue:drain { deadline = 20 })
    local counts = edge.counts(zone)
    assert.same({ 2, 5 }, { counts.accepted, counts.items })
    assert.truthy(about.environments.production)
    assert.equal(0, queue:status().waiting)
  end)

  it("adds a list of any length, and an iterator's items", function()
    local queue, _, zone = store.queue()
    local n = 0
    assert.same({ added = 1700, merged = 0 }, queue:add { tags = function()
      n = n + 1
      return n <= 1700 and "t" .. n or nil
    end })
    local list = {}
    for i = 1, 1700 do list[i] = "T" .. i end
    assert.same({ added = 0, merged = 1700 }, queue:add { tags = list })
    assert.truthy(queue:drain { deadline = 30 })
    assert.same({ 17, 1700 }, { edge.counts(zone).accepted, edge.counts(zone).items })
  end)

  it("stores nothing of what is wrong, and says what and what remains", function()
    local queue, client = store.queue { capacity = 5 }
    for field, params in pairs {
      ["hosts[1]"] = { hosts = { "a b" } }, tags = { tags = {} }, params = {}, zone_id = { tags = { "a" }, zone_id = "a/b" },
    } do
      local added, err = queue:add(params)
      assert.is_nil(added)
      assert.same({ "invalid_request", params }, { err.kind, err.remaining }, field)
    end
    local _, err = queue:add({ tags = { "a" } }, { api_token = "t" })
    assert.same({ "invalid_request", "api_token" }, { err.kind, err.field })
    _, err = queue:add({ tags = { "1", "2", "3", "4", "5", "6" } })
    assert.same({ "queue_full", 6, 0 }, { err.kind, #err.remaining.tags, queue:status().waiting })
    assert.has_error(function() queue:add "tags" end)
    assert.has_error(function() queue.add { tags = { "a" } } end)
    local none, message
    none, message, err = cfpurge.queue { store = "/nowhere", client = client, colour = 1 }
    assert.same({ nil, tostring(err), "colour" }, { none, message, err.field })
  end)

  it("keeps what is refused for good, with its error, to be retried or discarded", function()
    local queue, _, zone = store.queue()
    edge.script(zone, { { match = '"bad"', times = 0, status = 400, json = { success = false, result = cjson.null,
      errors = { { code = 1100, message = "tag too long" } }, messages = {} } } })
    queue:add { tags = { "a", "bad", "b" } }
    assert.same({ waiting = 0, failed = 1 }, queue:drain { deadline = 20 })
    local failed = queue:failed()
    assert.same({ 1, "bad", "tags", 1100, "item" },
      { #failed, failed[1].item, failed[1].kind, failed[1].error.code, failed[1].error.about })
    edge.script(zone, {})
    assert.equal(1, queue:retry())
    assert.same({ waiting = 0, failed = 0 }, queue:drain { deadline = 20 })
    assert.equal(0, queue:discard())
    assert.equal(3, edge.counts(zone).items)
  end)

  it("filters what failed by an environment's name or its id", function()
    local queue, _, zone, _, about = store.queue()
    local id = about.environments.staging
    edge.script(zone, { { match = '"bad', times = 0, status = 400, json = { success = false, result = cjson.null,
      errors = { { code = 1100, message = "tag too long" } }, messages = {} } } })
    queue:add({ tags = { "bad" } }, { environment_id = id })
    queue:add({ tags = { "bad" } }, { environment = "production" })
    queue:add { tags = { "bad" } }
    assert.same({ waiting = 0, failed = 3 }, queue:drain { deadline = 20 })
    local by_name, by_id = queue:failed { environment = "production" }, queue:failed { environment_id = id }
    assert.same({ 1, "production", nil }, { #by_name, by_name[1].environment, by_name[1].environment_id })
    assert.same({ 1, id, nil }, { #by_id, by_id[1].environment_id, by_id[1].environment })
    assert.equal("environment", select(2, queue:retry { environment = "a", environment_id = "b" }).field)
    assert.same({ 1, 0, 2 }, { queue:discard { environment = "production" },
      queue:discard { environment = "production" }, queue:discard() })
  end)

  it("drops nothing while the API is down, and goes on when it is back", function()
    local queue, _, zone = store.queue()
    edge.script(zone, { { times = 4, status = 503, body = "down" } })
    queue:add { tags = { "a", "b" } }
    queue:work()
    assert.is_true(step(queue, 5, function() return edge.counts(zone).scripted >= 1 end))
    local status = queue:status()
    assert.same({ 2, 0 }, { status.waiting + status.in_flight, status.failed })
    assert.is_true(step(queue, 20, function() return edge.counts(zone).items == 2 end))
    assert.same({ waiting = 0, failed = 0 }, queue:drain { deadline = 20 })
    queue:rest()
    assert.is_true(step(queue, 5, function() return not queue:active() end))
  end)

  it("lets a zone rest whose credential is refused, and says why", function()
    local queue, _, zone = store.queue()
    local other, about = edge.zone()
    edge.script(zone, { { times = 0, status = 403, json = { success = false, messages = {}, result = cjson.null,
      errors = { { code = 10000, message = "Authentication error" } } } } })
    queue:add { tags = { "a" } }
    queue:add({ tags = { "b" } }, { zone_id = other })
    local _, err = queue:drain { deadline = 2 }
    assert.equal("timeout", err.kind)
    local paused = queue:status().paused
    assert.same({ 1, zone }, { #paused, paused[1].zone })
    assert.truthy(paused[1].why:find "Authentication error" and paused[1].seconds > 30)
    assert.truthy(about)
    assert.same({ 1, 0 }, { edge.counts(other).items, edge.counts(zone).items })
  end)

  it("moves by step, fileno and timeout like a client; start never waits", function()
    local queue, _, zone = store.queue()
    local told
    local request = assert(queue:start({ tags = { "a" } }, function(added, err) told = added or err end))
    assert.same({ false, true, 1 }, { request:done(), queue:active(), queue:in_flight() })
    assert.is_number(queue:fileno())
    assert.is_true(step(queue, 10, function() return request:done() end))
    assert.same({ added = 1, merged = 0 }, told)
    assert.is_false(queue:active())
    assert.is_nil(queue:timeout())
    queue:work()
    assert.is_true(queue:active() and queue:timeout() <= 1)
    assert.is_true(step(queue, 10, function() return edge.counts(zone).items == 1 end))
  end)

  it("is worked on by several, and what one has in flight is nobody else's", function()
    local first, _, zone, target = store.queue()
    local second = store.queue({ store = target }, { zone_id = zone })
    edge.script(zone, { { times = 3, delay = 0.3, pass = true } })
    local list = {}
    for i = 1, 300 do list[i] = "t" .. i end
    first:add { tags = list }
    first:work()
    second:work()
    assert.is_true(step(first, 20, function() return second:step(0.02) and edge.counts(zone).items == 300 end))
    assert.equal(3, edge.counts(zone).accepted)
  end)

  it("ends what is in flight where it is closed; what was added is there for the next one", function()
    local queue, _, zone, target = store.queue()
    edge.script(zone, { { times = 1, hang = 5 } })
    queue:add { tags = { "a" } }
    queue:work()
    step(queue, 5, function() return edge.counts(zone).requests > 0 end)
    queue:close()
    local _, err = queue:add { tags = { "b" } }
    assert.same({ "closed", { "b" } }, { err.kind, err.remaining.tags })
    local again = store.queue({ store = target }, { zone_id = zone })
    local status = again:status()
    assert.equal(1, status.waiting + status.in_flight)
  end)
end) end

describe("a store that cannot be used", function()
  teardown(stores.close)

  local function refusal(target, pattern)
    local client = clients.new()
    local queue = assert(cfpurge.queue { store = target, client = client })
    local added, err = queue:add { tags = { "a", "b" } }
    assert.is_nil(added)
    assert.same({ "store", { "a", "b" } }, { err.kind, err.remaining.tags })
    assert.matches(pattern, err.message)
    queue:close()
    return err
  end

  it("is told of, with all that remains: a file that is none, a folder that is not there, no right to write", function()
    refusal("/etc/passwd", "the file is no store")
    refusal("/nowhere/queue.db", "No such file")
    refusal("/proc/queue.db", "^the store cannot be")
  end)

  it("is told of: nobody listens, a login that is wrong, a newer store", function()
    assert.is_true(refusal("redis://127.0.0.1:1/0", "no connection to the store").retryable)
    local server = stores.server("--requirepass secret", "-a secret PING")
    refusal(server:url(), "the store wants a login")
    refusal((server:url():gsub("unix://", "unix://:wrong@")), "login")
    server:command "-a secret HSET '{cfpurge}:meta' version 99"
    refusal((server:url():gsub("unix://", "unix://:secret@")), "a newer cfpurge")
    server:stop()
  end)

  it("is no loss where Redis is restarted and its scripts are flushed", function()
    local server = stores.server "--appendonly yes"
    local queue = assert(cfpurge.queue { store = server:url(), client = clients.new() })
    assert(queue:add { tags = { "a" } })
    server:command "SCRIPT FLUSH"
    assert.same({ added = 1, merged = 1 }, queue:add { tags = { "a", "b" } })
    server:stop()
    server:start()
    assert.same({ added = 0, merged = 2 }, queue:add { tags = { "a", "b" } })
    assert(queue:drain { deadline = 20 })
    queue:close()
    server:stop()
  end)

  it("is no loss where SQLite's file is deleted under it, and its mode is its owner's", function()
    local queue, _, _, target = stores[1].queue()
    assert(queue:add { tags = { "a" } })
    local pipe = io.popen("stat -c %a " .. target)
    assert.equal("600", pipe:read "*l")
    pipe:close()
    os.remove(target)
    os.remove(target .. "-wal")
    os.remove(target .. "-shm")
    assert.same({ added = 1, merged = 0 }, queue:add { tags = { "a" } })
    assert.equal(1, queue:status().waiting)
  end)
end)
