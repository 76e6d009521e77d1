-- Stores that say or hold what none of ours does: a queue is told so, and neither ends, nor grows, nor says so for ever.
local elsewhere = require "spec.support.where"
if elsewhere "engine" then return end

local edge = require "spec.support.edge"
local host = require "spec.support.host"
local module = require "cfpurge.redis"
local peer = require "spec.support.peer"
local socket = require "socket"
local stores = require "spec.support.stores"

-- A Redis that answers the login, and says the rest once a script has come; or, `early`, with the login.
local function server(answers, early)
  local steps = { { read = "PING" }, { send = "+PONG\r\n" .. (early or "") } }
  if not early then
    table.insert(steps, { read = "EVAL" })
    table.insert(steps, { send = "*0\r\n" })
  end
  for _, step in ipairs(answers) do table.insert(steps, step) end
  table.insert(steps, { hang = 100 })
  return "redis://" .. peer.start(steps).address
end

describe("a server of Redis that", function()
  local real, seconds = module.open, nil
  setup(function()
    module.open = function(url) return real(url, { timeout = seconds }) end
  end)
  before_each(function() seconds = 10 end)
  teardown(function()
    module.open = real
    stores.close()
    peer.stop()
  end)

  local function added(target)
    local began, queue = socket.gettime(), stores.of.redis.queue { store = target }
    local grown, result, err = peer.growth(function() return queue:add { tags = { "a" } } end)
    assert.same({ nil, "store", { tags = { "a" } } }, { result, err.kind, err.remaining })
    assert.is_true(socket.gettime() - began < (host.watched and 60 or 10))
    assert.is_true(host.watched or grown < 100e6, tostring(grown))
    return err
  end

  for name, answer in pairs { text = "+OK\r\n", number = ":7\r\n", ["nil"] = "$-1\r\n", list = "*0\r\n",
    lists = "*2\r\n*0\r\n*0\r\n" } do
    it("answers an add by a " .. name .. " is no store", function()
      local err = added(server { { send = answer } })
      assert.same({ "corrupt", false }, { err.reason, err.retryable })
    end)
  end

  it("answers other calls by other things is no store either", function()
    local function call(name, text)
      local queue = stores.of.redis.queue { store = server { { send = ("$%d\r\n%s\r\n"):format(#text, text) } } }
      local result, err = queue[name](queue)
      assert.same({ nil, "corrupt" }, { result, err and err.reason }, name)
    end
    call("status", "{}")
    call("status", '{"waiting":0,"in_flight":0,"failed":0,"calls":0}')
    call("status", '{"waiting":0,"in_flight":0,"failed":0,"calls":0,"paused":[],"resting":[],"budgets":[{}]}')
    call("failed", "x")
    call("retry", "[]")
  end)

  it("answers what nobody has asked ends its connection, and not the host", function()
    seconds = host.watched and 5 or 0.5
    local queues, told = {}, {}
    for i, extra in ipairs { "+OK\r\n", ":1\r\n", "$-1\r\n", "*1\r\n+OK\r\n" } do
      queues[i] = stores.of.redis.queue { store = server({}, extra) }
      assert(queues[i]:start({ tags = { "a" } }, nil, function(_, err) told[#told + 1] = tostring(err) end))
    end
    while #told < 4 do
      for _, queue in ipairs(queues) do queue:step(0.01) end
    end
    for _, text in ipairs(told) do assert.matches("no Redis says", text) end
  end)

  it("says that a list has millions of elements gets no memory for them", function()
    assert.matches("no Redis says", tostring(added(server { { send = "*300000000\r\n" } })))
    assert.matches("no Redis says", tostring(added(server { { send = ("*60000\r\n"):rep(6) } })))
  end)

  it("sends without an end is left", function()
    assert.matches("no Redis says", tostring(added(server { { send = "+" }, { flood = ("x"):rep(65536) } })))
    assert.matches("no Redis says", tostring(added(server { { send = "$900000000\r\n" }, { flood = ("x"):rep(1048576) } })))
  end)
end)

for _, store in ipairs(stores) do describe("an error that no worker has stored, " .. store.name, function()
  teardown(stores.close)

  it("has the fields of one, each of its type", function()
    local queue, _, _, target = store.queue()
    local rules, failed = store.rules(target), {}
    rules.add({ stores.group("z", "tags", { "a", "b", "c" }) }, { capacity = 10 })
    for i, text in ipairs { '{"message":"x","ray_id":{},"status":"400","code":1e999,"more":1}',
      '{"message":"y","kind":[],"about":true,"code":NaN,"status":400}', "[]" } do
      failed[i] = { ("abc"):sub(i, i), text }
    end
    rules.settle(rules.claim(stores.terms()).fence, stores.settled { failed = failed })
    local errors = {}
    for i, one in ipairs(queue:failed()) do errors[i] = one.error end
    assert.same({ { kind = "store", message = "x" }, { kind = "store", message = "y", status = 400 },
      { kind = "store", message = "the store holds what is no error" } }, errors)
  end)
end) end

for _, store in ipairs(stores) do describe("an item that no add has stored, " .. store.name, function()
  teardown(stores.close)

  for _, is_sorted in ipairs { false, true } do
    it("fails alone" .. (is_sorted and ", of zone auto too" or ""), function()
      local failed = {}
      local queue, _, zone, target, about = store.queue { on_event = function(event)
        failed[#failed + 1] = event.name == "failed" and tostring(event.item) or nil
      end }
      assert(store.rules(target).add({ stores.group(is_sorted and "auto" or zone, "hosts", {}, { items = {
        { "1", "{" }, { "2", ('"%s"'):format(about.name) }, { "3", "true" }, { "4", '"two hosts"' }, { "5", "" },
      } }) }, { capacity = 10 }))
      -- Of the zones of the token the good one is in none.
      assert.same({ waiting = 0, failed = is_sorted and 5 or 4 }, queue:drain { deadline = 20 })
      assert.equal(is_sorted and 0 or 1, edge.counts(zone).accepted)
      table.sort(failed)
      assert.same({ "", "true", "two hosts", is_sorted and about.name or "{", is_sorted and "{" or nil }, failed)
      for _, one in ipairs(queue:failed()) do
        assert.equal(one.item == about.name and "not_found" or "invalid_request", one.error.kind)
      end
    end)
  end
end) end
