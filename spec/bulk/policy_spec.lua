-- What becomes of a chunk by how its request ended: lua/cfpurge/bulk/policy, without an edge.
local policy = require "cfpurge.bulk.policy"

local LIMITS = { max_retry_wait = 60, isolate = true }

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
  local refused, server = { kind = "bad_request", status = 400, code = 1 }, { kind = "server", status = 500 }
  local of_item = { kind = "bad_request", status = 400, code = 1016 }
  -- counters before, chunk, error -> verdict, size, counters after
  for title, case in pairs {
    ["over the limit is split, and the size learned"] =
      { {}, chunk(80), { kind = "bad_request", code = 1094 }, "split", 40, { size = 40 } },
    ["over the limit by its status"] = { {}, chunk(81), { kind = "api", status = 413 }, "split", 41, { size = 41 } },
    ["over the limit of a size known already"] =
      { { size = 10 }, chunk(80), { kind = "api", status = 413 }, "split", 10, { size = 10 } },
    ["over the limit with one item fails"] =
      { {}, chunk(1), { kind = "api", status = 413 }, "fail", nil, { unanswered = 1, is_stopped = false } },
    ["that was cut goes back"] = { {}, chunk(9, { is_cut = true }), refused, "put_back", nil, { refused = 0 } },
    ["that is rate limited goes back"] = { {}, chunk(9), { kind = "rate_limited", retry_after = 5 }, "put_back", nil,
      { limited = 1, is_stopped = false } },
    ["that is rate limited for too long stops all"] = { {}, chunk(9), { kind = "rate_limited", retry_after = 61 }, "fail",
      nil, { limited = 0, is_stopped = true } },
    ["that is rate limited for ever stops all"] = { { limited = 20 }, chunk(9), { kind = "rate_limited" }, "fail", nil,
      { is_stopped = true } },
    ["that is refused is halved"] = { {}, chunk(9), refused, "split", 4, { refused = 1 } },
    ["that is refused for an item, fresh, is halved"] = { {}, chunk(9), of_item, "split", 4, { untried = 1, refused = 0 } },
    ["of one item that is refused fails alone"] = { {}, chunk(1), of_item, "fail", nil, { alone = 1, is_stopped = false } },
    ["of a piece, after the evidence that all are at fault"] = { { alone = 12, untried = 12 }, chunk(3), of_item, "split", 1,
      { pieces = 1 } },
    ["that is refused once too often is the request's fault"] = { { refused = 12 }, chunk(9), refused, "fail", nil,
      { refused = 13, is_blamed = true, is_stopped = true } },
    ["that is refused after all was stopped is not blamed"] = { { refused = 12, is_stopped = true }, chunk(9), refused,
      "fail", nil, { is_blamed = false } },
    ["that is refused after some were accepted is no evidence"] = { { accepted = 5, refused = 0 }, chunk(9), refused,
      "split", 4, { refused = 0 } },
    ["that is refused without isolate fails whole"] = { { isolate = false }, chunk(9), refused, "fail", nil,
      { is_stopped = false } },
    ["that is refused for its path stops all"] = { {}, chunk(9), { kind = "bad_request", code = 7003 }, "fail", nil,
      { is_stopped = true, refused = 0 } },
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
    for _, kind in ipairs { "authentication", "permission_denied", "not_found", "tls", "closed", "cancelled",
      "invalid_request" } do
      local before = counters()
      assert.equal("fail", (policy.failed(before, chunk(9), { kind = kind })))
      assert.is_true(before.is_stopped, kind)
    end
  end)

  it("may be mended by smaller ones where it is about its items or its size", function()
    for _, case in ipairs { { { kind = "bad_request", code = 1 }, true, true }, { { kind = "bad_request", code = 1 }, false,
      false }, { { kind = "bad_request", code = 7003 }, true, false }, { { kind = "api", status = 413 }, false, true },
      { { kind = "server" }, true, false }, { { kind = "unprocessable" }, true, true } } do
      assert.equal(case[3], policy.may_mend(case[1], case[2]))
    end
  end)
end)

describe("an accepted request", function()
  it("ends what counts failures in a row, and takes up what was given up", function()
    local before = counters { refused = 5, unanswered = 2, limited = 3 }
    assert.equal("accept", policy.accepted(before))
    assert.same({ 0, 0, 0 }, { before.refused, before.unanswered, before.limited })
    assert.equal("resume", policy.accepted(counters { is_blamed = true }))
  end)
end)

describe("a request that cannot begin", function()
  it("waits where the queue is full and one is in flight, and else fails", function()
    local full, wrong = { kind = "queue_full" }, { kind = "invalid_request", field = "tags[3]" }
    for _, case in ipairs { { full, 1, "wait", false }, { full, 0, "fail", true }, { wrong, 1, "refused", false },
      { { kind = "closed" }, 1, "fail", true }, { { kind = "invalid_request", field = "zone_id" }, 0, "fail", true } } do
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
    local kinds = { "bad_request", "rate_limited", "server", "unprocessable", "timeout", "conflict", "api", "connection" }
    local codes = { 1016, 1094, 1100, 1, 4242, 10100 }
    for _ = 1, 3000 do
      local total = random(300)
      local now, queue, accepted, failed, rounds = counters { isolate = random(2) == 1 }, {}, 0, 0, 0
      local most_kinds, often = random(#kinds), random(10)
      for at = 1, total, 100 do queue[#queue + 1] = chunk(math.min(100, total - at + 1)) end
      while #queue > 0 and not now.is_stopped do
        rounds = rounds + 1
        assert.is_true(rounds < 20 * total + 200)
        local one = table.remove(queue)
        if one.count > now.size then
          queue[#queue + 1], one.count, one.is_fresh = chunk(one.count - now.size, { is_fresh = false }), now.size, false
        end
        if random(10) > often then
          policy.accepted(now)
          accepted, now.accepted = accepted + one.count, now.accepted + one.count
        else
          local verdict, size = policy.failed(now, one, { kind = kinds[random(most_kinds)], code = codes[random(#codes)] })
          if verdict == "split" then
            assert.is_true(size >= 1 and size < one.count and size <= now.size)
            queue[#queue + 1] = chunk(one.count - size, { is_fresh = false })
            queue[#queue + 1] = chunk(size, { is_fresh = false })
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
