-- queue:metrics(): the store's figures as Prometheus reads them, with both stores.
local cfpurge = require "cfpurge"
local edge = require "spec.support.edge"
local elsewhere = require "spec.support.where"
local host = require "spec.support.host"
local prometheus = require "spec.support.prometheus"
local stores = require "spec.support.stores"

local denied = { times = 0, status = 403, json = { success = false, messages = {},
  errors = { { code = 10000, message = "Authentication error" } } } }

for _, store in ipairs(stores) do describe("a queue's metrics, " .. store.name, function()
  teardown(stores.close)

  it("are what waits, what failed and who rests", function()
    local zone, other = edge.zone { account = "metrics" }, edge.zone { account = "metrics" }
    local queue = store.queue(nil, { plan = "pro", zone_id = zone })
    edge.script(zone, { denied })
    edge.script(other, { { match = '"bad"', times = 0, status = 400, json = { success = false, messages = {},
      errors = { { code = 1100, message = "tag too long" } } } } })
    queue:add { tags = { "a", "b" } }
    queue:add({ tags = { "bad" } }, { zone_id = other })
    local _, err = queue:drain { deadline = 1.5 }
    assert.equal("timeout", err.kind)
    local text = queue:metrics()
    local is = prometheus.read(text)
    assert.same({ 2, 0, 1 }, { is['cfpurge_queue_items{state="waiting"}'], is['cfpurge_queue_items{state="in_flight"}'],
      is['cfpurge_queue_items{state="failed"}'] })
    assert.is_true(is.cfpurge_queue_oldest_seconds >= 1)
    -- One looked for the zone's account.
    assert.same({ 3, 0 }, { is.cfpurge_queue_recent_requests, is.cfpurge_queue_held_seconds })
    local resting = 0
    for series, value in pairs(is) do
      resting = resting + (series:find "^cfpurge_queue_resting_zones" and value or 0)
    end
    assert.same({ 1, 1 }, { is['cfpurge_queue_resting_zones{kind="permission_denied"}'], resting })
    local left = is['cfpurge_queue_budget_left{budget="pro",bucket="requests"}']
    assert.is_true(left > 20 and left <= 25, tostring(left))
    assert.equal(0, is['cfpurge_queue_budget_held_seconds{budget="pro",bucket="urls"}'])
    assert.is_nil(text:find(zone, 1, true) or text:find(other, 1, true))
    -- Its client's stand there too.
    assert.same({ 2, 1 }, { is['cfpurge_requests_total{outcome="permission_denied"}'],
      is['cfpurge_items_total{outcome="bad_request"}'] })
    -- Of an empty store too: nothing to read is none of the format's sentences.
    prometheus.read(store.queue():metrics())
  end)

  it("name no zone whose plan cannot be read", function()
    local zone = edge.zone()
    local queue = store.queue(nil, { plan = "auto", zone_id = zone, api_token = edge.token { zones = { zone }, read = false } })
    queue:add { tags = { "a" } }
    assert.truthy(queue:drain { deadline = 20 })
    local names = {}
    for i, budget in ipairs(queue:status().budgets) do names[i] = budget.name end
    assert.truthy(table.concat(names):find(zone, 1, true))
    local text = queue:metrics()
    assert.is_nil(text:find(zone, 1, true))
    prometheus.read(text)
  end)

  it("count what this process has added, with or without a client", function()
    local queue, _, zone, target = store.queue()
    queue:add { tags = { "a", "b", "a" } }
    queue:add({ purge_everything = true }, { delay = 60 })
    local adder = assert(cfpurge.queue { store = target, zone_id = zone })
    adder:add { tags = { "b", "c" } }
    local is, text = prometheus.read(queue:metrics()), adder:metrics()
    assert.same({ 3, 1 }, { is.cfpurge_queue_added_items_total, is.cfpurge_queue_merged_items_total })
    is = prometheus.read(text)
    assert.same({ 1, 1, 4 }, { is.cfpurge_queue_added_items_total, is.cfpurge_queue_merged_items_total,
      is['cfpurge_queue_items{state="waiting"}'] })
    assert.is_nil(text:find "cfpurge_requests_total")
    adder:close()
  end)

  it("count in a forked child what the child has added", function()
    if elsewhere "engine" then return end
    local report = host.run([[
      local queue = assert(require "cfpurge".queue { store = args.store, zone_id = args.zone })
      assert(queue:add { tags = { "a", "b" } })
      local function added() return tonumber(queue:metrics():match "\ncfpurge_queue_added_items_total (%d+)") end
      local path = os.tmpname()
      local pid = system.fork()
      if pid == 0 then
        local before = added()
        assert(queue:add { tags = { "c" } })
        local file = io.open(path, "w")
        file:write(before, " ", added())
        file:close()
        system.exit(0)
      end
      assert(system.wait(pid) == 0)
      local child = io.open(path):read "*a"
      os.remove(path)
      return { child = child, parent = added() }]], { args = { store = store.target(), zone = ("0"):rep(32) } })
    assert.same({ child = "0 1", parent = 2 }, report)
  end)

  it("have the caller's labels, one set for this process and one for the store", function()
    local queue = store.queue()
    local is = prometheus.read(queue:metrics({ worker = 3, name = 'a "b"\\\n' }, { store = "\255" }))
    assert.equal(0, is['cfpurge_queue_oldest_seconds{store="\239\191\189"}'])
    assert.equal(0, is['cfpurge_queue_added_items_total{name="a \\"b\\"\\\\\\n",worker="3"}'])
    for field, labels in pairs { ["labels.state"] = { state = "x" }, ["labels.a-b"] = { ["a-b"] = "x" },
      ["labels.__a"] = { __a = "x" }, ["labels.1"] = { "x" }, ["labels.a"] = { a = true } } do
      local text, err = queue:metrics(labels)
      assert.same({ nil, "invalid_request", field }, { text, err.kind, err.field })
      text, err = queue:metrics(nil, labels)
      assert.same({ nil, "store_" .. field }, { text, err.field })
    end
    assert.has_error(function() queue:metrics(nil, "worker") end,
      "bad argument #2 to 'metrics' (store_labels: table expected, got string)")
    queue:close()
    local text, err = queue:metrics()
    assert.same({ nil, "closed" }, { text, err.kind })
  end)
end) end
