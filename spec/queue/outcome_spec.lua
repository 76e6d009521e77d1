-- What becomes of a claim, by how its purge ended: lua/cfpurge/queue/outcome alone.
local core = require "cfpurge.core"
local outcomes = require "cfpurge.queue.outcome"

local function claim_of(...)
  local claim = { kind = "tags", items = {} }
  for i, key in ipairs { ... } do claim.items[i] = { key = key, item = '"' .. key .. '"' } end
  return claim
end

local function failed(err, claim)
  local outcome = outcomes.failed(err, claim, function(item) return item end, function(one) return one.message end)
  local keys = {}
  for i, pair in ipairs(outcome.failed) do keys[i] = pair[1] end
  return outcome, table.concat(keys, " "), type(outcome.waiting) == "table" and table.concat(outcome.waiting, " ")
    or outcome.waiting
end

local function of_items(accepted, remaining, causes)
  local failures = {}
  for i, cause in ipairs(causes) do failures[i] = { error = core.error(cause[2], "x", cause[3]), items = { cause[1] } } end
  return core.error("partial", "x", { accepted = accepted, remaining = { tags = remaining }, failures = failures })
end

describe("an outcome", function()
  it("is of each item what the API said of it", function()
    local _, gone, waits = failed(of_items(1, { "b", "c" }, { { "b", "api", { about = "item" } },
      { "c", "server", { status = 503 } } }), claim_of("a", "b", "c"))
    assert.same({ "b", "c" }, { gone, waits })
  end)

  it("lets a zone of which something was accepted rest for a moment only", function()
    local outcome = failed(of_items(1, { "b" }, { { "b", "permission_denied", { about = "credential" } } }), claim_of("a", "b"))
    assert.same({ 0.5, 0.5 }, { outcome.rest.first, outcome.rest.most })
    -- Where nothing was, what was refused counts, whatever else there was.
    outcome = failed(of_items(0, { "a", "b" }, { { "b", "permission_denied", { about = "credential" } },
      { "a", "server", { status = 503 } } }), claim_of("a", "b"))
    assert.equal(outcomes.failed(core.error("authentication", "x"), claim_of("a")).rest.first, outcome.rest.first)
  end)

  it("has no item accepted that nobody called accepted", function()
    for _, err in ipairs {
      of_items(1, { "b" }, { { "b", "api", { about = "item" } } }), -- and c?
      of_items(2, { "B" }, { { "b", "api", { about = "item" } } }), -- by another name
      of_items(0, {}, { { "b", "api", { about = "item" } } }),
    } do
      local _, gone, waits = failed(err, claim_of("a", "b", "c"))
      assert.same({ "b", "a c" }, { gone, waits })
    end
  end)

  it("of an answer that is not the API's is no refusal; of a call that could not begin or that the plan has not it is", function()
    for _, err in ipairs { core.error("bad_response", "x", { status = 200 }), core.error("bad_request", "x", { status = 400 }),
      core.error("api", "x", { status = 302 }) } do
      local outcome, _, waits = failed(err, claim_of("a"))
      assert.same({ "all", 0.5 }, { waits, outcome.rest and outcome.rest.first })
    end
    for _, err in ipairs { core.error("invalid_request", "x"), core.error("permission_denied", "x", { about = "plan" }) } do
      assert.equal("a b", (select(2, failed(err, claim_of("a", "b")))))
    end
  end)

  it("of a limit holds its bucket, an order for all calls everything, and for no longer than a day", function()
    local one = failed(core.error("rate_limited", "x", { about = "rate", status = 429, code = 971, retry_after = 1e9 }),
      claim_of("a"))
    assert.same({ 86400, nil, true }, { one.held, one.held_all, one.is_drained })
    outcomes.hold(one, 2, 4) -- what the client's pacer was told beside it
    assert.same({ 86400, 4 }, { one.held, one.held_all })
    local held_back = failed(core.error("rate_limited", "x", { retry_after = 3 }), claim_of("a"))
    assert.same({ 3, false }, { held_back.held, held_back.is_drained })
  end)
end)
