-- Which outcomes are tried again, when, and for how long: the policy by itself, and as a client carries it out.
local elsewhere = require "spec.support.where"
if elsewhere "engine" then return end

local edge = require "spec.support.edge"
local client = require "spec.support.client"
local host = require "spec.support.host"
local peer = require "spec.support.peer"
local socket = require "socket"

local env = edge.up()
local system = host.system()
local tags = { tags = { "a" } }
local good = { json = { success = true, result = { id = "good" } } }

local function between(least, most, value, what)
  assert.is_true(value ~= nil and value >= least and value <= most,
    ("%s: %s is not in [%g, %g]"):format(tostring(what or "value"), tostring(value), least, most))
end

local play = client.play

-- What wait the first answer leads to, without waiting for it; false where there is no retry.
local function wait_after(answer, options)
  local wait, zone, ending = false, edge.zone(), nil
  local filled = { zone_id = zone, on_event = function(event)
    if event.name == "retry" then wait = event.wait end
  end }
  for name, value in pairs(options or {}) do filled[name] = value end
  edge.script(zone, { answer })
  local c = client.new(filled)
  local request = assert(c:start(tags, nil, function(_, err) ending = err end))
  while not wait and c:step() > 0 do end
  if wait and wait > 0 then between(0, wait, c:timeout(), "timeout()") end
  request:cancel()
  c:close()
  return wait, ending
end

describe("the policy", function()
  local function decide(with)
    return system.retry_decide(with.max_retries or 2, with.max_wait or 60, with.attempts or 1, with.failure or "ok",
      with.status or 0, with.should_retry or -1, with.retry_after or -1, with.chance or 0)
  end

  it("tries again what the official SDKs do", function()
    local retried = { [408] = true, [409] = true, [429] = true }
    for status = 200, 999 do
      local expected = retried[status] or (status >= 500 and status <= 599)
      local wait, may_help = decide { status = status }
      assert.equal(expected and 0.5 or false, wait, status)
      assert.equal(expected or false, may_help, status)
      assert.equal(status >= 300 and 0.5 or false, decide { status = status, should_retry = 1 }, status)
      assert.is_false(decide { status = status, should_retry = 0 }, status)
    end
    for failure, expected in pairs { connection = 0.5, timeout = 0.5, cut_short = 0.5, tls = false, too_big = false,
      refused = false, exhausted = 0.5, proxy = false, queue_full = 0.5, cancelled = false, closed = false, held_back = 0.5 } do
      for _, should_retry in ipairs { -1, 0, 1 } do
        -- Of the failures that may pass, those within an answer whose headers came have one.
        local word = should_retry ~= 0 and expected
        assert.equal(word, decide { failure = failure, status = 503, should_retry = should_retry }, failure)
        assert.equal(expected, decide { failure = failure, status = 200, should_retry = should_retry }, failure)
      end
    end
  end)

  it("backs off from half a second, doubling to eight, up to a quarter less", function()
    for attempts, longest in ipairs { 0.5, 1, 2, 4, 8, 8, 8 } do
      local function wait(chance)
        return decide { attempts = attempts, max_retries = 9, status = 500, chance = chance }
      end
      assert.equal(longest, wait(0))
      between(longest * 0.75, longest * 0.76, wait(0.999))
      between(longest * 0.874, longest * 0.876, wait(0.5))
    end
    assert.equal(0.2, decide { status = 500, max_wait = 0.2 })
    assert.equal(8, decide { status = 500, attempts = 1000000, max_retries = 1000000 })
  end)

  it("stops after max_retries", function()
    for max_retries = 0, 3 do
      for attempts = 1, 5 do
        assert.equal(attempts <= max_retries, decide { max_retries = max_retries, attempts = attempts, status = 503,
          retry_after = 0 } == 0)
      end
    end
  end)

  it("waits as ordered, or gives up where that is longer than max_retry_wait", function()
    for _, case in ipairs { { 0, 0 }, { 7, 7 }, { 60, 60 }, { 60.1, false }, { 1e9, false } } do
      local wait, may_help = decide { status = 429, retry_after = case[1] }
      assert.equal(case[2], wait)
      assert.is_true(may_help)
    end
    assert.equal(0, decide { status = 429, retry_after = 0, max_wait = 0 })
  end)

  it("reads both forms of Retry-After and nothing else", function()
    local now = 784111777 -- Sun, 06 Nov 1994 08:49:37 GMT
    for _, case in ipairs {
      { "0", 0 }, { "1", 1 }, { "120", 120 }, { "007", 7 }, { "1.5", 2 }, { "0.2", 1 }, { "3.", 4 },
      { "Sun, 06 Nov 1994 08:49:37 GMT", 0 }, { "Sun, 06 Nov 1994 08:50:37 GMT", 60 },
      { "Sunday, 06-Nov-94 08:50:37 GMT", 60 }, { "Sun Nov  6 08:50:37 1994", 60 },
      { "Sun, 06 Nov 1994 08:49:36 GMT", 0 }, { "Thu, 01 Jan 1970 00:00:00 GMT", 0 },
      { "Fri, 31 Dec 2199 23:59:59 GMT", 1e9 }, { "99999999999999999999999999", 1e9 }, { "9223372036854775807", 1e9 },
      { "", -1 }, { "-5", -1 }, { "+5", -1 }, { "soon", -1 }, { "1x", -1 }, { "1 2", -1 }, { "1, 2", -1 },
      { "1.2.3", -1 }, { "0x10", -1 },
      { "1.:", -1 }, { "[x]", -1 }, { "Mo", -1 },
      { "1e3", -1 }, { ".5", -1 }, { "nan", -1 }, { "inf", -1 }, { "Sun, 99 Foo 1994", -1 },
      { "Not a date", -1 }, { "A", -1 }, { "GMT", -1 },
    } do
      assert.equal(case[2], system.retry_after(case[1], now), case[1])
    end
  end)
end)

