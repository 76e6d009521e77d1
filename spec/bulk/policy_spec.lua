-- What becomes of a chunk by how its request ended: lua/cfpurge/bulk/policy, without an edge.
local policy = require "cfpurge.bulk.policy"

local LIMITS = { max_items = 100, isolate = true }

local function counters(changes)
  local made = policy.counters(100, LIMITS)
  for name, value in pairs(changes or {}) do made[name] = value end
  return made
end

local function chunk(count, changes)
  local made = { count = count, is_fresh = true, is_cut = false, is_counted = false }
  for name, value in pairs(changes or {}) do made[name] = value end
  return made
end

describe("a failed request", function()
  local refused, server = { kind = "bad_request", about = "request" }, { kind = "server" }
  local of_item, of_size = { kind = "bad_request", about = "item" }, { kind = "api", about = "size" }
  -- counters before, chunk, error -> verdict, size, counters after
  for title, case in pairs {
    ["over the limit is split, and the size learned"] =
      { {}, chunk(81), of_size, "split", 41, { size = 41 } },
    ["over the limit of a size known already"] =
      { { size = 10 }, chunk(80), of_size, "split", 10, { size = 10 } },
    ["over the limit with one item fails"] =
      { {}, chunk(1), of_size, "fail", nil, { unanswered = 1, is_stopped = false } },
    ["that was cut goes back"] = { {}, chunk(9, { is_cut = true }), refused, "put_back", nil, { refused = 0 } },
    ["that was limited for as long as it may wait stops all"] = { {}, chunk(9), { kind = "rate_limited", about = "rate" },
      "fail", nil, { is_stopped = true } },
    ["that is refused is halved"] = { {}, chunk(9), refused, "split", 4, { refused = 1 } },
    ["that is refused for an item, fresh, is halved"] = { {}, chunk(9), of_item, "split", 4, { untried = 1, refused = 0 } },
    ["of one item that is refused fails alone"] = { {}, chunk(1), of_item, "fail", nil, { alone = 1, is_stopped = false } },
    ["of a piece, after the evidence that all are at fault"] = { { alone = 12, untried = 12 }, chunk(3), of_item, "split", 1,
      { pieces = 1 } },
    ["that is refused once too often is the request's fault"] = { { refused = 24 }, chunk(9), refused, "fail", nil,
      { refused = 25, is_blamed = true, is_stopped = true } },
    ["of one item that is refused after fewer fails alone"] = { { refused = 11 }, chunk(1), refused, "fail", nil,
      { refused = 12, is_stopped = false } },
    ["of one item that is refused after many is the request's fault"] = { { refused = 12 }, chunk(1), refused, "fail", nil,
      { refused = 13, is_blamed = true, is_stopped = true } },
    ["that is refused after many, none of which was small, is halved"] = { { refused = 12 }, chunk(9), refused, "split", 4,
      { refused = 13, is_stopped = false } },
    ["that is refused after all was stopped is not blamed"] = { { refused = 24, is_stopped = true }, chunk(9), refused,
      "fail", nil, { is_blamed = false } },
    ["that is refused after some were accepted is no evidence"] = { { accepted = 5, refused = 0 }, chunk(9), refused,
      "split", 4, { refused = 0 } },
    ["that is refused without isolate fails whole"] = { { isolate = false }, chunk(9), refused, "fail", nil,
      { is_stopped = false } },
    ["without a usable answer fails"] = { {}, chunk(9), server, "fail", nil, { unanswered = 1, is_stopped = false } },
    ["without a usable answer the third time stops all"] = { { unanswered = 2 }, chunk(9), server, "fail", nil,
      { is_stopped = true } },
    ["whose end was counted already counts once"] = { {}, chunk(9, { is_counted = true }), server, "fail", nil,
      { unanswered = 0 } },
  } do
    it(title, function()
      local before = counters(case[1])
      local verdict, size = policy.failed(before, case[2], case[3])
      assert.same({ case[4], case[5] }, { verdict, size })
      for name, value in pairs(case[6]) do assert.equal(value, before[name], name) end
    end)
  end

  it("that no other item can escape stops all", function()
    for _, err in ipairs { { about = "credential" }, { about = "zone" }, { about = "plan" }, { about = "rate" },
      { kind = "tls" }, { kind = "closed" }, { kind = "cancelled" }, { kind = "invalid_request" } } do
      local before = counters()
      assert.equal("fail", (policy.failed(before, chunk(9), err)))
      assert.is_true(before.is_stopped, err.about or err.kind)
    end
  end)

  it("may be mended by smaller ones where it is about its items or its size", function()
    for _, case in ipairs { { { about = "request" }, true, true }, { { about = "request" }, false, false },
      { { about = "item" }, true, true }, { { about = "zone" }, true, false }, { { about = "size" }, false, true },
      { { kind = "server" }, true, false }, { { kind = "permission_denied" }, true, false } } do
      assert.equal(case[3], policy.may_mend(case[1], case[2]))
    end
  end)
end)

