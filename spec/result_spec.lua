-- How an answer becomes a result or an error: csrc/binding/result.
local cjson = require "cjson"
local edge = require "spec.support.edge"
local clients = require "spec.support.client"
local host = require "spec.support.host"
local core = require "cfpurge.core"

local TAGS = { tags = { "a" } }

local function is_integer(value)
  return type(value) == "number" and not tostring(value):find "[.e]"
end

describe("an answer", function()
  teardown(clients.close)

  local client, zone

  setup(function() client, zone = clients.new { max_retries = 0, max_retry_wait = 0 } end)
  before_each(function() edge.reset(zone) end)

  local function answered(answer, params, options)
    edge.script(zone, { type(answer) == "string" and { body = answer } or answer })
    return client:purge(params or TAGS, options)
  end

  it("that accepts is a result", function()
    local result = assert(answered { headers = { ["CF-Ray"] = "8f3a-FRA" }, body = [[
      {"success":true,"errors":[],"result":{"id":"0123"},"messages":[{"code":7,"message":"m","more":1},"text"]}]] })
    assert.same({ id = "0123", ids = { "0123" }, accepted = 1, requests = 1, attempts = 1, ray_id = "8f3a-FRA",
      messages = { { code = 7, message = "m" }, { message = "text" } }, elapsed = result.elapsed }, result)
    assert.truthy(result.elapsed > 0 and result.elapsed < 30)
    for _, name in ipairs { "accepted", "requests", "attempts" } do assert.truthy(is_integer(result[name])) end
    assert.truthy(is_integer(result.messages[1].code))
    result = assert(answered(clients.OK, { files = { "https://a.example/", { url = "https://a.example/" } } }))
    assert.equal(2, result.accepted)
  end)

  it("may begin with a byte order mark", function()
    assert.equal("07", assert(answered('\239\187\191{"success":true,"errors":[],"messages":[],"result":{"id":"07"}}')).id)
    assert.equal("x y", assert(answered '\239\187\191 {"success":true,"result":{"id":"x y"}}').id)
    local _, err = answered { status = 403, body = '\239\187\191{"errors":[{"code":9109,"message":"no"}]}' }
    assert.same({ "permission_denied", 9109, "no" }, { err.kind, err.code, err.message })
    for _, body in ipairs { "\239\187\191", "\239\187", '\239\187\191\239\187\191{"success":true}' } do
      assert.equal("bad_response", select(2, answered(body)).kind)
    end
  end)

  it("that accepts may lack an id and more", function()
    for _, body in ipairs { '{"success":true}', '{"success":true,"result":null}', '{"success":true,"result":{}}',
      '{"success":true,"result":{"id":null}}', '{"success":true,"result":{"id":5}}', '{"success":true,"result":"x"}',
      '{"success":true,"result":[]}', '{"success":true,"errors":null,"messages":null,"result":null}',
      '{"success":true,"messages":{"a":1}}', '{"success":true,"messages":"x"}', ' \r\n\t{"success":true}\n',
      '{"success":false,"success":true}' } do
      local result, err = answered(body)
      assert(result, err)
      assert.is_nil(result.id)
      assert.same({ {}, {}, 1 }, { result.ids, result.messages, result.accepted })
    end
    -- One that is compressed all the same, and other 2xx.
    local packed = host.must("printf %s '" .. clients.OK .. "' | gzip -n")
    local result = assert(answered { body = packed, headers = { ["Content-Encoding"] = "gzip" } })
    assert.equal(1, result.accepted)
    assert(answered { body = clients.OK, status = 202 })
    assert(answered { body = clients.OK, headers = { ["Content-Type"] = "text/plain" } })
  end)

  it("is the same result however it is written down", function()
    local id = '"id":"9a7806061c88ada191ed06f989cc3dac"'
    local members = { '"success":true', '"errors":[]', '"messages":[]', '"result":{' .. id .. "}" }
    local function with(...)
      return "{" .. table.concat({ ... }, ",") .. "}"
    end
    local s, e, m, r = members[1], members[2], members[3], members[4]
    for _, body in ipairs { with(s, e, m, r), with(r, m, e, s), with(s, r), with(m, r, s), with(r, s, '"result_info":null', e, m),
      with(s, e, m, '"result":{' .. id .. ',"more":[1]}'), with(s, e, m, '"result": {"more":{}, ' .. id .. "}"),
      with(s, s, e, m, r), with(s, e, e, m, r), with(s, e, m, r, r),
      with(s, '"errors":null', m, r),
      " \r\n\t" .. with(s, e, m, r):gsub("[{}%[%]:,]", "%0 \n") .. "\n",
      with(s, e, m, '"result":{"\\u0069d":' .. id:sub(6) .. "}"),
      with(s, e, m, (r:gsub("9a", "\\u0039a"))) } do
      local result, err = answered(body)
      assert(result, tostring(err) .. body)
      assert.same({ "9a7806061c88ada191ed06f989cc3dac", { "9a7806061c88ada191ed06f989cc3dac" }, {}, 1, 1 },
        { result.id, result.ids, result.messages, result.accepted, result.requests }, body)
    end
    for written, read in pairs { ["A-Z_~"] = "A-Z_~", ["\\/"] = "/", ["\195\164"] = "\195\164", [""] = "" } do
      assert.equal(read, answered(with(s, e, m, '"result":{"id":"' .. written .. '"}')).id)
    end
    for _, body in ipairs { with(s, e, m, r) .. ",", with(s, e, m, r):sub(1, -2), with(s, e, m, "", r),
      with(s, e, m, r:sub(1, -3)), with(s, e, m, r:sub(1, -2) .. "]"), "{" .. s .. " " .. e .. "," .. m .. "," .. r .. "}",
      with(s, '"errors":[}', m, r), with(s, '"errors":[', m, r), with("\"success\":tru", e, m, r), with(s, e, m, '"result"') } do
      assert.equal("bad_response", select(2, answered(body)).kind, body)
    end
    assert.equal("api", select(2, answered(with('"success":false', e, m, r))).kind)
    assert.equal("0", answered(with(s, e, '"messages":[{"code":5}]', '"result":{"id":"0"}')).id)
  end)

  it("of the status 200 whose success is not true is an error of the kind api", function()
    for _, success in ipairs { '"success":false,', '"success":null,', '"success":"true",', '"success":1,', "",
      '"success":{},',
      '"Success":true,', '"success":true,"success":false,' } do
      local result, err = answered("{" .. success .. '"errors":[],"messages":[],"result":{"id":"x"}}')
      assert.is_nil(result)
      assert.same({ "api", 200, "HTTP 200, but success is not true", 0, false },
        { err.kind, err.status, err.message, err.accepted, err.retryable })
      assert.same(TAGS, err.remaining)
    end
    local _, err = answered '{"success":false,"errors":[{"code":1012,"message":"no"}]}'
    assert.same({ "bad_request", "no", 1012 }, { err.kind, err.message, err.code })
    _, err = answered "{}"
    assert.equal("api", err.kind)
  end)

  it("that is no JSON object is a bad_response, or what its status says", function()
    local gzip = "\31\139\8\0\0\0\0\0\0\3\171\174\5\0\67\191\166\163\2\0\0\0"
    for _, body in ipairs { "", "   ", "<html><body>OK</body></html>", "[]", "[" .. clients.OK .. "]", '"x"', "5",
      "null",
      "true", clients.OK .. "x", clients.OK .. clients.OK, '{"success":true', "{", "{]",
      '{"success":true,}', "{'success':true}", "\0", clients.OK .. "\0", "\255\254", gzip, ("["):rep(100000),
      ("[{\"a\":"):rep(50000),
      '{"success":true,"result":' .. ("["):rep(60) .. ("]"):rep(60) .. "}", '{"success":true,"result":{"id":"\255"' } do
      local result, err = answered(body)
      assert.is_nil(result, body:sub(1, 100))
      assert.same({ "bad_response", 200, "HTTP 200 with a body that is no JSON envelope", {}, {} },
        { err.kind, err.status, err.message, err.errors, err.messages })
      assert.same(TAGS, err.remaining)
      assert.is_false(err.retryable)
      for status, kind in pairs { [403] = "permission_denied", [502] = "server", [418] = "api" } do
        err = select(2, answered { status = status, body = body })
        assert.same({ kind, status, ("HTTP %d with a body that is no JSON envelope"):format(status) },
          { err.kind, err.status, err.message })
      end
    end
    local _, err = answered { status = 204 }
    assert.same({ "bad_response", 204 }, { err.kind, err.status })
  end)

  it("may be huge below the cap, and is read quickly", function()
    local pad = (1024 * 1024 - #clients.OK - 20)
    assert(answered(clients.OK:sub(1, -2) .. ',"padding":"' .. ("x"):rep(pad) .. '"}'))
    local errors = ('{"code":1,"message":"m"},'):rep(30000):sub(1, -2)
    local started = os.clock()
    local _, err = answered { status = 400, body = '{"success":false,"errors":[' .. errors .. "]}" }
    assert.equal(1000, #err.errors)
    assert.same({ code = 1, message = "m" }, err.errors[1000])
    -- What repeats the credential all over is no slower to be masked.
    local token = edge.env.TOKEN
    _, err = answered { status = 400, body = '{"errors":[{"message":"' .. token:rep(25000) .. '"}]}' }
    assert.equal(("*"):rep(3 * 25000), err.message)
    assert.truthy(os.clock() - started < 5)
  end)

  it("is decided by its status first", function()
    local kinds = { [400] = "bad_request", [401] = "authentication", [403] = "permission_denied", [404] = "not_found",
      [409] = "conflict", [422] = "unprocessable", [429] = "rate_limited", [500] = "server", [502] = "server",
      [503] = "server", [520] = "server", [599] = "server", [402] = "api", [405] = "api", [408] = "api", [410] = "api",
      [413] = "api", [418] = "api", [451] = "api", [499] = "api", [300] = "api", [301] = "api", [302] = "api",
      [303] = "api", [304] = "api", [307] = "api", [308] = "api" }
    local again = { [408] = true, [409] = true, [429] = true }
    for status, kind in pairs(kinds) do
      local body = '{"success":true,"errors":[{"code":1,"message":"says this"}],"result":{"id":"x"}}'
      local result, err = answered { status = status, body = status ~= 304 and body or "" }
      assert.is_nil(result, status)
      assert.same({ kind, status, again[status] or status >= 500 }, { err.kind, err.status, err.retryable })
      assert.is_nil(err.id)
      if status ~= 304 then assert.same({ "says this", 1 }, { err.message, err.code }) end
    end
  end)

  it("that redirects is not followed", function()
    for _, status in ipairs { 301, 302, 303, 307, 308 } do
      local before = edge.counts(zone).requests
      local _, err = answered { status = status, headers = { Location = edge.env.VISITED .. "/" .. zone } }
      assert.same({ "api", status, 1, false }, { err.kind, err.status, err.attempts, err.retryable })
      _, err = answered { status = status, headers = { Location = "/client/v4/zones/" .. zone .. "/purge_cache" } }
      assert.equal(status, err.status)
      assert.equal(before + 2, edge.counts(zone).requests)
    end
    for _, request in ipairs(edge.requests(zone)) do assert.equal("API_HTTP", request.listener) end
  end)

  it("has errors that are always a list of tables", function()
    for json, expected in pairs {
      ['{"code":1,"message":"m"}'] = {}, ['"text"'] = {}, ["5"] = {}, ["null"] = {}, ["true"] = {}, ["[]"] = {},
      ["{\"1\":{\"code\":1}}"] = {},
      ["[null]"] = { {} }, ["[5]"] = { {} }, ["[true]"] = { {} }, ["[[]]"] = { {} }, ["[{}]"] = { {} },
      ["[[[{\"code\":1}]]]"] = { {} },
      ['["text"]'] = { { message = "text" } },
      ['[{"code":1012}]'] = { { code = 1012 } },
      ['[{"code":-1,"message":""}]'] = { { code = -1, message = "" } },
      ['[{"code":"1012","message":5}]'] = { {} },
      ['[{"code":1012.5,"message":null}]'] = { {} },
      ['[{"code":1e300},{"code":1e14},{"code":NaN},{"code":-Infinity}]'] = { {}, { code = 1e14 }, {}, {} },
      ['[{"code":1012.0,"message":{"a":1}}]'] = { { code = 1012 } },
      ['[{"code":null,"message":"m","documentation_url":"https://d.example","source":{"pointer":"/files/0","x":1}}]'] =
        { { message = "m", documentation_url = "https://d.example", source = { pointer = "/files/0" } } },
      ['[{"documentation_url":5,"source":"/files"},{"source":{"pointer":5}}]'] = { {}, { source = {} } },
      ['[{"code":1,"message":"first"},null,{"code":2,"message":"\\u00e9\\ud83d\\ude00\\"\\\\"}]'] =
        { { code = 1, message = "first" }, {}, { code = 2, message = "é😀\"\\" } },
    } do
      local _, err = answered { status = 400, body = ('{"success":false,"errors":%s,"messages":%s}'):format(json,
        json) }
      assert.equal("bad_request", err.kind)
      assert.same(expected, err.errors, json)
      assert.same(expected, err.messages, json)
      local first = expected[1] or {}
      assert.equal(first.code, err.code)
      assert.truthy(err.code == nil or is_integer(err.code))
      assert.equal(first.message and first.message ~= "" and first.message or "HTTP 400", err.message)
    end
  end)

  it("leaves remaining: what was asked, ready to be purged", function()
    local environment = ("e"):rep(32)
    local second = edge.zone()
    local awkward = "https://a.example/\"q\\é😀/ü b"
    for _, params in ipairs {
      { purge_everything = true }, { tags = { "a", "!\\" } }, { hosts = { "a.example" } },
        { prefixes = { "a.example/b" } },
      { files = { awkward, { url = awkward, headers = {} }, { url = awkward, headers = { Origin = awkward } } } },
    } do
      for _, own in ipairs { true, false } do
        for _, inside in ipairs { true, false } do
          local where = own and zone or second
          local asked, expected = {}, {}
          for key, value in pairs(params) do asked[key], expected[key] = value, value end
          asked.environment_id = inside and environment or nil
          expected.zone_id, expected.environment_id = not own and second or nil, inside and environment or nil
          edge.reset(where)
          edge.script(where, { { status = 403, body = "{}" }, { body = clients.OK } })
          local _, err = client:purge(asked, { zone_id = where })
          assert.same(expected, err.remaining)
          assert(client:purge(err.remaining))
          local requests = edge.requests(where)
          assert.equal(requests[1].body, requests[2].body)
          assert.equal(requests[1].path, requests[2].path)
        end
      end
    end
    edge.script(zone, { { status = 403, body = "{}" }, { body = clients.OK } })
    local _, err = client:purge_environment(environment, TAGS)
    assert.same({ tags = { "a" }, environment_id = environment }, err.remaining)
    assert(client:purge(err.remaining))
    local requests = edge.requests(zone)
    assert.truthy(requests[#requests].path:find("/environments/" .. environment .. "/purge_cache", 1, true))
    -- What was never sent leaves it with the zone and the environment that stood beside it: it is for them alone.
    local own = { wait = function() return true end, drive = function() return false, "no" end }
    local bound, closed = clients.new { zone_id = zone, loop = own }, clients.new { zone_id = zone }
    local many = {}
    for i = 1, 150 do many[i] = "t" .. i end
    closed:close()
    local everything = { purge_everything = true }
    for _, refused in ipairs { { closed, everything }, { bound, TAGS }, { bound, { tags = many } },
      { client, { tags = { "a", "a b" } } }, { client, { tags = many, hosts = many } }, { client, { tags = { [2] = "a" } } } } do
      local by, params = refused[1], refused[2]
      for _, beside in ipairs { { environment_id = environment }, { zone_id = second, environment_id = environment },
        { zone_id = second } } do
        local expected = { zone_id = beside.zone_id, environment_id = beside.environment_id }
        for key, value in pairs(params) do expected[key] = value end
        err = select(2, by:purge(params, beside))
        assert.same(expected, err.remaining)
        err = select(2, by:purge(params, { zone_id = beside.zone_id, environment_id = beside.environment_id, dry_run = true }))
        assert.same(by == bound and {} or expected, err and err.remaining or {})
        if beside.environment_id then
          err = select(2, by:purge_environment(beside.environment_id, params, { zone_id = beside.zone_id }))
          assert.same(expected, err.remaining)
        end
      end
      err = select(2, by:purge(params))
      assert.same(params, err.remaining)
    end
    local bare = clients.keep(core.new(clients.options { zone_id = zone }))
    _, err = bare:purge_environment(environment, { tags = { "a b" } }, { zone_id = second })
    assert.same({ tags = { "a b" }, zone_id = second, environment_id = environment }, err.remaining)
    -- A connection that never came leaves the same.
    _, err = client:purge({ tags = { "b" } }, { base_url = edge.env.API_CLOSED })
    assert.same({ "connection", { tags = { "b" } } }, { err.kind, err.remaining })
  end)
end)

describe("the host's cjson", function()
  teardown(clients.close)

  local client, zone

  setup(function() client, zone = clients.new { max_retries = 0 } end)
  before_each(function() edge.reset(zone) end)

  it("is neither changed nor obeyed", function()
    local before = { cjson.decode_max_depth(), cjson.encode_max_depth(), cjson.encode_number_precision(),
      { cjson.encode_sparse_array() }, cjson.decode_invalid_numbers(), cjson.encode_invalid_numbers() }
    local said = clients.lua(([[
      local cjson = require "cjson"
      local before = tostring(cjson.decode)
      cjson.decode_max_depth(1)
      cjson.decode_invalid_numbers(false)
      cjson.encode_sparse_array(true, 1, 1)
      local client = require("cfpurge").new { api_token = "wrong", zone_id = "%s", base_url = "%s", max_retries = 0 }
      cjson.decode = error
      cjson.new = error
      local _, err = client:purge { tags = { "a" } }
      print(err.code, err.message, cjson.decode_max_depth(), cjson.decode_invalid_numbers(),
        (cjson.encode_sparse_array()))
    ]]):format(zone, edge.env.API_HTTP))
    assert.equal("10000\tAuthentication error\t1\tfalse\ttrue\n", said)
    assert.is_nil(select(2, client:purge(TAGS)))
    assert.same(before, { cjson.decode_max_depth(), cjson.encode_max_depth(), cjson.encode_number_precision(),
      { cjson.encode_sparse_array() }, cjson.decode_invalid_numbers(), cjson.encode_invalid_numbers() })
  end)

  it("may go when the module is loaded, and is asked for by name where it is missing", function()
    local said = clients.lua(([[
      local core = require "cfpurge.core"
      cjson, package.loaded.cjson, package.preload.cjson = nil, nil, error
      local client = core.new { api_token = "%s", zone_id = "%s", base_url = "%s" }
      print(client:purge { tags = { "a" } } ~= nil)
    ]]):format(edge.env.TOKEN, zone, edge.env.API_HTTP))
    assert.equal("true\n", said)
    said = clients.lua [[package.preload.cjson = function() error "hidden" end print(pcall(require, "cfpurge.core"))]]
    assert.truthy(said:find "^false" and said:find("cfpurge needs lua-cjson", 1, true), said)
    -- vim.json has neither new nor settings.
    said = clients.lua(([[
      local decode = require("cjson").new().decode
      package.loaded.cjson, package.preload.cjson = nil, function() error "hidden" end
      vim = { json = { decode = decode } }
      local client = require("cfpurge.core").new { api_token = "wrong", zone_id = "%s", base_url = "%s",
        max_retries = 0 }
      print(select(2, client:purge { tags = { "a" } }).code)
    ]]):format(zone, edge.env.API_HTTP))
    assert.equal("10000\n", said)
  end)
end)

describe("an accepted purge", function()
  it("is told so though finalizers of the host raise meanwhile", function()
    local zone = edge.zone()
    local long = { success = true, result = { id = "told" }, messages = {} }
    for i = 1, 200 do long.messages[i] = { code = i, message = "message " .. i } end
    edge.script(zone, { { times = 0, json = long } })
    local report = host.run([[
      local core = require "cfpurge.core"
      local c = core.new(client.options { base_url = edge.env.API_HTTP, zone_id = args.zone })
      local ended, raised, faults = 0, 0, {}
      local function raise() ended = ended + 1 error "a finalizer of the host" end
      local function leave()
        if newproxy then getmetatable(newproxy(true)).__gc = raise else setmetatable({}, { __gc = raise }) end
      end
      local rounds = 300
      for round = 1, rounds do
        local id = c:start { tags = { "a" } }
        while c:step() > 0 do end
        collectgarbage()
        collectgarbage "stop"
        for _ = 1, round % 7 do leave() end
        -- So that the finalizers come now in the decoder and now in what is made of what it read.
        local tune = require("spec.support.host").tune
        tune("pause", 100)
        tune("stepmul", 100 + round * 10)
        local before = ended
        collectgarbage "restart"
        local ok, taken, result, err = pcall(c.take, c, id)
        collectgarbage "stop"
        raised = raised + ended - before
        if not ok then
          faults[#faults + 1] = tostring(taken)
        elseif not result or result.id ~= "told" or #result.messages ~= 200 then
          faults[#faults + 1] = tostring(err)
        end
        while ended - before < round % 7 do pcall(collectgarbage) end
      end
      return { raised = raised, faults = faults }]], { args = { zone = zone } })
    assert.same({}, report.faults)
    assert.is_true(report.raised > 100, report.raised)
  end)
end)
