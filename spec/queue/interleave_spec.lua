-- An item that is added again between its claim and the end of the claim is sent again, whatever the order of (claim, add,
-- answer, acknowledge, lease over). Both stores, all orders.
local elsewhere = require "spec.support.where"
if elsewhere "engine" then return end

local stores = require "spec.support.stores"

local group, settled, terms = stores.group, stores.settled, stores.terms
local ROOM = { capacity = 1000 }

-- The API as it sees sendings: each carries out all adds that were stored before it began.
local function world(store)
  local target = store.target()
  local w = { workers = { store.rules(target), store.rules(target) }, adds = 0, covered = 0, claims = {} }
  function w.add()
    assert(w.workers[2].add({ group("z", "tags", { "a" }) }, ROOM))
    w.adds = w.adds + 1
  end
  function w.claim(worker, lease)
    local claim = w.workers[worker].claim(terms { lease = lease })
    w.claims[worker] = claim or w.claims[worker]
    if claim then claim.began = w.adds end
    return claim
  end
  function w.answer(worker)
    w.covered = math.max(w.covered, w.claims[worker].began)
  end
  function w.acknowledge(worker, outcome)
    return w.workers[worker].settle(w.claims[worker].fence, outcome or settled())
  end
  -- All that waits is sent; then each add has been followed by a sending, and nothing is left.
  function w.finish()
    for _ = 1, 6 do
      if w.claim(2, 60) then
        w.answer(2)
        w.acknowledge(2)
      end
    end
    assert.equal(w.adds, w.covered)
    local status = w.workers[1].status()
    assert.same({ 0, 0, 0 }, { status.waiting, status.in_flight, status.failed })
  end
  return w
end

local function orders(list, visit, from)
  from = from or 1
  if from > #list then return visit(list) end
  for i = from, #list do
    list[from], list[i] = list[i], list[from]
    orders(list, visit, from + 1)
    list[from], list[i] = list[i], list[from]
  end
end

for _, store in ipairs(stores) do describe("an item added again, " .. store.name, function()
  teardown(stores.close)

  it("is sent after its last add, whatever the order", function()
    local tried = 0
    orders({ "add", "again", "answer", "acknowledge" }, function(order)
      local w = world(store)
      w.add()
      assert(w.claim(1, 60))
      local answered, acknowledged = false, false
      for _, event in ipairs(order) do
        if event == "answer" then
          w.answer(1)
          answered = true
        elseif event == "acknowledge" then
          -- Before the answer it can only say that nothing is known.
          assert.is_true(w.acknowledge(1, not answered and settled { waiting = "all" } or nil))
          acknowledged = true
        else
          w.add()
        end
      end
      assert.is_true(acknowledged)
      w.finish()
      tried = tried + 1
    end)
    assert.equal(24, tried)
  end)

  it("is sent after its last add where the lease ends in between", function()
    local tried = 0
    orders({ "add", "over", "claim", "acknowledge", "acknowledge 2" }, function(order)
      local place = {}
      for i, event in ipairs(order) do place[event] = i end
      -- A second claim before the lease is over gets nothing: that order says nothing new.
      if place.claim < place.over or place["acknowledge 2"] < place.claim then return end
      local w = world(store)
      w.add()
      assert(w.claim(1, 10))
      w.answer(1)
      for _, event in ipairs(order) do
        if event == "add" then
          w.add()
        elseif event == "over" then
          w.workers[1].pass(10)
        elseif event == "claim" then
          w.second = w.claim(2, 60)
        elseif event == "acknowledge" then
          w.acknowledge(1)
        elseif w.second then
          w.answer(2)
          assert.is_true(w.acknowledge(2))
        end
      end
      w.finish()
      tried = tried + 1
    end)
    assert.equal(20, tried)
  end)

  it("is sent again where the one in flight failed for good, or waits again", function()
    for _, outcome in ipairs { settled { failed = { { "a", "{}" } } }, settled { waiting = { "a" } },
      settled { waiting = "all" } } do
      local w = world(store)
      w.add()
      assert(w.claim(1, 60))
      w.add()
      assert.is_true(w.acknowledge(1, outcome))
      assert.same({ 1, 0, 0 }, (function(s) return { s.waiting, s.in_flight, s.failed } end)(w.workers[1].status()))
      w.finish()
    end
  end)
end) end
