-- What an add leaves in the store: identity, merging, delays, capacity, what supersedes what. Both stores.
local stores = require "spec.support.stores"

local group, names, settled, terms = stores.group, stores.names, stores.settled, stores.terms

local function counts(rules)
  local status = assert(rules.status())
  return { status.waiting, status.in_flight, status.failed }
end

local function claimed(rules, more)
  return names(rules.claim(terms(more)))
end

-- What a claim holds, all of which is then accepted.
local function accepted(rules)
  local claim = rules.claim(terms())
  rules.settle(claim.fence, settled())
  return names(claim)
end

local function add(rules, groups, options)
  options = options or {}
  options.capacity = options.capacity or 1000
  if groups.zone then groups = { groups } end
  local result, problem = rules.add(groups, options)
  return result and { result.added, result.merged } or problem
end

for _, store in ipairs(stores) do describe("an add, " .. store.name, function()
  teardown(stores.close)

  it("makes equal items one, and no others", function()
    local rules = store.rules()
    assert.same({ 2, 0 }, add(rules, group("z", "tags", { "a", "b" })))
    assert.same({ 1, 2 }, add(rules, group("z", "tags", { "b", "c", "a" })))
    for _, other in ipairs {
      group("y", "tags", { "a" }), group("z", "hosts", { "a" }), group("z", "tags", { "a" }, { environment = "e" }),
    } do
      assert.same({ 1, 0 }, add(rules, other))
    end
    assert.same({ 6, 0, 0 }, counts(rules))
  end)

  it("counts an item that stands twice in it once", function()
    local rules = store.rules()
    assert.same({ 2, 1 }, add(rules, group("z", "tags", { "a", "b", "a" })))
    assert.same({ 2, 0, 0 }, counts(rules))
    assert.equal("a b", claimed(rules))
  end)

  it("keeps any bytes of keys and items", function()
    local rules = store.rules()
    local odd = { "\195\164\226\130\172", "a\"b\\c'", "tab\there", "{cfpurge}:x", "%d ?1 {LANE}", ("x"):rep(20000) }
    assert.same({ #odd, 0 }, add(rules, group("z'\"", "tags", odd, { environment = "name:é" })))
    local claim = rules.claim(terms())
    assert.same({ "z'\"", "name:é" }, { claim.zone, claim.environment })
    table.sort(odd)
    assert.equal(table.concat(odd, " "), names(claim))
    local texts = {}
    for i, item in ipairs(claim.items) do texts[i] = require "cjson".decode("[" .. item.item .. "]")[1] end
    table.sort(texts)
    assert.same(odd, texts)
    assert.is_true(rules.settle(claim.fence, settled()))
    assert.same({ 0, 0, 0 }, counts(rules))
  end)

  it("waits as long as it says; the earlier of two goes first and the later is not lost", function()
    local rules = store.rules()
    add(rules, group("z", "tags", { "a" }), { delay = 80 })
    assert.equal("", claimed(rules))
    assert.same({ 0, 1 }, add(rules, group("z", "tags", { "a" })))
    assert.equal("a", accepted(rules))
    assert.same({ 1, 0, 0 }, counts(rules))
    rules.pass(70)
    assert.equal("", claimed(rules))
    rules.pass(10)
    assert.equal("a", accepted(rules))
    assert.same({ 0, 0, 0 }, counts(rules))
  end)

  it("of what is in flight goes as soon as that has ended, though more is asked for later", function()
    for _, delays in ipairs { { 0, 80 }, { 80, 0 }, { 80, 0, 40 } } do
      local rules = store.rules()
      add(rules, group("z", "tags", { "a" }))
      local claim = rules.claim(terms())
      for _, delay in ipairs(delays) do add(rules, group("z", "tags", { "a" }), { delay = delay }) end
      rules.settle(claim.fence, settled())
      assert.equal("a", accepted(rules))
      rules.pass(79)
      assert.equal("", claimed(rules))
      rules.pass(1)
      assert.equal("a", accepted(rules))
      assert.same({ 0, 0, 0 }, counts(rules))
    end
  end)

  it("is sent once more so many seconds after it was accepted", function()
    local rules = store.rules()
    add(rules, group("z", "tags", { "a" }), { again = 30 })
    local claim = rules.claim(terms())
    rules.pass(20)
    rules.settle(claim.fence, settled())
    assert.same({ 1, 0, 0 }, counts(rules))
    rules.pass(20)
    assert.equal("", claimed(rules))
    rules.pass(10)
    assert.equal("a", accepted(rules))
    assert.same({ 0, 0, 0 }, counts(rules))
  end)

  it("is stored whole or not at all where there is no room", function()
    local rules = store.rules()
    local room = { capacity = 3 }
    assert.same({ 2, 0 }, add(rules, group("z", "tags", { "a", "b" }), room))
    assert.matches("queue_full", add(rules, group("z", "tags", { "b", "c", "d" }), room))
    assert.same({ 2, 0, 0 }, counts(rules))
    assert.same({ 1, 1 }, add(rules, { group("z", "tags", { "b" }), group("y", "hosts", { "c" }) }, room))
    assert.same({ 0, 1 }, add(rules, group("z", "tags", { "a" }), room))
    assert.matches("queue_full", add(rules, { group("x", "tags", { "a" }) }, room))
    -- What is in flight takes room, what was accepted none.
    local claim = rules.claim(terms())
    assert.matches("queue_full", add(rules, group("x", "tags", { "a" }), room))
    rules.settle(claim.fence, settled())
    assert.same({ 1, 0 }, add(rules, group("x", "tags", { "a" }), room))
  end)

  it("of a purge takes the place of the invalidate that waits, and of an invalidate is one with the purge", function()
    local rules = store.rules()
    local invalidate = { op = "invalidate" }
    add(rules, group("z", "tags", { "a", "b" }, invalidate))
    assert.same({ 2, 0 }, add(rules, group("z", "tags", { "a", "c" })))
    assert.same({ 3, 0, 0 }, counts(rules))
    assert.same({ 0, 2 }, add(rules, group("z", "tags", { "a", "c" }, invalidate)))
    assert.same({ 3, 0, 0 }, counts(rules))
    -- A purge that goes later says less than an invalidate now.
    assert.same({ 1, 0 }, add(rules, group("z", "tags", { "later" }), { delay = 60 }))
    assert.same({ 1, 0 }, add(rules, group("z", "tags", { "later" }, invalidate)))
    -- A purge in flight began before the invalidate was asked for.
    local seen = { claimed(rules), claimed(rules) }
    table.sort(seen)
    assert.same({ "a c", "b later" }, seen)
    assert.same({ 1, 0 }, add(rules, group("z", "tags", { "c" }, invalidate)))
  end)

  it("for later says nothing of the other that goes now, purge or invalidate", function()
    local rules = store.rules()
    local invalidate = { op = "invalidate" }
    add(rules, group("y", "tags", { "p" }))
    assert.same({ 1, 0 }, add(rules, group("y", "tags", { "p" }, invalidate), { delay = 60 }))
    add(rules, group("y", "tags", { "i" }, invalidate))
    assert.same({ 1, 0 }, add(rules, group("y", "tags", { "i" }), { delay = 60 }))
    assert.same({ 4, 0, 0 }, counts(rules))
    local seen = { claimed(rules), claimed(rules) }
    table.sort(seen)
    assert.same({ { "i", "p" }, "" }, { seen, claimed(rules) })
  end)

  it("of everything supersedes what waits in its zone, and nothing that comes after it", function()
    local rules = store.rules()
    local whole = { items = { { "", "" } } }
    add(rules, { group("z", "tags", { "a", "b" }), group("z", "files", { "f" }), group("z", "tags", { "e" },
      { environment = "e" }), group("y", "tags", { "other" }), group("z", "tags", { "i" }, { op = "invalidate" }) })
    add(rules, group("z", "tags", { "late" }), { delay = 50 })
    assert.same({ 1, 0 }, add(rules, group("z", "everything", {}, whole)))
    assert.same({ 1, 0 }, add(rules, group("z", "tags", { "a" })))
    local seen = {}
    for _ = 1, 6 do
      local claim = rules.claim(terms())
      if claim then -- some only sweep
        seen[#seen + 1] = claim.zone .. " " .. claim.kind .. " " .. names(claim)
        rules.settle(claim.fence, settled())
      end
    end
    table.sort(seen)
    assert.same({ "y tags other", "z everything ", "z tags a" }, seen)
    -- What asks for a later purge is not superseded by an earlier one.
    assert.same({ 1, 0, 0 }, counts(rules))
    rules.pass(50)
    assert.equal("late", claimed(rules))
  end)

  it("of everything in an environment leaves the others, and an invalidate leaves the purges", function()
    local rules = store.rules()
    local all = { items = { { "", "" } } }
    add(rules, { group("z", "tags", { "a" }), group("z", "tags", { "e" }, { environment = "e" }),
      group("z", "tags", { "i" }, { op = "invalidate" }) })
    add(rules, group("z", "everything", {}, { items = all.items, environment = "e" }))
    assert.same({ 3, 0, 0 }, counts(rules))
    add(rules, group("z", "everything", {}, { items = all.items, op = "invalidate" }))
    assert.same({ 3, 0, 0 }, counts(rules))
    local kinds = {}
    for i = 1, 3 do kinds[i] = rules.claim(terms()) end
    local seen = {}
    for i, claim in ipairs(kinds) do
      seen[i] = claim.op .. " " .. claim.environment .. " " .. claim.kind .. " " .. names(claim)
    end
    table.sort(seen)
    assert.same({ "invalidate  everything ", "purge  tags a", "purge e everything " }, seen)
  end)

  it("of everything that is superseded frees the room", function()
    local rules = store.rules()
    local room = { capacity = 4 }
    add(rules, group("z", "tags", { "a", "b", "c" }), room)
    assert.same({ 1, 0 }, add(rules, group("z", "everything", {}, { items = { { "", "" } } }), room))
    assert.same({ 3, 0 }, add(rules, group("z", "tags", { "a", "b", "c" }), room))
    assert.matches("queue_full", add(rules, group("z", "tags", { "d" }), room))
  end)

  it("that makes room by what it supersedes has room", function()
    local rules = store.rules()
    local room = { capacity = 2 }
    add(rules, group("z", "tags", { "a", "b" }, { op = "invalidate" }), room)
    assert.matches("queue_full", add(rules, group("z", "tags", { "b", "c" }), room))
    assert.same({ 1, 0 }, add(rules, group("z", "tags", { "b" }), room))
    assert.same({ 1, 0 }, add(rules, group("z", "everything", {}, { items = { { "", "" } } }), room))
    assert.same({ 1, 0 }, add(rules, group("z", "hosts", { "h" }), room))
    assert.matches("queue_full", add(rules, group("y", "everything", {}, { items = { { "", "" } } }), room))
    assert.same({ 2, 0, 0 }, counts(rules))
  end)

  it("that asks for one more has it though an everything supersedes the first", function()
    local rules = store.rules()
    add(rules, group("z", "tags", { "a" }), { again = 0.3 })
    add(rules, group("z", "tags", { "b" }))
    add(rules, group("z", "everything", {}, { items = { { "", "" } } }))
    local seen, last = {}, os.time() + 20
    repeat
      local claim = rules.claim(terms())
      if claim then
        seen[#seen + 1] = claim.kind .. " " .. names(claim)
        rules.settle(claim.fence, settled())
      end
    until seen[2] or os.time() > last
    assert.same({ "everything ", "tags a" }, seen)
    assert.same({ 0, 0, 0 }, counts(rules))
  end)

  it("that waits for two instants beyond an everything goes at both", function()
    local rules = store.rules()
    add(rules, group("z", "tags", { "a" }), { delay = 10 })
    add(rules, group("z", "tags", { "a" }), { delay = 60 })
    add(rules, group("z", "everything", {}, { items = { { "", "" } } }))
    local claim = rules.claim(terms())
    assert.equal("everything", claim.kind)
    rules.settle(claim.fence, settled())
    -- The new lane has it already, for later and with one more behind.
    add(rules, group("z", "tags", { "a" }), { delay = 600, again = 60 })
    assert.equal("", claimed(rules))
    rules.pass(10)
    assert.equal("a", accepted(rules))
    assert.equal("", claimed(rules))
    assert.same({ 1, 0, 0 }, counts(rules))
  end)

  it("is told with how long the first item has been due", function()
    local rules = store.rules()
    local function oldest()
      local seconds = rules.status().oldest
      return seconds and math.floor(seconds / 100)
    end
    assert.is_nil(oldest())
    add(rules, group("z", "tags", { "later" }), { delay = 1000 })
    rules.pass(200)
    assert.is_nil(oldest())
    add(rules, group("y", "tags", { "now" }))
    rules.pass(200)
    add(rules, group("x", "tags", { "now" }))
    assert.equal(2, oldest())
    rules.claim(terms())
    rules.claim(terms())
    assert.is_nil(oldest())
    rules.pass(800)
    assert.equal(2, oldest())
  end)
end) end
