-- queue:metrics(): the store's figures as Prometheus reads them, with both stores.
local edge = require "spec.support.edge"
local prometheus = require "spec.support.prometheus"
local stores = require "spec.support.stores"

local denied = { times = 0, status = 403, json = { success = false, messages = {},
  errors = { { code = 10000, message = "Authentication error" } } } }

for _, store in ipairs(stores) do describe("a queue's metrics, " .. store.name, function()
  teardown(stores.close)

  it("are what waits, what failed and who rests", function()
    local queue, _, zone = store.queue(nil, { plan = "pro" })
    local other = edge.zone()
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
    local resting = 0
    for series, value in pairs(is) do
      resting = resting + (series:find "^cfpurge_queue_resting_zones" and value or 0)
    end
    assert.same({ 1, 1 }, { is['cfpurge_queue_resting_zones{kind="permission_denied"}'], resting })
    local left = is['cfpurge_queue_budget_left{budget="pro",bucket="requests"}']
    assert.is_true(left > 20 and left <= 25, tostring(left))
    assert.equal(0, is['cfpurge_queue_budget_held_seconds{budget="pro",bucket="urls"}'])
    assert.is_nil(text:find(zone, 1, true) or text:find(other, 1, true))
    -- Of an empty store too: nothing to read is none of the format's sentences.
    prometheus.read(store.queue():metrics())
  end)

  it("have the caller's labels, and refuse what is none", function()
    local queue = store.queue()
    local is = prometheus.read(queue:metrics { worker = 3, name = 'a "b"\\\n' })
    assert.equal(0, is['cfpurge_queue_oldest_seconds{name="a \\"b\\"\\\\\\n",worker="3"}'])
    for field, labels in pairs { ["labels.state"] = { state = "x" }, ["labels.a-b"] = { ["a-b"] = "x" },
      ["labels.__a"] = { __a = "x" }, ["labels.1"] = { "x" }, ["labels.a"] = { a = true } } do
      local text, err = queue:metrics(labels)
      assert.same({ nil, "invalid_request", field }, { text, err.kind, err.field })
    end
    assert.has_error(function() queue:metrics "worker" end,
      "bad argument #1 to 'metrics' (labels: table expected, got string)")
    queue:close()
    local text, err = queue:metrics()
    assert.same({ nil, "closed" }, { text, err.kind })
  end)
end) end