describe("a client", function()
  for _, status in ipairs { 408, 409, 429, 500, 502, 503, 504, 520, 530 } do
    it("tries again after a " .. status, function()
      local result, err, seen, retries = play { { status = status, headers = { ["Retry-After"] = "0" } }, good }
      assert.is_nil(err)
      assert.equal(2, result.attempts)
      assert.equal(1, result.requests)
      assert.equal(2, #seen)
      assert.equal(seen[1].body, seen[2].body)
      assert.equal(seen[1].headers.authorization, seen[2].headers.authorization)
      assert.equal(1, #retries)
      assert.equal(status, retries[1].status)
      assert.equal(1, retries[1].attempt)
    end)
  end

  for _, status in ipairs { 301, 400, 401, 403, 404, 405, 410, 413, 418, 422 } do
    it("does not after a " .. status .. ", unless x-should-retry says so", function()
      local zero = { ["Retry-After"] = "0" }
      local yes = { ["Retry-After"] = "0", ["X-Should-Retry"] = "true" }
      local _, err, seen = play { { status = status, headers = zero }, good }
      assert.equal(status, err.status)
      assert.equal(1, err.attempts)
      assert.is_false(err.retryable)
      assert.equal(1, #seen)
      local result = assert(play { { status = status, headers = yes }, good })
      assert.equal(2, result.attempts)
    end)
  end

  it("obeys x-should-retry: false", function()
    for _, status in ipairs { 408, 409, 429, 500, 503 } do
      local no = { ["Retry-After"] = "0", ["x-should-retry"] = "False" }
      local _, err, seen = play { { status = status, headers = no } }
      assert.equal(status, err.status)
      assert.is_false(err.retryable)
      assert.equal(1, #seen)
    end
    -- Anything else says nothing.
    for _, word in ipairs { "", "maybe", "1", "0", "truely" } do
      local result = play { { status = 503, headers = { ["Retry-After"] = "0", ["x-should-retry"] = word } }, good }
      assert.equal(2, result and result.attempts, word)
    end
  end)

  it("does not try again what was answered, whatever the answer is worth", function()
    for kind, answer in pairs {
      bad_response = { body = "<html>hello</html>", headers = { ["X-Should-Retry"] = "true", ["Retry-After"] = "0" } },
    } do
      local _, err, seen = play { answer, good }
      assert.equal(kind, err.kind)
      assert.equal(1, err.attempts)
      assert.equal(1, #seen)
    end
  end)

  it("tries again where no whole answer came", function()
    local whole = '{"success":true,"errors":[],"messages":[],"result":{"id":"cut"}}'
    for name, answer in pairs {
      ["nothing at all"] = { close = true },
      ["half a head"] = { cut_head = 20 },
      ["half a body"] = { cut = 30, body = whole },
      ["a chunked body without its end"] = { raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"suc" },
    } do
      local result, err, seen, retries = play({ answer, good }, { max_retry_wait = 0.01 })
      assert.is_nil(err and tostring(err), name)
      assert.equal(2, result.attempts, name)
      assert.equal("good", result.id)
      assert.equal(2, #seen)
      between(0, 0.01, retries[1].wait, name)
    end
    local result = assert(play({ { status = 200, cut = 30, body = whole }, good },
      { base_url = env.API_TLS, ca_file = env.CA_FILE, max_retry_wait = 0.01 }))
    assert.equal(2, result.attempts)
  end)

  it("obeys the headers of an answer that breaks off", function()
    local no = { ["X-Should-Retry"] = "false", ["Retry-After"] = "0" }
    local _, err, seen = play { { status = 503, cut = 5, body = ("x"):rep(40), headers = no }, good }
    assert.same({ "bad_response", false, 1 }, { err.kind, err.retryable, #seen })
    _, err, seen = play { { status = 429, cut = 5, body = ("x"):rep(40), headers = { ["Retry-After"] = "300" } }, good }
    assert.same({ "bad_response", 429, 300, 1 }, { err.kind, err.status, err.retry_after, #seen })
    -- Until its time is over, too; and all that draw from the bucket wait.
    local server = peer.start { { read = "\r\n\r\n" },
      { send = "HTTP/1.1 429 x\r\nContent-Length: 9\r\nRetry-After: 300\r\n\r\nx" }, { hang = 9 } }
    local c = client.new { base_url = ("http://%s/v4"):format(server.address), timeout = 0.5 }
    _, err = c:purge(tags)
    assert.same({ "timeout", 429, 300, 1 }, { err.kind, err.status, err.retry_after, err.attempts })
    _, err = c:purge(tags)
    assert.same({ "rate_limited", 0 }, { err.kind, err.attempts })
    c:close()
    peer.stop()
  end)

  it("tries again where no connection came about", function()
    local result, err, _, retries = play({}, { base_url = env.API_CLOSED, max_retry_wait = 0.01 })
    assert.is_nil(result)
    assert.equal("connection", err.kind)
    assert.equal(3, err.attempts)
    assert.is_true(err.retryable)
    assert.equal(2, #retries)
    assert.equal("connection", retries[1].kind)
  end)

  it("does not try again where TLS failed", function()
    local _, err, _, retries = play({}, { base_url = env.API_TLS })
    assert.equal("tls", err.kind)
    assert.equal(1, err.attempts)
    assert.same({}, retries)
  end)

  it("makes max_retries retries and no more", function()
    for max_retries, attempts in pairs { [0] = 1, [1] = 2, [2] = 3, [5] = 6, [false] = 3 } do
      local _, err, seen, retries = play({ { times = 0, status = 503, headers = { ["Retry-After"] = "0" } } },
        { max_retries = max_retries or nil })
      assert.equal("server", err.kind)
      assert.equal(attempts, err.attempts)
      assert.equal(attempts, #seen)
      assert.equal(attempts - 1, #retries)
      assert.is_true(err.retryable)
      assert.equal(0, err.retry_after)
    end
  end)

  it("tells of the last attempt", function()
    local _, err = play { { status = 503, headers = { ["Retry-After"] = "0", ["CF-Ray"] = "first" } },
      { status = 422, headers = { ["CF-Ray"] = "second" }, json = { success = false, errors = { { code = 7 } } } } }
    assert.equal("unprocessable", err.kind)
    assert.equal(2, err.attempts)
    assert.equal("second", err.ray_id)
    assert.equal(7, err.code)
    assert.is_nil(err.retry_after)
  end)
end)

describe("the wait", function()
  it("is the back-off where the server orders none it can be held to", function()
    for _, value in ipairs { "soon", "-5", "1x", "" } do
      between(0.375, 0.5, wait_after { status = 429, headers = { ["Retry-After"] = value } }, "'" .. value .. "'")
    end
    between(0.375, 0.5, wait_after { status = 503 })
    between(0.375, 0.5, wait_after { close = true })
    between(0.1, 0.1, wait_after({ status = 503 }, { max_retry_wait = 0.1 }))
  end)

  it("is what the server orders, in seconds or as a date", function()
    local function date(seconds) return os.date("!%a, %d %b %Y %H:%M:%S GMT", os.time() + seconds) end
    assert.equal(0, wait_after { status = 429, headers = { ["Retry-After"] = "0" } })
    assert.equal(7, wait_after { status = 429, headers = { ["Retry-After"] = "7" } })
    assert.equal(60, wait_after { status = 503, headers = { ["Retry-After"] = "60" } })
    between(10, 20, wait_after { status = 429, headers = { ["Retry-After"] = date(20) } })
    assert.equal(0, wait_after { status = 429, headers = { ["Retry-After"] = date(-3600) } })
  end)

  it("that is longer than max_retry_wait comes back as an error that carries it", function()
    for _, case in ipairs { { "61", 61 }, { "3600", 3600 }, { "99999999999999999999", 1e9 }, { "2", 2, 1.5 },
      { "1", 1, 0 } } do
      local wait, err = wait_after({ status = 429, headers = { ["Retry-After"] = case[1] },
        json = { success = false, errors = { { code = 10100 } } } }, { max_retry_wait = case[3] })
      assert.is_false(wait)
      assert.equal("rate_limited", err.kind)
      assert.equal(case[2], err.retry_after)
      assert.is_true(err.retryable)
      assert.equal(1, err.attempts)
      assert.equal(10100, err.code)
    end
  end)

  it("is really waited, and no longer", function()
    local result, err, seen, retries = play {
      { status = 429, headers = { ["Retry-After"] = "1" } }, { status = 503 }, good }
    assert.is_nil(err)
    assert.equal(3, result.attempts)
    assert.equal(1, retries[1].wait)
    between(0.375, 0.5, retries[2].wait)
    between(0.98, 15, seen[2].at - seen[1].at, "the first wait")
    between(0.36, 15, seen[3].at - seen[2].at, "the second wait")
    between(1.35, 30, result.elapsed, "elapsed")
  end)
end)

describe("the time that is allowed", function()
  local slow = { delay = 20, pass = true, times = 0 }

  it("of an attempt is timeout", function()
    local result, err, seen = play({ { delay = 20, pass = true }, good }, { timeout = 1, max_retry_wait = 0.01 })
    assert.is_nil(err)
    assert.equal(2, result.attempts)
    assert.equal(2, #seen)
    between(0.99, 8, result.elapsed)
    local _, failed, _, retries = play({ slow }, { timeout = 0.2, max_retries = 1, max_retry_wait = 0.01 })
    assert.equal("timeout", failed.kind)
    assert.is_true(failed.retryable)
    assert.equal(2, failed.attempts)
    assert.is_nil(failed.status)
    assert.equal("timeout", retries[1].kind)
    for name, answer in pairs {
      ["a part and silence"] = { body = "{}", hang = 20, length = 100 },
      ["a drip"] = { body = ("x"):rep(100), drip = 0.1 },
    } do
      local started = system.now()
      local _, late = play({ answer }, { timeout = 0.3, max_retries = 0 })
      assert.equal("timeout", late.kind, name)
      between(0.28, 8, system.now() - started, name)
    end
  end)

  it("of a connection attempt is connect_timeout", function()
    -- A full backlog: the kernel drops what comes to it.
    local server = assert(socket.bind("127.0.0.1", 0, 0))
    local _, port = server:getsockname()
    local filling = {}
    for i = 1, 4 do
      filling[i] = socket.tcp()
      filling[i]:settimeout(0)
      filling[i]:connect("127.0.0.1", port)
    end
    local started = system.now()
    local _, err = play({}, { base_url = "http://127.0.0.1:" .. port, connect_timeout = 0.3, max_retries = 1,
      max_retry_wait = 0.01 })
    assert.equal("timeout", err.kind)
    assert.equal(2, err.attempts)
    between(0.58, 8, system.now() - started)
    for _, one in ipairs(filling) do one:close() end
    server:close()
    -- Once connected it is over: the answer may take longer.
    assert(play({ { delay = 1.2, pass = true } }, { connect_timeout = 1 }))
    -- Of TLS the handshake is part of it.
    local mute = assert(socket.bind("127.0.0.1", 0, 5))
    _, port = mute:getsockname()
    started = system.now()
    _, err = play({}, { base_url = "https://127.0.0.1:" .. port, connect_timeout = 0.3, max_retries = 0 })
    assert.equal("timeout", err.kind)
    between(0.28, 8, system.now() - started)
    mute:close()
  end)

  it("of all attempts and waits together is deadline", function()
    -- It cuts an attempt,
    local started = system.now()
    local _, err = play({ slow }, { deadline = 0.3 })
    assert.equal("timeout", err.kind)
    assert.equal(1, err.attempts)
    between(0.28, 8, system.now() - started, "one attempt")
    -- the last of several,
    host.tries(function()
      started = system.now()
      _, err = play({ slow }, { deadline = 2, timeout = 0.8, max_retries = 9, max_retry_wait = 0.01 })
      assert.equal("timeout", err.kind)
      assert.is_true(err.attempts <= 3, err.attempts)
      between(1.5, 15, system.now() - started, "several attempts")
      return err.attempts >= 2, err.attempts
    end)
    -- and a wait that would pass it is not begun.
    for _, answer in ipairs { { status = 503 }, { status = 429, headers = { ["Retry-After"] = "5" } } } do
      host.tries(function()
        started = system.now()
        local _, late, seen, retries = play({ answer, good }, { deadline = 0.3 })
        between(0, 4, system.now() - started, "no wait")
        if answer.status ~= late.status then return false, late end
        assert.same({ 1, true, 1, {} }, { late.attempts, late.retryable, #seen, retries })
        return true
      end)
    end
    -- One that it leaves room for is.
    local result = assert(play({ { status = 503 }, good }, { deadline = 30 }))
    assert.equal(2, result.attempts)
  end)
end)
