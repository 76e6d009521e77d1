-- The adds of one turn are one unit of the store, and each keeps its own: counts, error, `remaining`, cancel. Both stores.
local cfpurge = require "cfpurge"
local clients = require "spec.support.client"
local stores = require "spec.support.stores"
local elsewhere = require "spec.support.where"

for _, store in ipairs(stores) do describe("the adds of one turn, " .. store.name, function()
  after_each(stores.close)

  -- Begins each of the calls in one turn, and steps until all have ended: what each ended with.
  local function turn(queue, calls, between)
    local told, requests = {}, {}
    for i, call in ipairs(calls) do
      requests[i] = assert(queue:start(call[1], call[2], function(added, err)
        assert.is_nil(told[i])
        told[i] = added or err
      end))
    end
    assert.equal(#calls, queue:in_flight())
    if between then between(requests) end
    local last = os.time() + 10
    while queue:in_flight() > 0 and os.time() < last do queue:step(0.1) end
    assert.equal(#calls, #told)
    return told
  end

  -- Counts the units of adds meanwhile.
  local function units(fn)
    local module = require("cfpurge.queue." .. store.name)
    local add, count = module.add, 0
    module.add = function(...)
      count = count + 1
      return add(...)
    end
    local ok, value = pcall(fn, function() return count end)
    module.add = add
    assert(ok, value)
    return count, value
  end

  it("go together, one list a lane, each with its own counts", function()
    local queue = store.queue()
    assert(queue:add { tags = { "old" } })
    local count, told = units(function() return turn(queue, {
      { { tags = { "a", "b" } } }, { { tags = { "b", "old", "c", "C" } } }, { { hosts = { "a.example.com" } } },
      { { tags = { "a" } }, { zone_id = ("9"):rep(32) } }, { { tags = { "c" } } },
    }) end)
    assert.equal(1, count)
    assert.same({ { added = 2, merged = 0 }, { added = 1, merged = 3 }, { added = 1, merged = 0 }, { added = 1, merged = 0 },
      { added = 0, merged = 1 } }, told)
    assert.equal(6, queue:status().waiting)
  end)

  it("and of those after it are the next unit, while one is under way", function()
    if store.name ~= "sqlite" then return end -- nobody else holds Redis
    local queue, _, _, target = store.queue()
    assert(queue:add { tags = { "first" } })
    local locked = target .. ".locked"
    local other = io.popen("sqlite3 " .. target, "w")
    other:write("BEGIN IMMEDIATE;\n.shell touch " .. locked .. "\n")
    other:flush()
    local last = os.time() + 10
    while not io.open(locked) and os.time() < last do queue:step(0.01) end
    assert.equal(2, (units(function(count)
      for i = 1, 4 do
        assert(queue:start { tags = { "t" .. i } })
        queue:step(0)
        queue:step(0)
      end
      assert.same({ 1, 4 }, { count(), queue:in_flight() })
      other:write "ROLLBACK;\n"
      other:close()
      while queue:in_flight() > 0 and os.time() < last do queue:step(0.1) end
    end)))
    assert.equal(5, queue:status().waiting)
  end)

  it("stay in order where it matters: purges and invalidates, everything, delays", function()
    local queue = store.queue()
    local invalidate = { invalidate = true }
    local told = turn(queue, { { { tags = { "a", "b" } }, invalidate }, { { tags = { "a" } } },
      { { tags = { "a" } }, invalidate }, { { tags = { "later" } }, { delay = 60 } } })
    assert.same({ { added = 2, merged = 0 }, { added = 1, merged = 0 }, { added = 0, merged = 1 }, { added = 1, merged = 0 } },
      told)
    assert.equal(3, queue:status().waiting)
    told = turn(queue, { { { tags = { "c" } } }, { { purge_everything = true } }, { { tags = { "c", "d" } } } })
    assert.same({ { added = 1, merged = 0 }, { added = 1, merged = 0 }, { added = 2, merged = 0 } }, told)
    assert.equal(3, queue:status().waiting)
  end)

  it("that is too large for the capacity fails alone, whole, with what remains of it", function()
    local queue = store.queue { capacity = 4 }
    local told = turn(queue, { { { tags = { "a", "b" } } }, { { tags = { "c", "d", "e", "f" } } }, { { tags = { "a", "g" } } },
      { { hosts = { "h.example.com" } } }, { { hosts = { "i.example.com" } } } })
    local ends = {}
    for i, one in ipairs(told) do ends[i] = one.kind or one.added end
    assert.same({ 2, "queue_full", 1, 1, "queue_full" }, ends)
    assert.same({ { "c", "d", "e", "f" }, 0 }, { told[2].remaining.tags, told[2].accepted })
    assert.same({ { "i.example.com" }, "capacity" }, { told[5].remaining.hosts, told[5].field })
    assert.equal(4, queue:status().waiting)
  end)

  it("is cancelled alone, and then is not stored", function()
    local queue = store.queue()
    local told = turn(queue, { { { tags = { "a" } } }, { { tags = { "b" } } }, { { tags = { "c" } } } }, function(requests)
      assert.is_true(requests[2]:cancel())
      assert.is_false(requests[2]:cancel())
    end)
    assert.same({ { added = 1, merged = 0 }, "cancelled", { "b" }, { added = 1, merged = 0 } },
      { told[1], told[2].kind, told[2].remaining.tags, told[3] })
    assert.equal(2, queue:status().waiting)
  end)

  it("is told of in slices, and none is forgotten", function()
    local queue = store.queue()
    local count, steps = 0, 0
    for i = 1, 300 do
      assert(queue:start({ tags = { "t" .. i } }, nil, function(added)
        count = count + added.added
        local ends = os.clock() + 0.0005
        while os.clock() < ends do end -- luacheck: ignore 542
      end))
    end
    while count == 0 do queue:step(1) end
    while count < 300 do
      queue:step(1)
      steps = steps + 1
    end
    assert.is_true(steps > 20, steps)
    assert.equal(0, queue:in_flight())
    assert.equal(300, queue:status().waiting)
  end)

  it("end each with its own error where the store is closed", function()
    local queue = store.queue()
    local told = {}
    for i = 1, 3 do
      assert(queue:start({ tags = { "t" .. i } }, nil, function(_, err) told[i] = err end))
    end
    queue:close()
    for i = 1, 3 do assert.same({ "closed", { "t" .. i } }, { told[i].kind, told[i].remaining.tags }) end
    local err = select(2, queue:add { tags = { "a" } })
    assert.same({ "closed", { "a" } }, { err.kind, err.remaining.tags })
  end)

  it("end each with its own error where the store is none", function()
    if store.name == "redis" and elsewhere "engine" then return end -- it is tried for five seconds
    local broken = assert(cfpurge.queue { store = store.name == "redis" and "redis://127.0.0.1:1" or "/nowhere/queue.db",
      client = clients.new() })
    local told = turn(broken, { { { tags = { "a" } } }, { { tags = { "b" } } } })
    assert.same({ "store", { "a" }, "store", { "b" } },
      { told[1].kind, told[1].remaining.tags, told[2].kind, told[2].remaining.tags })
    broken:close()
  end)

  it("are stored before what is asked next, though nothing stepped meanwhile", function()
    local queue = store.queue()
    assert(queue:start { tags = { "a" } })
    assert.equal(1, queue:status().waiting)
  end)
end) end
