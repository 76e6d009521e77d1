-- What comes back from the wire, however hostile: csrc/base/response, and what csrc/engine/attempt makes of it.
local elsewhere = require "spec.support.where"
if elsewhere "engine" then return end

local edge = require "spec.support.edge"
local clients = require "spec.support.client"

local TAGS = { tags = { "a" } }
local MIB = 1024 * 1024
local OK = clients.OK

local function padded(size)
  local body = OK:sub(1, -2) .. ',"padding":"'
  return body .. ("x"):rep(size - #body - 2) .. '"}'
end

describe("an answer", function()
  teardown(clients.close)

  local client, zone, tls, sent, done

  local function note(event)
    if event.name == "done" then done = event end
  end

  setup(function()
    client, zone = clients.new { max_retries = 0, timeout = 20, on_event = note }
    tls = clients.new { max_retries = 0, timeout = 20, zone_id = zone, base_url = edge.env.API_TLS,
      ca_file = edge.env.CA_FILE, on_event = note }
  end)
  before_each(function()
    edge.reset(zone)
    sent = 0
  end)

  local function answered(answer, by)
    edge.script(zone, { answer })
    sent = sent + 1
    local result, err = (by or client):purge(TAGS)
    assert.equal(sent, edge.counts(zone).requests)
    return result, err
  end

  local function failed(answer, kind, retryable, message, by)
    local result, err = answered(answer, by)
    assert.is_nil(result, "accepted: " .. kind)
    assert.equal(kind, err.kind, tostring(err))
    assert.equal(retryable, err.retryable)
    assert.same({ 1, 0, TAGS, {}, {} }, { err.attempts, err.accepted, err.remaining, err.errors, err.messages })
    if message then assert.truthy(err.message:find(message, 1, true), err.message) end
    assert.equal(kind, done.kind)
    return err
  end

  it("that is cut short is a bad_response and may be asked for again", function()
    for _, answer in ipairs {
      { body = OK, length = #OK + 1 },
      { body = OK, length = 100000 },
      { body = OK, cut = 10 },
      { body = OK, cut = 0 },
      { body = OK, length = #OK + 1, status = 403 },
      { body = OK, cut = 10, status = 502 },
      { raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"suc" },
      { raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" .. ("%x\r\n%s\r\n"):format(#OK, OK) },
      { raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx" },
      { raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx" },
    } do
      local err = failed(answer, "bad_response", true, "the answer was cut short: ")
      assert.equal(answer.status or 200, err.status)
    end
    failed({ body = OK, cut = 10 }, "bad_response", true, "cut short", tls)
    -- Without a length and without chunks the end of the connection is the end of the body.
    assert(answered { body = OK, length = false, wire = true })
    local _, err = answered { body = OK:sub(1, 20), length = false, wire = true }
    assert.same({ "bad_response", false }, { err.kind, err.retryable })
    assert(answered { raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
      .. ("1\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n"):format(OK:sub(1, 1), #OK - 1, OK:sub(2)) })
    assert(answered { body = OK, drip = 0.0005 })
  end)

  it("that never begins is a failed connection", function()
    for _, answer in ipairs { { close = true }, { raw = "" }, { raw = "HT" }, { raw = "garbage\r\n\r\n" },
      { raw = "HTTP/9.9 200 OK\r\n\r\n" }, { raw = "SSH-2.0-OpenSSH_9.2\r\n" }, { raw = "\0\1\2" },
      { raw = "HTTP/1.1 100 Continue\r\n\r\n" } } do
      local err = failed(answer, "connection", true)
      assert.is_nil(err.ray_id)
    end
    failed({ close = true }, "connection", true, nil, tls)
  end)

  it("whose headers end early is cut short or none", function()
    for size = 1, 60, 7 do
      local _, err = answered { body = OK, cut_head = size }
      assert.truthy(err.kind == "connection" or err.kind == "bad_response", tostring(err))
      assert.is_true(err.retryable)
    end
  end)

  it("has a body of 1 MiB at most, whoever says how long it is", function()
    assert(answered { body = padded(MIB) })
    assert(answered { body = padded(MIB), length = false, wire = true })
    assert(answered({ body = padded(MIB) }, tls))
    failed({ body = padded(MIB + 1) }, "bad_response", false, "larger than 1 MiB")
    failed({ body = padded(MIB + 1), length = false, wire = true }, "bad_response", false, "larger than 1 MiB")
    failed({ body = padded(MIB + 1) }, "bad_response", false, "larger than 1 MiB", tls)
    -- What a header promises is not waited for.
    local err = failed({ body = OK, length = MIB + 1, hang = 10 }, "bad_response", false, "larger than 1 MiB")
    assert.truthy(err.elapsed < 5)
    failed({ body = "{", length = "99999999999999999999", hang = 10 }, "bad_response", false, "larger than 1 MiB")
    failed({ body = padded(MIB + 1), status = 503 }, "bad_response", false, "larger than 1 MiB")
  end)

  it("that never ends is ended, at once and with little read", function()
    for _, by in ipairs { client, tls } do
      local before = by:stats().bytes_received
      local err = failed({ endless = "body" }, "bad_response", false, "larger than 1 MiB", by)
      assert.equal(200, err.status)
      assert.truthy(err.elapsed < 5)
      local read = by:stats().bytes_received - before
      assert.truthy(read >= MIB / 2 and read <= 2 * MIB, read)
    end
    local err = failed({ endless = "headers" }, "bad_response", false, "its headers than 256 KiB")
    assert.truthy(err.elapsed < 5)
    local _
    _, err = answered { raw = "HTTP/1.1 200 OK\r\nX: " .. ("x"):rep(200000) .. "\r\n\r\n" .. OK }
    assert.same({ "bad_response", false }, { err.kind, err.retryable })
    assert(answered { body = OK, headers = { X = ("x"):rep(60000) }, wire = true })
    -- The client is none the worse for it.
    assert(answered { body = OK })
    assert(answered({ body = OK }, tls))
  end)

  it("comes after any number of informational ones, which leave nothing behind", function()
    local hints = "HTTP/1.1 103 Early Hints\r\nCF-Ray: early\r\nRetry-After: 5\r\nX-Should-Retry: true\r\n\r\n"
    local result = assert(answered { before = hints:rep(3), body = OK, wire = true })
    assert.is_nil(result.ray_id)
    local _, err = answered { before = hints, status = 400, body = "{}", wire = true }
    assert.same({ "bad_request", false }, { err.kind, err.retryable })
    assert.same({}, { err.ray_id, err.retry_after })
  end)

  it("may be HTTP/1.0, have no reason and end its lines as it likes", function()
    assert(answered { version = "1.0", body = OK })
    assert(answered { raw = "HTTP/1.1 200\r\nContent-Length: " .. #OK .. "\r\n\r\n" .. OK })
    assert(answered { raw = "HTTP/1.1 200 OK\nContent-Length: " .. #OK .. "\n\n" .. OK })
    local _, err = answered { raw = "HTTP/1.1 403 \r\nContent-Length: 0\r\n\r\n" }
    assert.same({ "permission_denied", 403 }, { err.kind, err.status })
  end)

  it("names its ray where it is one", function()
    for ray, expected in pairs { ["8f3a2b-FRA"] = "8f3a2b-FRA", [("r"):rep(63)] = ("r"):rep(63), [""] = false,
      [("r"):rep(64)] = false, ["é"] = false, ["a\tb"] = false, ["\27[31m"] = false, ["a b"] = "a b" } do
      for _, name in ipairs { "CF-Ray", "cf-RAY" } do
        local headers = { { name, ray } }
        local result = assert(answered { body = OK, headers = headers, wire = true })
        assert.equal(expected or nil, result.ray_id)
        local _, err = answered { status = 403, body = "{}", headers = headers, wire = true }
        assert.equal(expected or nil, err.ray_id)
        assert.equal(expected or nil, done.ray_id)
      end
    end
    -- The last one counts; what only looks like the header does not.
    local result = assert(answered { body = OK, wire = true, headers = { { "CF-Ray", "one" }, { "CF-Ray", "two" },
      { "X-CF-Ray", "three" }, { "CF-Ray-Id", "four" } } })
    assert.equal("two", result.ray_id)
  end)

  it("orders a wait in seconds or by a date, or in no sense at all", function()
    local soon = os.date("!%a, %d %b %Y %H:%M:%S GMT", os.time() + 100)
    for value, seconds in pairs { ["0"] = 0, ["7"] = 7, ["120"] = 120, ["99999999999999999999"] = 1e9,
      ["Wed, 21 Oct 2015 07:28:00 GMT"] = 0, [soon] = 100, ["-5"] = false, ["soon"] = false, [""] = false,
      ["5 apples"] = false, ["0x10"] = false, [("9"):rep(64)] = false } do
      -- A client of its own: the next one's purge would wait as the answer orders.
      local _, err = answered({ status = 503, body = "{}", headers = { { "Retry-After", value } }, wire = true },
        clients.new { max_retries = 0, zone_id = zone })
      assert.same({ "server", true }, { err.kind, err.retryable })
      if seconds == 100 then
        assert.truthy(err.retry_after >= 95 and err.retry_after <= 100, err.retry_after)
      else
        assert.equal(seconds or nil, err.retry_after, value)
      end
    end
    local _, err = answered { status = 403, body = "{}", headers = { ["Retry-After"] = "3" } }
    assert.same({ "permission_denied", 3 }, { err.kind, err.retry_after })
  end)

  it("says by x-should-retry whether to ask again", function()
    for _, case in ipairs { { 403, "true", true }, { 503, "false", false }, { 429, "false", false }, { 403, "TRUE",
      true },
      { 503, "maybe", true }, { 403, "1", false }, { 403, "trueish", false }, { 302, "true", true } } do
      local _, err = answered({ status = case[1], body = "{}", headers = { ["X-Should-Retry"] = case[2] } },
        clients.new { max_retries = 0, zone_id = zone })
      assert.equal(case[3], err.retryable, case[1] .. case[2])
    end
    local _, err = answered { status = 200, body = "[]", headers = { ["X-Should-Retry"] = "true" } }
    assert.is_false(err.retryable)
  end)
end)
