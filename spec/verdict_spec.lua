-- What an answer says of a request: each row of csrc/base/verdict's table, and how a client carries it out.
local edge = require "spec.support.edge"
local clients = require "spec.support.client"
local host = require "spec.support.host"
local cjson = require("cjson").new()
local lists = require "spec.support.lists"

local system = host.system()

-- An envelope that refuses, with these codes; a table is { code, its chain... }.
local function refusal(...)
  local errors = {}
  for i, code in ipairs { ... } do
    local chain
    if type(code) == "table" then
      chain = {}
      for j = 2, #code do chain[#chain + 1] = { code = code[j], message = "link " .. code[j] } end
      code = code[1]
    end
    errors[i] = { code = code, message = "says " .. code, error_chain = chain }
  end
  return { success = false, errors = errors[1] and errors or cjson.empty_array, messages = {}, result = cjson.null }
end

local function verdict(status, ...) return { system.verdict(status, cjson.encode(refusal(...))) } end

describe("the verdict", function()
  it("follows the codes of an envelope, whatever its status", function()
    -- code -> about, kind
    for code, expected in pairs {
      [971] = { "rate", "rate_limited" }, [1134] = { "rate", "rate_limited" }, [10100] = { "rate", "rate_limited" },
      [6003] = { "credential", "authentication" }, [6103] = { "credential", "authentication" },
      [6111] = { "credential", "authentication" }, [9106] = { "credential", "authentication" },
      [9109] = { "credential", "authentication" }, [10000] = { "credential", "authentication" },
      [10001] = { "credential", "authentication" },
      [7000] = { "zone", "not_found" }, [7003] = { "zone", "not_found" },
      [1107] = { "plan", "permission_denied" },
      [1094] = { "size", "bad_request" }, [1101] = { "size", "bad_request" }, [1111] = { "size", "bad_request" },
      [1016] = { "item", "bad_request" }, [1082] = { "item", "bad_request" }, [1100] = { "item", "bad_request" },
      [1136] = { "item", "bad_request" }, [1315] = { "item", "bad_request" },
      [1012] = { "request", "bad_request" }, [1014] = { "request", "bad_request" }, [1092] = { "request", "bad_request" },
    } do
      local about, kind = expected[1], expected[2]
      for _, status in ipairs { 200, 400 } do
        assert.same({ kind, about, about == "rate", code == 10100 }, verdict(status, code), code .. " under " .. status)
        -- 1016 beside it says nothing of its own, on either side.
        assert.same({ kind, about, about == "rate", code == 10100 }, verdict(status, code, 1016))
        assert.same({ kind, about, about == "rate", code == 10100 }, verdict(status, 1016, code))
        if code ~= 1016 then
          assert.same({ kind, about, about == "rate", code == 10100 }, verdict(status, { 77777, code }))
        end
      end
      -- One that may pass is not overruled, but by the rate.
      assert.same({ about == "rate" and "rate_limited" or "server", about == "rate" and "rate" or nil, true,
        code == 10100 }, verdict(503, code))
    end
    for status, kind in pairs { [401] = "authentication", [403] = "permission_denied", [404] = "not_found" } do
      for _, code in ipairs { 9109, 7003, 1107 } do assert.equal(kind, verdict(status, code)[1]) end
    end
    assert.equal("unprocessable", verdict(422, 1100)[1])
    assert.equal("api", verdict(413, 1101)[1])
    -- 10000 with a 404 is a zone of somebody else.
    assert.same({ "not_found", "zone", false, false }, verdict(404, 10000))
    assert.same({ "permission_denied", "credential", false, false }, verdict(403, 10000))
  end)

  it("prefers what holds for the whole list", function()
    for _, case in ipairs { { 1082, 1107, "plan" }, { 1094, 6003, "credential" }, { 1100, 971, "rate" },
      { 1136, 1101, "size" }, { 4242, 1082, "item" }, { 7003, 10000, "credential" } } do
      assert.equal(case[3], verdict(400, case[1], case[2])[2])
      assert.equal(case[3], verdict(400, case[2], case[1])[2])
    end
    assert.equal("request", verdict(400, 4242, 1016)[2])
  end)

  it("follows the status where nobody knows the codes, or there are none", function()
    for _, codes in ipairs { {}, { 0 }, { 4242 } } do
      for status, expected in pairs { [200] = { "api", "request" }, [400] = { "bad_request", "request" },
        [401] = { "authentication", "credential" }, [403] = { "permission_denied", "credential" },
        [404] = { "not_found", "zone" }, [405] = { "api", "request" }, [409] = { "conflict", nil, true },
        [408] = { "api", nil, true }, [413] = { "api", "size" }, [422] = { "unprocessable", "request" },
        [429] = { "rate_limited", "rate", true }, [500] = { "server", nil, true }, [301] = { "api" } } do
        local found = verdict(status, (table.unpack or unpack)(codes))
        assert.same({ expected[1], expected[2], expected[3] or false }, { found[1], found[2], found[3] }, status)
      end
    end
  end)

  it("is about nothing where the answer is not the API's", function()
    for _, body in ipairs { "<html>", "", "{}", '{"code":971,"error":"please wait"}', '{"code":1000,"error":"not_found"}',
      "[]", '{"errors":{"code":6003}}', '{"success":false', '{"success":false,"errors":[{"code":6003}]', "\0",
      '{"success":false,"errors":[{"code":6003}]} x', ("["):rep(10000) } do
      for status, kind in pairs { [400] = "bad_request", [403] = "permission_denied", [404] = "not_found",
        [422] = "unprocessable", [418] = "api", [500] = "server" } do
        local found, about = system.verdict(status, body)
        assert.same({ kind }, { found, about }, body)
      end
      -- These say it by themselves.
      for status, about in pairs { [401] = "credential", [413] = "size", [429] = "rate" } do
        assert.equal(about, (select(2, system.verdict(status, body))))
      end
      assert.is_nil((select(2, system.verdict(200, body))))
    end
    assert.equal("bad_response", (system.verdict(200, "<html>")))
  end)

  it("is read from JSON however it is written", function()
    for _, body in ipairs {
      '{"success":false,"errors":[{"code":6003}]}', ' { "errors" : [ { "message" : "\\"code\\":1" , "code" : 6003 } ] } ',
      '{"errors":[{"source":{"code":971,"pointer":[1,2,{"code":971}]},"code":6003}],"success":false}',
      '\239\187\191{"success":false,"errors":[{"code":6003}]}',
      '{"messages":[{"code":971}],"result":{"errors":[{"code":971}]},"success":false,"errors":[{"code":6003}]}',
      '{"success":false,"errors":[null,5,"971",[971],{"code":6003}]}',
    } do
      assert.equal("credential", (select(2, system.verdict(400, body))), body)
    end
    for _, code in ipairs { '"6003"', "6003.5", "60030", "-6003", "6003e1", "6.003e3", "[6003]", "60036003600360036003" } do
      local body = '{"success":false,"errors":[{"code":' .. code .. "}]}"
      assert.equal("request", (select(2, system.verdict(400, body))), body)
    end
    local kind, about = system.verdict(200, '{"success":true,"errors":[{"code":6003}],"result":null}')
    assert.same({}, { kind, about })
  end)
end)

