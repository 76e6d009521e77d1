-- What becomes of a claim: accepted, failed, waiting again; zones that rest; what was refused, listed, retried and
-- discarded. Both stores.
local core = require "cfpurge.core"
local elsewhere = require "spec.support.where"
local stores = require "spec.support.stores"

local group, names, settled, terms = stores.group, stores.names, stores.settled, stores.terms
local ROOM = { capacity = 100000 }

local function counts(rules)
  local status = assert(rules.status())
  return { status.waiting, status.in_flight, status.failed }
end

local function keys_of(failed)
  local keys = {}
  for i, row in ipairs(failed) do keys[i] = row.zone .. " " .. row.item:gsub('"', "") end
  table.sort(keys)
  return table.concat(keys, ", ")
end

for _, store in ipairs(stores) do describe("an outcome, " .. store.name, function()
  teardown(stores.close)

  local function with(items, zone)
    local rules = store.rules()
    rules.add({ group(zone or "z", "tags", items) }, ROOM)
    return rules, rules.claim(terms())
  end

  local function fail(rules, zone, kind, items, text)
    rules.add({ group(zone, kind, items) }, ROOM)
    local claim = rules.claim(terms())
    local failed = {}
    for i, item in ipairs(items) do failed[i] = { item, text or "{}" } end
    assert.is_true(rules.settle(claim.fence, settled { failed = failed }))
  end

  it("may differ for each item", function()
    local rules, claim = with { "bad", "again", "fine" }
    assert.is_true(rules.settle(claim.fence, settled { failed = { { "bad", '{"kind":"x"}' } }, waiting = { "again" } }))
    assert.same({ 1, 0, 1 }, counts(rules))
    local second = rules.claim(terms())
    assert.same({ "again", 1 }, { names(second), second.items[1].tries })
    local failed = rules.failed({}, 10)
    assert.same({ 1, "z", "", "purge", "tags", '"bad"', '{"kind":"x"}' }, { #failed, failed[1].zone, failed[1].environment,
      failed[1].op, failed[1].kind, failed[1].item, failed[1].error })
    assert.is_true(failed[1].age >= 0 and failed[1].age < 5)
  end)

  it("that is unknown lets the zone rest, twice as long each time, and the others go on", function()
    local rules, claim = with({ "a" }, "down")
    local rest = { first = 20, most = 50, why = "no answer" }
    for i, seconds in ipairs { 20, 40, 50, 50 } do
      local before = core.now()
      rules.settle(claim.fence, settled { waiting = "all", rest = rest })
      local paused = rules.status().paused
      assert.same({ 1, "down", "no answer" }, { #paused, paused[1].zone, paused[1].why })
      local length = paused[1].seconds
      local less = seconds - length
      assert.is_true(less > -0.01 and less < core.now() - before + 0.01, less)
      assert.is_nil(rules.claim(terms()))
      if i == 1 then
        rules.add({ group("up", "tags", { "b" }) }, ROOM)
        local other = rules.claim(terms())
        assert.equal("up", other.zone)
        rules.settle(other.fence, settled())
      end
      rules.pass(length + 0.02)
      claim = rules.claim(terms())
      assert.same({ "a", i }, { names(claim), claim.items[1].tries })
    end
    rules.settle(claim.fence, settled())
    assert.same({ {}, { 0, 0, 0 } }, { rules.status().paused, counts(rules) })
    -- It was accepted: the next time is a first one.
    rules.add({ group("down", "tags", { "a" }) }, ROOM)
    rules.settle(rules.claim(terms()).fence, settled { waiting = "all", rest = rest })
    assert.is_true(rules.status().paused[1].seconds <= 20)
  end)

  it("that never came gives its tokens back with its lease", function()
    local rules = store.rules()
    rules.set_budget("p", { requests = { 1, 10 } })
    rules.set_zone("z", "p")
    rules.add({ group("z", "tags", { "a" }) }, ROOM)
    rules.claim(terms { lease = 10 })
    rules.pass(20)
    assert.is_true(rules.settle(rules.claim(terms()).fence, settled()))
    rules.pass(20)
    assert.is_true(rules.status().budgets[1].left > 9.9)
  end)

  it("of a 429 holds its budget, and no shorter one lets it go", function()
    local rules = store.rules()
    rules.set_budget("p", { requests = { 1, 10 } })
    rules.set_zone("z", "p")
    rules.add({ group("z", "tags", { "a" }), group("z", "hosts", { "b" }) }, ROOM)
    local long, short = rules.claim(terms()), rules.claim(terms())
    rules.settle(long.fence, settled { waiting = "all", held = 30 })
    rules.settle(short.fence, settled { waiting = "all", held = 1 })
    rules.pass(20)
    assert.is_nil(rules.claim(terms()))
    rules.pass(10)
    assert.is_not_nil(rules.claim(terms()))
  end)

  it("of a 429 has the plan of its zone read again where that was an hour ago", function()
    local rules, seen = store.rules(), {}
    rules.set_budget("p", { requests = { 1, 10 } })
    rules.set_zone("z", "p")
    rules.add({ group("z", "tags", { "a" }) }, ROOM)
    for i, seconds in ipairs { 3000, 1000, 20 } do
      local claim = rules.claim(terms())
      seen[i] = claim.is_stale
      rules.settle(claim.fence, settled { waiting = "all", is_drained = true })
      rules.pass(seconds)
    end
    assert.same({ false, false, false, true }, { seen[1], seen[2], seen[3], rules.claim(terms()).is_stale })
  end)

  it("that holds all back holds zones without a budget too", function()
    local rules, claim = with({ "a" }, "z")
    rules.add({ group("y", "files", { "b" }) }, ROOM)
    rules.settle(claim.fence, settled { waiting = "all", held = 20, held_all = 30 })
    assert.is_nil(rules.claim(terms()))
    local status = rules.status()
    assert.is_true(status.held > 20 and status.held <= 30 and status.calls == 1, status.held)
    local seconds = rules.look(terms())
    assert.is_true(seconds > 20 and seconds <= 30, seconds)
    rules.pass(30)
    assert.is_not_nil(rules.claim(terms()))
    assert.is_not_nil(rules.claim(terms()))
  end)

  it("of a zone that was refused is tried by one claim alone", function()
    local rules, claim = with({ "a" }, "z")
    rules.settle(claim.fence, settled { waiting = "all", rest = { first = 60, most = 60, why = "denied" } })
    rules.add({ group("z", "hosts", { "h" }), group("z", "tags", { "b" }) }, ROOM)
    rules.pass(60)
    local first = rules.claim(terms())
    assert.is_not_nil(first)
    assert.is_nil(rules.claim(terms()))
    rules.settle(first.fence, settled())
    assert.is_not_nil(rules.claim(terms()))
  end)

  it("that had 250 zones rest holds none of them back from a worker that begins", function()
    if elsewhere "once" then return end
    local queue, _, _, target = store.queue { linger = 1000 }
    local rules = store.rules(target)
    for i = 1, 250 do
      rules.add({ group("z" .. i, "tags", { "a" }) }, ROOM)
      rules.settle(rules.claim(terms()).fence, settled { waiting = "all", rest = { first = 600, most = 600, why = "tls: x" } })
    end
    assert.equal("250", tostring(queue:status().resting.tls))
    queue:work()
    local status
    for _ = 1, 50 do
      status = queue:status()
      if not status.resting.tls then break end
    end
    assert.same({}, status.resting)
  end)

  it("may take items to the lanes of other zones, where they are merged", function()
    local rules = store.rules()
    rules.add({ group("auto", "hosts", { "a", "b", "c", "d" }), group("one", "hosts", { "b" }) }, ROOM)
    rules.set_budget("p", { requests = { 1, 10 } })
    rules.set_zone("auto", "p")
    local claims = { rules.claim(terms()), rules.claim(terms()) }
    local auto = claims[1].zone == "auto" and claims[1] or claims[2]
    rules.settle((claims[1] == auto and claims[2] or claims[1]).fence, settled { waiting = "all" })
    rules.add({ group("auto", "hosts", { "a" }) }, ROOM)
    assert.is_true(rules.settle(auto.fence, settled { failed = { { "d", "{}" } }, is_unsent = true,
      moved = { { "one", { "a", "b" } }, { "two", { "c" } } } }))
    assert.same({ 3, 0, 1 }, counts(rules))
    assert.truthy(rules.status().budgets[1].left > 9.9)
    local seen = {}
    for _ = 1, 2 do
      local claim = rules.claim(terms())
      seen[claim.zone] = names(claim)
      rules.settle(claim.fence, settled())
    end
    assert.same({ one = "a b", two = "c" }, seen)
    assert.same({ nil, { 0, 0, 1 } }, { rules.claim(terms()), counts(rules) })
    assert.is_false(rules.settle(auto.fence, settled { moved = { { "one", { "a" } } } }))
    assert.same({ 0, 0, 1 }, counts(rules))
  end)

  it("of what failed forgets it as soon as it is added again", function()
    local rules = store.rules()
    fail(rules, "z", "tags", { "a", "b" })
    assert.same({ 0, 0, 2 }, counts(rules))
    rules.add({ group("z", "tags", { "a" }) }, ROOM)
    assert.same({ 1, 0, 1 }, counts(rules))
    rules.add({ group("y", "tags", { "b" }) }, ROOM)
    assert.equal("z b", keys_of(rules.failed({}, 10)))
  end)

  it("of the same item failing in a lane that was superseded is told once", function()
    local rules, old = with { "a" }
    rules.add({ group("z", "everything", {}, { items = { { "", "" } } }) }, ROOM)
    rules.add({ group("z", "tags", { "a" }) }, ROOM)
    local claims = {}
    for _ = 1, 4 do claims[#claims + 1] = rules.claim(terms()) end
    for _, claim in ipairs(claims) do
      rules.settle(claim.fence, settled { failed = claim.kind == "tags" and { { "a", "{}" } } or {} })
    end
    -- The old one is still in flight.
    assert.same({ 0, 1, 1 }, counts(rules))
    assert.is_true(rules.settle(old.fence, settled { failed = { { "a", '{"kind":"later"}' } } }))
    local failed = rules.failed({}, 10)
    assert.same({ { 0, 0, 1 }, 1, '{"kind":"later"}' }, { counts(rules), #failed, failed[1].error })
  end)

  it("that failed is listed, retried and discarded by filter", function()
    local rules = store.rules()
    fail(rules, "z", "tags", { "a", "b", "c" })
    fail(rules, "z", "hosts", { "h" })
    fail(rules, "y", "tags", { "a" })
    assert.equal("y a, z a, z b, z c, z h", keys_of(rules.failed({}, 10)))
    assert.equal("y a, z a, z b, z c", keys_of(rules.failed({ kind = "tags" }, 10)))
    assert.equal("z a, z b, z c, z h", keys_of(rules.failed({ zone = "z" }, 10)))
    assert.equal("", keys_of(rules.failed({ environment = "e" }, 10)))
    assert.equal("", keys_of(rules.failed({ older_than = 60 }, 10)))
    local some, last = rules.failed({}, 2)
    assert.same({ 2, true }, { #some, last ~= nil })
    assert.equal(3, #rules.failed({}, 10, last))
    assert.equal(2, rules.retry({ zone = "z", kind = "tags" }, 2).count)
    assert.same({ 2, 0, 3 }, counts(rules))
    assert.equal(1, rules.retry({ zone = "z", kind = "tags" }, 2).count)
    assert.equal("a b c", names(rules.claim(terms())))
    assert.equal(1, rules.discard({ zone = "y" }, 10).count)
    assert.same({ 0, 3, 1 }, counts(rules))
    rules.pass(10)
    assert.equal(1, rules.discard({ older_than = 5 }, 10).count)
    assert.same({ 0, 3, 0 }, counts(rules))
    assert.same({ 0, nil }, { rules.retry({}, 10).count, rules.retry({}, 10).after })
  end)

  it("that failed is retried once, though it fails again at once, and past what the filter leaves out", function()
    local rules = store.rules()
    local many = {}
    for i = 1, 2100 do many[i] = "m" .. i end
    rules.add({ group("other", "tags", many) }, ROOM)
    local failed = {}
    for i, item in ipairs(many) do failed[i] = { item, "{}" } end
    rules.settle(rules.claim(terms { full = { files = 1, others = 2100 } }).fence, settled { failed = failed })
    fail(rules, "z", "tags", { "a", "b" })
    local count, after, began = 0, nil, nil
    for _ = 1, 6 do
      local some = rules.retry({ zone = "z" }, 1, after, began)
      count, after, began = count + some.count, some.after, began or some.now
      if not after then break end
      local claim = rules.claim(terms())
      if claim then rules.settle(claim.fence, settled { failed = { { claim.items[1].key, "{}" } } }) end
    end
    assert.same({ 2, nil }, { count, after })
    local first = rules.discard({ zone = "other" }, 1500)
    assert.equal(600, rules.discard({ zone = "other" }, 1500, first.after, first.now).count)
  end)

  it("that failed and is retried is one with the same that waits", function()
    local rules = store.rules()
    fail(rules, "z", "tags", { "a" })
    -- A retry while it waits in the lane already: nothing twice.
    local target = store.target()
    rules = store.rules(target)
    fail(rules, "z", "tags", { "a", "b" })
    rules.add({ group("z", "tags", { "b" }) }, ROOM)
    assert.equal(1, rules.retry({}, 10).count)
    assert.same({ 2, 0, 0 }, counts(rules))
    -- It came from another zone, and has the words of the later call.
    rules.settle(rules.claim(terms()).fence, settled { failed = { { "a", "{}" } } })
    rules.add({ group("y", "tags", {}, { items = { { "a", '"A"' } } }) }, ROOM)
    rules.settle(rules.claim(terms()).fence, settled { moved = { { "z", { "a" } } } })
    assert.equal(1, rules.retry({}, 10).count)
    assert.equal('"A"', rules.claim(terms()).items[1].item)
  end)

  it("that failed and is retried goes now though the same waits for later, and asks for what it did", function()
    local rules = store.rules()
    rules.add({ group("z", "tags", { "a" }) }, { capacity = 1000, again = 600 })
    local claim = rules.claim(terms())
    rules.add({ group("z", "everything", {}, { items = { { "", "" } } }) }, ROOM)
    rules.add({ group("z", "tags", { "a" }) }, { capacity = 1000, delay = 600 })
    rules.settle(claim.fence, settled { failed = { { "a", "{}" } } })
    assert.equal("everything", rules.claim(terms()).kind)
    assert.equal(1, rules.retry({}, 10).count)
    claim = rules.claim(terms())
    assert.equal("a", names(claim))
    rules.settle(claim.fence, settled())
    assert.same({ 1, 1, 0 }, counts(rules))
    claim = rules.claim(terms())
    assert.is_nil(claim)
    rules.add({ group("y", "tags", { "b" }) }, { capacity = 1000, again = 600 })
    claim = rules.claim(terms())
    rules.settle(claim.fence, settled { failed = { { "b", "{}" } } })
    rules.retry({}, 10)
    claim = rules.claim(terms())
    rules.settle(claim.fence, settled())
    assert.same({ 2, 1, 0 }, counts(rules))
  end)

  it("of everything may fail and be retried", function()
    local rules = store.rules()
    rules.add({ group("z", "everything", {}, { items = { { "", "" } } }) }, ROOM)
    rules.settle(rules.claim(terms()).fence, settled { failed = { { "", "{}" } } })
    assert.same({ 0, 0, 1 }, counts(rules))
    rules.retry({}, 10)
    assert.equal("everything", rules.claim(terms()).kind)
  end)
end) end
