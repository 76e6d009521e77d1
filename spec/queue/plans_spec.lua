-- The plans that a store knows of its zones: read again when they are old or doubtful; of workers that are told
-- different ones. Both stores.
local elsewhere = require "spec.support.where"
if elsewhere "engine text" then return end

local core = require "cfpurge.core"
local edge = require "spec.support.edge"
local stores = require "spec.support.stores"

local AGED = {
  sqlite = { { "UPDATE zones SET learned = learned - ?1", 90000 } },
  redis = { { "EVAL", [[local all = redis.call('HGETALL', KEYS[1])
    for i = 1, #all, 2 do
      local zone = cmsgpack.unpack(all[i + 1])
      zone.learned = zone.learned - tonumber(ARGV[1])
      redis.call('HSET', KEYS[1], all[i], cmsgpack.pack(zone))
    end
    return 1]], "1", "{cfpurge}:zones", "90000" } },
}

for _, store in ipairs(stores) do describe("the plan of a zone, " .. store.name, function()
  after_each(stores.close)

  -- As if it had been read a day ago.
  local function age(target)
    local handle = store.rules(target).handle
    local id = assert(handle:submit(AGED[store.name]))
    repeat handle:step(1) until handle:take(id)
    handle:close()
  end

  local function send(queue, name)
    assert(queue:add { tags = { name } })
    assert.same({ waiting = 0, failed = 0 }, queue:drain { deadline = 10 })
  end

  local function looks(zone)
    local count = 0
    for _, request in ipairs(edge.requests(zone)) do
      count = count + (request.method == "GET" and 1 or 0)
    end
    return count
  end

  local function known(queue)
    local names = {}
    for _, budget in ipairs(queue:status().budgets) do
      local plan = budget.bucket == "requests" and budget.name:match "/([^/]*)$"
      if plan then names[plan] = true end
    end
    return names
  end

  it("is read again after a day, and the new one holds", function()
    local zone = edge.zone { plan = "free", account = "day-" .. tostring({}):match "%w+$" }
    local queue, _, _, target = store.queue({ linger = 0.01 }, { plan = "auto", zone_id = zone })
    send(queue, "a")
    edge.limits { zone = zone, plan = "business", overall = false, headers = false }
    send(queue, "b")
    assert.equal(1, looks(zone))
    age(target)
    send(queue, "c")
    assert.same({ free = true, business = true }, known(queue))
    send(queue, "d")
    assert.equal(2, looks(zone))
    -- Where nobody tells it, the old one holds, and is not asked about with each claim.
    age(target)
    edge.script(zone, { { status = 500 }, { pass = true, times = 0 } })
    send(queue, "e")
    send(queue, "f")
    assert.equal(3, looks(zone))
  end)

  it("is the last one that a worker was told: the workers do not give claims back to each other", function()
    local queue, _, zone, target = store.queue({ linger = 0.01 }, { plan = "pro" })
    local other = store.queue({ store = target, linger = 0.01 }, { plan = "business", zone_id = zone })
    for i = 1, 8 do
      send(i % 2 == 0 and queue or other, "t" .. i)
    end
    local status = queue:status()
    assert.equal(8, edge.counts(zone).accepted)
    -- Each of them has given back one claim, to tell the store its plan.
    assert.equal(10, status.calls)
    assert.same({ pro = true, business = true }, known(queue))
  end)

  it("is not drawn from by a worker whose client is closed, which says so", function()
    local queue, client = store.queue({ linger = 0.01 }, { plan = "pro" })
    assert(queue:add { tags = { "a" } })
    queue:work()
    client:close()
    local begun = core.now()
    local left, err = queue:drain { deadline = 5 }
    assert.same({ nil, "closed" }, { left, err and err.kind })
    assert.truthy(core.now() - begun < 3)
    local working
    working, err = queue:work()
    assert.same({ nil, "closed" }, { working, err and err.kind })
    local status = queue:status()
    assert.same({ 1, 0, false }, { status.waiting, status.calls, status.working })
  end)

  it("that is being read when its queue is closed holds nothing back", function()
    local queue, _, zone, target = store.queue({ linger = 0.01 }, { plan = "auto" })
    edge.script(zone, { { delay = 5, pass = true } })
    assert(queue:add { tags = { "a" } })
    queue:work()
    local last = os.time() + 10
    while looks(zone) == 0 and os.time() < last do queue:step(0.02) end
    assert.equal(1, queue:status().in_flight)
    queue:close()
    local status = store.queue({ store = target }, { zone_id = zone }):status()
    assert.same({ 1, 0 }, { status.waiting, status.in_flight })
  end)
end) end