describe("a refusal", function()
  teardown(clients.close)

  local client, zone
  before_each(function() client, zone = clients.new { max_retries = 0 } end)

  it("of 6003 is about the credential, and told with the words of its chain", function()
    edge.script(zone, { { times = 0, status = 400, json = { success = false, errors = { { code = 6003,
      message = "Invalid request headers",
      error_chain = { { code = 6111, message = "Invalid format for Authorization header" } } } } } } })
    local _, err = client:purge({ tags = lists.tags(1000) }, { max_in_flight = 1 })
    assert.same({ "authentication", "credential", 6003, 1, 1 }, { err.kind, err.about, err.code, err.requests,
      edge.counts(zone).requests })
    assert.truthy(err.message:find("Invalid request headers: Invalid format for Authorization header", 1, true), err.message)
    assert.same({ { code = 6111, message = "Invalid format for Authorization header" } }, err.errors[1].error_chain)
  end)

  it("of 1107 ends a list within what was in flight", function()
    for in_flight, most in pairs { [1] = 1, [8] = 8 } do
      edge.reset(zone)
      edge.script(zone, { { times = 0, status = 400, json = refusal(1107) } })
      local _, err = client:purge({ tags = lists.tags(5000) }, { max_in_flight = in_flight })
      assert.same({ "permission_denied", "plan", 5000 }, { err.kind, err.about, #err.remaining.tags })
      assert.is_true(edge.counts(zone).requests <= most)
    end
  end)

  it("takes back what waits for its turn", function()
    local own = clients.new { zone_id = zone, rate = { requests = 0.05, requests_bucket = 1 } }
    edge.script(zone, { { times = 0, delay = 0.1, status = 400, json = refusal(1107) } })
    local _, err = own:purge({ tags = lists.tags(500) }, { max_in_flight = 5 })
    assert.same({ "plan", 1, 1, 1, 1, 500 }, { err.about, err.requests, err.attempts, edge.counts(zone).requests,
      #err.failures, #err.remaining.tags })
    assert.is_true(err.elapsed < 10, err.elapsed)
    assert.same(lists.all(lists.tags(500)), lists.all(err.remaining.tags))
    assert.equal(0, own:in_flight())
    -- What was limited, and waits to be sent again, is not in flight either.
    local other, zone2 = clients.new()
    edge.script(zone2, { { match = '"t1"', status = 400, delay = 0.3, json = refusal(9109) },
      { times = 0, status = 503, headers = { ["Retry-After"] = "20" }, body = "" } })
    _, err = other:purge({ tags = lists.tags(300) }, { max_in_flight = 3 })
    assert.same({ "credential", 3, 300 }, { err.about, err.requests, #err.remaining.tags })
    assert.is_true(err.elapsed < 10, err.elapsed)
  end)

  it("under 200 is isolated: one bad URL of a hundred, three bad tags of five thousand", function()
    local answer = { times = 0, match = "BAD", status = 200, json = refusal(1016) }
    for _, json in ipairs { refusal(1016), refusal(1082, 1016), { success = false, errors = { { code = 1016 } },
      result = { id = "x" } } } do
      edge.reset(zone)
      answer.json = json
      edge.script(zone, { answer, { times = 0, body = clients.OK } })
      local urls = {}
      for i = 1, 100 do urls[i] = "https://a.example/" .. (i == 37 and "BAD" or i) end
      local _, err = client:purge { files = urls }
      assert.same({ 99, 1, { "https://a.example/BAD" }, "item" },
        { err.accepted, #err.failures, err.remaining.files, err.failures[1].error.about })
    end
    edge.reset(zone)
    edge.script(zone, { answer, { times = 0, body = clients.OK } })
    local tags = lists.tags(5000)
    for _, i in ipairs { 17, 2500, 5000 } do tags[i] = "BAD" .. i end
    local _, err = client:purge({ tags = tags }, { max_in_flight = 1 })
    assert.same({ 4997, 3, { "BAD17", "BAD2500", "BAD5000" } }, { err.accepted, #err.failures, err.remaining.tags })
  end)

  it("under 200 makes requests smaller, is waited for, or stops the list like any other", function()
    edge.script(zone, { { status = 200, json = refusal(1101) } })
    assert.equal(80, assert(client:purge { tags = lists.tags(80) }).accepted)
    assert.equal(3, edge.counts(zone).requests)
    edge.reset(zone)
    edge.script(zone, { { status = 200, json = refusal(971), headers = { ["Retry-After"] = "0" } } })
    assert.same({ 1, 2 }, { client:purge({ tags = { "a" } }).accepted, edge.counts(zone).requests })
    edge.reset(zone)
    edge.script(zone, { { times = 0, status = 200, json = refusal(9109) } })
    local _, err = client:purge({ tags = lists.tags(5000) }, { max_in_flight = 1 })
    assert.same({ "authentication", "credential", 200, 1 }, { err.kind, err.about, err.status,
      edge.counts(zone).requests })
  end)

  it("that nobody knows is about the size where it goes away when the list is halved", function()
    for _, in_flight in ipairs { 1, 2, 8 } do
      local own = clients.new { max_retries = 0, zone_id = zone }
      for _, count in ipairs { 600, 100 } do
        edge.reset(zone)
        edge.limits { zone = zone, max_items = 30, over_code = 4242 }
        assert.equal(count, assert(own:purge({ tags = lists.tags(count) }, { max_in_flight = in_flight })).accepted)
        assert.equal(count, edge.counts(zone).items)
        -- 24 requests of 25 tags, and those that taught it; the second list knows.
        assert.is_true(edge.counts(zone).requests <= (count == 600 and 24 + 24 or 4), edge.counts(zone).requests)
      end
    end
  end)

  it("in HTML is a firewall's, and in JSON that is no envelope has the server's words", function()
    edge.script(zone, { { status = 403, body = "<html>blocked</html>" } })
    local _, err = client:purge { tags = { "a" } }
    assert.same({ "permission_denied" }, { err.kind, err.about })
    for status, kind in pairs { [404] = "not_found", [400] = "bad_request" } do
      edge.script(zone, { { status = status, body = '{"code":971,"error":"please wait"}' } })
      _, err = client:purge { tags = { "a" } }
      assert.same({ kind, "please wait", 971 }, { err.kind, err.message, err.code })
    end
    for body, words in pairs { ['{"message":"m"}'] = "m", ['{"detail":"d","title":"t"}'] = "d", ['{"title":"t"}'] = "t",
      ['{"error":{"code":5,"message":"within"}}'] = "within" } do
      edge.script(zone, { { status = 404, body = body } })
      assert.equal(words, select(2, client:purge { tags = { "a" } }).message)
    end
    edge.script(zone, { { status = 429, body = '{"code":971,"error":"please wait"}' } })
    _, err = client:purge({ tags = { "a" } }, { max_retry_wait = 0 })
    assert.same({ "rate_limited", "rate", "please wait" }, { err.kind, err.about, err.message })
  end)

  it("is told by its specific error, though 1016 stands before it", function()
    edge.script(zone, { { status = 200, json = refusal(1016, 1082) } })
    local _, err = client:purge { tags = { "a" } }
    assert.same({ 1082, "says 1082", 2 }, { err.code, err.message, #err.errors })
  end)

  it("beside a success is in the messages", function()
    edge.script(zone, { { json = { success = true, messages = { { code = 1, message = "m" } },
      errors = { { code = 7, message = "but" } }, result = { id = "x" } } } })
    assert.same({ { code = 1, message = "m" }, { code = 7, message = "but" } },
      assert(client:purge { tags = { "a" } }).messages)
  end)
end)