describe("the size of requests", function()
  local refused = { kind = "bad_request", about = "request" }

  it("is learned of a refusal that nobody knows where both halves are accepted", function()
    local before = counters()
    local _, size, whole = policy.failed(before, chunk(81), refused)
    assert.equal(40, size)
    policy.accepted(before, { count = 40, whole = whole })
    assert.equal(100, before.size)
    policy.accepted(before, { count = 41, whole = whole })
    assert.equal(41, before.size)
  end)

  it("is not learned where one half is refused, where it is about an item, or where larger ones were accepted", function()
    local before = counters()
    local _, _, whole = policy.failed(before, chunk(80), refused)
    policy.accepted(before, { count = 40, whole = whole })
    policy.failed(before, chunk(40), refused)
    policy.accepted(before, { count = 20 })
    assert.equal(100, before.size)
    assert.is_nil((select(3, policy.failed(counters(), chunk(80), { kind = "bad_request", about = "item" }))))
    before = counters()
    _, _, whole = policy.failed(before, chunk(80), refused)
    for _, count in ipairs { 90, 40, 40 } do policy.accepted(before, { count = count, whole = count == 40 and whole or nil }) end
    assert.equal(100, before.size)
  end)

  it("is forgotten again, by a larger one that is accepted and by many in a row", function()
    local before = counters { size = 25 }
    policy.accepted(before, { count = 60 })
    assert.equal(60, before.size)
    for _ = 1, 498 do policy.accepted(before, { count = 25 }) end
    assert.equal(60, before.size)
    policy.accepted(before, { count = 25 })
    assert.equal(100, before.size)
  end)
end)

describe("while all is refused", function()
  it("few are in flight, and small, old and new ones go in turn", function()
    assert.same({ 8, 2, 1 }, { policy.most_in_flight(counters(), 8), policy.most_in_flight(counters { refused = 1 }, 8),
      policy.most_in_flight(counters { refused = 1 }, 1) })
    local chosen = {}
    for refused = 0, 4 do chosen[#chosen + 1] = policy.choose(counters { refused = refused }) end
    assert.same({ "newest", "smallest", "oldest", "untried", "smallest" }, chosen)
    assert.equal("smallest", policy.choose(counters { refused = 14 }))
    assert.equal("untried", policy.choose(counters { alone = 12 }))
    assert.equal("newest", policy.choose(counters { alone = 12, untried = 12 }))
  end)
end)

describe("an accepted request", function()
  it("ends what counts failures in a row, and takes up what was given up", function()
    local before = counters { refused = 5, unanswered = 2, smallest = 3 }
    assert.equal("accept", policy.accepted(before, chunk(9)))
    assert.same({ 0, 0, math.huge }, { before.refused, before.unanswered, before.smallest })
    assert.equal("resume", policy.accepted(counters { is_blamed = true }, chunk(9)))
  end)
end)

describe("a request that cannot begin", function()
  it("waits where the queue is full and one is in flight, and else fails", function()
    local full = { kind = "queue_full" }
    for _, case in ipairs { { full, 1, "wait", false }, { full, 0, "fail", true }, { { kind = "closed" }, 1, "fail", true },
      { { kind = "invalid_request", field = "zone_id" }, 0, "fail", true } } do
      local before = counters()
      assert.same({ case[3], case[4] }, { policy.not_begun(before, case[1], case[2]), before.is_stopped })
    end
  end)
end)

describe("any list", function()
  local state = 20261127
  local function random(most)
    state = (state * 16807) % 2147483647
    return state % most + 1
  end

  -- An API that answers anything at all; the job's bookkeeping as simple as can be.
  it("comes to an end, each item accepted or failed once, however it is answered", function()
    local abouts = { "request", "item", "size", "none", "request", "item", "size", "rate", "plan" }
    for _ = 1, 3000 do
      local total = random(300)
      local now, queue, accepted, failed, rounds = counters { isolate = random(2) == 1 }, {}, 0, 0, 0
      local most_abouts, often = random(#abouts), random(10)
      for at = 1, total, 100 do queue[#queue + 1] = chunk(math.min(100, total - at + 1)) end
      while #queue > 0 and not now.is_stopped do
        rounds = rounds + 1
        assert.is_true(rounds < 20 * total + 200)
        local one = table.remove(queue)
        if one.count > now.size then
          one.whole = nil
          queue[#queue + 1], one.count, one.is_fresh = chunk(one.count - now.size, { is_fresh = false }), now.size, false
        end
        if random(10) > often then
          policy.accepted(now, one)
          assert.equal(0, now.refused)
          accepted, now.accepted = accepted + one.count, now.accepted + one.count
        else
          local about = abouts[random(most_abouts)]
          local verdict, size, whole = policy.failed(now, one, { kind = "server", about = about ~= "none" and about or nil })
          -- What no item can escape stops at once, and what may be about an item does so only after many.
          assert.is_true(now.is_stopped or not (about == "rate" or about == "plan"))
          assert.is_true(verdict ~= "split" or about == "size" or now.isolate)
          if verdict == "split" then
            assert.is_true(size >= 1 and size < one.count and size <= now.size)
            assert.equal(about == "request", whole ~= nil)
            queue[#queue + 1] = chunk(one.count - size, { is_fresh = false, whole = whole })
            queue[#queue + 1] = chunk(size, { is_fresh = false, whole = whole })
          elseif verdict == "put_back" then
            queue[#queue + 1] = one
          else
            failed = failed + one.count
          end
        end
      end
      local left = 0
      for _, one in ipairs(queue) do left = left + one.count end
      assert.equal(total, accepted + failed + left)
      assert.is_true(left == 0 or now.is_stopped)
    end
  end)
end)
