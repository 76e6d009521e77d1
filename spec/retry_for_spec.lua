-- What does not count as a retry, and what stands in place of max_retries: refusals about the rate, retry_for.
local edge = require "spec.support.edge"
local client = require "spec.support.client"
local host = require "spec.support.host"
local socket = require "socket"

local system = host.system()
local tags = { tags = { "a" } }
local good = { json = { success = true, result = { id = "good" } } }

local function between(least, most, value)
  assert.is_true(value ~= nil and value >= least and value <= most, tostring(value))
end

-- One purge whose first answers are these: result, err, what arrived, the waits.
local function play(answers, options)
  local result, err, arrived, retries = client.play(answers, options)
  local waits = {}
  for i, event in ipairs(retries) do waits[i] = event.wait end
  return result, err, arrived, waits
end

describe("a server that says to slow down", function()
  local slow = { status = 429, headers = { ["Retry-After"] = "0" } }

  it("uses up no retries, whatever the status, and each sending is an attempt", function()
    for _, answer in ipairs { slow, { status = 200, headers = slow.headers, json = { success = false,
      errors = { { code = 971 } } } }, { status = 400, headers = slow.headers, json = { success = false,
      errors = { { code = 1134 } } } } } do
      local many = {}
      for i = 1, 6 do many[i] = answer end
      many[7], many[8] = { status = 503, headers = slow.headers }, good
      local result = assert(play(many, { max_retries = 1 }))
      assert.equal(8, result.attempts)
    end
  end)

  it("for ever is given up after twenty times in a row", function()
    local answer = { status = 429, times = 0, headers = slow.headers }
    local _, err, seen = play({ answer }, { max_retries = 0 })
    assert.same({ "rate_limited", "rate", 21, 21 }, { err.kind, err.about, err.attempts, #seen })
  end)

  it("is waited for no longer than max_retry_wait and the deadline allow", function()
    local _, err, seen = play({ { status = 429, headers = { ["Retry-After"] = "9" } } }, { max_retry_wait = 8 })
    assert.same({ "rate_limited", 9, 1 }, { err.kind, err.retry_after, #seen })
    _, err, seen = play({ { status = 429, times = 0 } }, { max_retry_wait = 0 })
    assert.same({ "rate_limited", 1 }, { err.kind, #seen })
    local started = socket.gettime()
    _, err = play({ { status = 429, times = 0 } }, { deadline = 1 })
    assert.equal("rate_limited", err.kind)
    assert.is_true(socket.gettime() - started < 5)
  end)

  it("backs off from half a second, however often others were tried before", function()
    local _, _, _, waits = play({ { status = 503, headers = slow.headers }, { status = 503, headers = slow.headers },
      { status = 429 }, good })
    between(0.375, 0.5, waits[3])
  end)

  it("is measured by its own clock", function()
    local function at(offset) return os.date("!%a, %d %b %Y %H:%M:%S GMT", os.time() + offset) end
    for _, off in ipairs { -600, 0, 600 } do
      local _, err = play({ { status = 429, wire = true, body = "{}",
        headers = { { "Date", at(off) }, { "Retry-After", at(off + 70) } } } })
      between(70, 70, err.retry_after)
    end
    -- A Date that is none: the clock here.
    local _, err = play({ { status = 429, wire = true, body = "{}",
      headers = { { "Date", "today" }, { "Retry-After", at(70) } } } })
    between(67, 70, err.retry_after)
    local noon = "Sun, 06 Nov 1994 12:00:00 GMT"
    assert.equal(60, system.retry_after("Sun, 06 Nov 1994 12:01:00 GMT", 0, noon))
    assert.equal(7, system.retry_after("7", 0, noon))
    assert.equal(60, system.retry_after("Sun, 06 Nov 1994 12:01:00 GMT", 784123200, "Sun, 31 Feb 1994 12:00:00 GMT"))
    assert.equal(0, system.retry_after("Sun, 06 Nov 1994 11:59:00 GMT", 0, noon))
  end)
end)

describe("retry_for", function()
  it("tries again for so long, with the same back-off", function()
    for attempts, expected in ipairs { 0.5, 1, 2, 4, 8, 8, 8 } do
      for _, failure in ipairs { "ok", "connection" } do
        assert.equal(expected, (system.retry_decide(0, 60, attempts, failure, 503, -1, -1, 0, 600, 100)))
        assert.is_false((system.retry_decide(99, 60, attempts, failure, 503, -1, -1, 0, 600, 600 - expected)))
      end
    end
    -- An order that would end too late, and one in time.
    assert.is_false((system.retry_decide(0, 60, 1, "ok", 503, -1, 30, 0, 600, 580)))
    assert.equal(10, (system.retry_decide(0, 60, 1, "ok", 503, -1, 10, 0, 600, 580)))
    -- What says to slow down is waited for as long, too.
    assert.equal(8, (system.retry_decide(0, 60, 30, "ok", 429, -1, -1, 0, 600, 300)))
    assert.is_false((system.retry_decide(0, 60, 30, "ok", 429, -1, -1, 0, 600, 599)))
    assert.is_false((system.retry_decide(0, 60, 1, "ok", 400, -1, -1, 0, 600, 0)))
  end)

  it("rides out an outage, and ends when its time is over", function()
    local answers = {}
    for i = 1, 9 do answers[i] = { status = 503, headers = { ["Retry-After"] = "0" } } end
    answers[10] = good
    assert.equal(10, assert(play(answers, { retry_for = 60 })).attempts)
    local started = socket.gettime()
    local _, err = play({ { status = 503, times = 0 } }, { retry_for = 1.5 })
    assert.equal("server", err.kind)
    between(0.3, 5, socket.gettime() - started)
    _, err = play({ { status = 503 } }, { retry_for = 0 })
    assert.equal(1, err.attempts)
    assert.equal(4, assert(play({ answers[1], answers[1], answers[1], good }, { retry_for = math.huge })).attempts)
  end)

  it("stands in place of max_retries: the last word counts, and both together are refused", function()
    local both = select(2, client.new():purge(tags, { retry_for = 5, max_retries = 1 }))
    assert.same({ "invalid_request", "retry_for" }, { both.kind, both.field })
    local zone = edge.zone()
    local c = client.new { zone_id = zone, retry_for = 60 }
    local down = { status = 503, headers = { ["Retry-After"] = "0" } }
    edge.script(zone, { down, down, down, good })
    assert.equal(2, select(2, c:purge(tags, { max_retries = 1 })).attempts)
    edge.script(zone, { down, down, down, good })
    assert.equal(4, c:purge(tags).attempts)
    c = client.new { zone_id = zone, max_retries = 0 }
    edge.script(zone, { down, down, down, good })
    assert.equal(4, assert(c:purge(tags, { retry_for = 60 })).attempts)
    client.close()
  end)
end)
