-- Claims: which lane is served, what a claim takes, leases and fences. Both stores.
local core = require "cfpurge.core"
local elsewhere = require "spec.support.where"
local host = require "spec.support.host"
local stores = require "spec.support.stores"

local group, names, settled, terms = stores.group, stores.names, stores.settled, stores.terms
local ROOM = { capacity = 100000 }

local function list(from, to, prefix)
  local items = {}
  for i = from, to do items[#items + 1] = ("%s%05d"):format(prefix or "t", i) end
  return items
end

for _, store in ipairs(stores) do describe("a claim, " .. store.name, function()
  teardown(stores.close)

  it("takes a full request's worth of the oldest", function()
    local rules = store.rules()
    for from = 1, 250, 50 do rules.add({ group("z", "tags", list(from, from + 49)) }, ROOM) end
    for from = 1, 250, 100 do
      local claim = rules.claim(terms())
      assert.equal(table.concat(list(from, math.min(from + 99, 250)), " "), names(claim))
    end
    assert.is_nil(rules.claim(terms()))
    rules.add({ group("z", "files", list(1, 600)) }, ROOM)
    assert.equal(500, #rules.claim(terms { full = { files = 500, others = 100 } }).items)
  end)

  it("serves the zones in turn, however much one of them has", function()
    local rules = store.rules()
    rules.add({ group("big", "tags", list(1, 900)) }, ROOM)
    rules.add({ group("small", "tags", list(1, 150)) }, ROOM)
    rules.add({ group("small", "hosts", { "h" }) }, ROOM)
    local order = {}
    for i = 1, 8 do
      local claim = rules.claim(terms())
      order[i] = claim.zone .. " " .. claim.kind
      rules.settle(claim.fence, settled())
    end
    local seen = table.concat(order, ",", 1, 3)
    for _, part in ipairs { "big tags", "small tags", "small hosts" } do assert.truthy(seen:find(part, 1, true), seen) end
    assert.matches("small tags", table.concat(order, ",", 4, 5))
    assert.same({ "big tags", "big tags", "big tags" }, { order[6], order[7], order[8] })
  end)

  it("waits for company, but not with a full request", function()
    local rules = store.rules()
    local patient = terms { linger = 30 }
    rules.add({ group("z", "tags", { "a" }), group("y", "tags", list(1, 100)) }, ROOM)
    assert.equal(0, rules.look(patient))
    assert.equal("y", rules.claim(patient).zone)
    assert.is_nil(rules.claim(patient))
    local seconds = rules.look(patient)
    assert.is_true(seconds > 20 and seconds <= 30, seconds)
    rules.pass(15)
    rules.add({ group("z", "tags", { "b" }) }, ROOM)
    assert.is_nil(rules.claim(patient))
    rules.pass(15)
    assert.equal("a b", names(rules.claim(patient)))
  end)

  it("of one zone takes no longer while 100,000 items of another wait that is denied", function()
    local rules = store.rules()
    local function seconds_of_claims()
      rules.add({ group("fine", "tags", list(1, 100)) }, { capacity = 1e6 })
      local began = core.now()
      for i = 1, 20 do
        local claim = rules.claim(terms { full = { files = 1, others = 5 } })
        assert.equal("fine", claim.zone, i)
        rules.settle(claim.fence, settled())
      end
      return core.now() - began
    end
    local without = seconds_of_claims()
    for from = 1, 100000, 5000 do
      local many = list(from, from + 4999)
      rules.add({ group("denied", "tags", many, { environment = from > 50000 and "e" .. from or "" }) }, { capacity = 1e6 })
    end
    local claim = rules.claim(terms())
    rules.settle(claim.fence, settled { waiting = "all", rest = { first = 60, most = 60, why = "denied" } })
    host.tries(function()
      local with = seconds_of_claims()
      return with < 3 * without + 0.1, ("%g s, %g s without"):format(with, without)
    end)
    local status = rules.status()
    assert.same({ 100000, 0, "denied" }, { status.waiting, status.failed, status.paused[1].why })
  end)

  it("finds the zone that may go behind 1,100 whose budget is used up", function()
    if elsewhere "engine" then return end
    local rules, used = store.rules(), terms { budget = "used", buckets = { requests = { 1e-6, 1 } } }
    for from = 1, 1100, 100 do
      local groups = {}
      for i = from, from + 99 do groups[#groups + 1] = group("z" .. i, "tags", { "a" }) end
      rules.add(groups, ROOM)
    end
    rules.set_zone("fine", "other")
    rules.add({ group("fine", "tags", { "a" }) }, ROOM)
    rules.pass(1)
    assert.equal("z", rules.claim(used).zone:sub(1, 1))
    local claim
    for _ = 1, 10 do
      claim = rules.look(used) == 0 and rules.claim(used)
      if claim then break end
      rules.pass(0.05)
    end
    assert.equal("fine", claim and claim.zone)
  end)

  it("is never two workers' at once", function()
    local target = store.target()
    local one, other = store.rules(target), store.rules(target)
    one.add({ group("z", "tags", list(1, 500)), group("y", "tags", list(1, 500)) }, ROOM)
    local seen, fences = {}, {}
    for i = 1, 12 do
      local claim = (i % 2 == 0 and one or other).claim(terms())
      for _, item in ipairs(claim and claim.items or {}) do
        local name = claim.zone .. item.key
        assert.is_nil(seen[name])
        seen[name] = true
      end
      if claim then
        assert.is_nil(fences[claim.fence])
        fences[claim.fence] = true
      end
    end
    assert.equal(1000, one.status().in_flight)
  end)

  it("is lost with its lease: others have its items, and who had it changes nothing", function()
    local target = store.target()
    local slow, quick = store.rules(target), store.rules(target)
    slow.add({ group("z", "tags", { "a", "b" }) }, ROOM)
    local late = slow.claim(terms { lease = 20 })
    assert.is_nil(quick.claim(terms()))
    quick.pass(20)
    assert.equal(0, quick.look(terms()))
    local claim = quick.claim(terms())
    assert.equal("a b", names(claim))
    assert.same({ 1, 1 }, { claim.items[1].tries, claim.items[2].tries })
    for _, outcome in ipairs { settled(), settled { waiting = "all" }, settled { waiting = { "a" } },
      settled { failed = { { "a", "{}" } } }, settled { waiting = "all", rest = { first = 60, most = 900, why = "late" } } } do
      assert.is_false(slow.settle(late.fence, outcome))
    end
    assert.same({}, slow.renew({ late.fence }, 60))
    local status = quick.status()
    assert.same({ 0, 2, 0, 0 }, { status.waiting, status.in_flight, status.failed, #status.paused })
    assert.is_true(quick.settle(claim.fence, settled()))
    assert.is_false(quick.settle(claim.fence, settled()))
    status = quick.status()
    assert.same({ 0, 0, 0 }, { status.waiting, status.in_flight, status.failed })
  end)

  -- A server that died or a replica that took over has not all of it; a file may be deleted, or come from a backup.
  it("that its store has forgotten is taken for no other", function()
    local target = store.target()
    local rules = store.rules(target)
    rules.add({ group("z", "tags", { "a" }) }, ROOM)
    local forgotten = rules.claim(terms())
    if store.name == "redis" then
      stores.redis():command(("-n %s FLUSHDB"):format(target:match "%d+$"))
    else
      os.execute(("rm %s*"):format(target))
    end
    rules = store.rules(target)
    rules.add({ group("z", "tags", { "b" }) }, ROOM)
    assert.equal("b", names(rules.claim(terms())))
    assert.same({}, rules.renew({ forgotten.fence }, 60))
    assert.is_false(rules.settle(forgotten.fence, settled()))
    assert.equal(1, rules.status().in_flight)
  end)

  it("is kept by who renews it, and by no other", function()
    local rules = store.rules()
    rules.add({ group("z", "tags", { "a" }), group("y", "tags", { "b" }) }, ROOM)
    local kept, lost = rules.claim(terms { lease = 40 }), rules.claim(terms { lease = 40 })
    rules.pass(20)
    assert.same({ [kept.fence] = true }, rules.renew({ kept.fence, 999 }, 60))
    rules.pass(20)
    assert.equal(names(lost), names(rules.claim(terms())))
    assert.is_true(rules.settle(kept.fence, settled()))
    assert.same({}, rules.renew({ kept.fence }, 60))
  end)

  it("of a lane that was superseded ends as it may, and what is left of it goes", function()
    local rules = store.rules()
    local whole = group("z", "everything", {}, { items = { { "", "" } } })
    rules.add({ group("z", "tags", list(1, 300)) }, ROOM)
    local accepted, returned, lost = rules.claim(terms()), rules.claim(terms()), rules.claim(terms { lease = 30 })
    rules.add({ whole }, ROOM)
    rules.add({ group("z", "tags", { accepted.items[1].key }) }, ROOM)
    assert.equal("everything", rules.claim(terms()).kind)
    assert.equal(accepted.items[1].key, names(rules.claim(terms())))
    assert.is_true(rules.settle(accepted.fence, settled()))
    assert.is_true(rules.settle(returned.fence, settled { waiting = "all" }))
    assert.is_true(rules.status().sweeps)
    for _ = 1, 3 do assert.is_nil(rules.claim(terms())) end
    local between = rules.status()
    assert.same({ 0, 102, false }, { between.waiting, between.in_flight, between.sweeps })
    -- Nobody looks for what is in flight.
    assert.is_true((rules.look(terms()) or 1) > 0)
    rules.pass(30)
    assert.equal(0, rules.look(terms()))
    for _ = 1, 4 do assert.is_nil(rules.claim(terms())) end
    assert.is_true((rules.look(terms()) or 1) > 0)
    local status = rules.status()
    assert.same({ 0, 2, 0 }, { status.waiting, status.in_flight, status.failed })
    assert.same({}, rules.renew({ lost.fence }, 60))
  end)

  it("finds what was added before the clock was set back, and keeps its lease as long as ever", function()
    local rules = store.rules()
    local waits = terms { linger = 5, lease = 20 }
    rules.pass(3600)
    rules.add({ group("z", "tags", { "a" }) }, { capacity = 10 })
    rules.pass(-3600)
    assert.equal(0, rules.look(waits))
    local claim = rules.claim(waits)
    assert.is_true(claim == nil or names(claim) == "a")
    local seconds = rules.look(waits)
    assert.is_true(seconds <= 20, seconds)
    rules.pass(30)
    assert.equal(0, rules.look(waits))
    assert.equal("a", names(rules.claim(waits)))
    rules.pass(-3600)
    rules.pass(30)
    rules.claim(waits) -- from now on it goes on
    rules.pass(30)
    assert.equal("a", names(rules.claim(waits)))
  end)

  it("finds nothing in an empty store, and leaves nothing behind", function()
    local rules = store.rules()
    assert.same({ nil, nil }, { rules.claim(terms()), rules.look(terms()) })
    local status = rules.status()
    assert.same({ 0, 0, 0 }, { status.waiting, status.in_flight, status.failed })
    rules.add({ group("z", "tags", { "a" }) }, { capacity = 10, delay = 30 })
    assert.is_nil(rules.claim(terms()))
    assert.is_true(rules.look(terms()) > 25)
  end)
end) end
