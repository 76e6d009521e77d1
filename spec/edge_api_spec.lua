-- The edge answers as the real API does (spec/edge/api.lua): what other specs rest on, asked without the library.
local elsewhere = require "spec.support.where"
if elsewhere "once text" then return end

local edge = require "spec.support.edge"

edge.up()

local function purge(zone, params, token)
  return edge.ask("/zones/" .. zone .. "/purge_cache", params, token)
end

local function codes(answer)
  local list = {}
  for i, one in ipairs(answer.errors) do list[i] = one.code end
  return list
end

local function names(answer, key)
  local list = {}
  for i, one in ipairs(answer.result) do list[i] = one[key or "id"] end
  return list
end

local function listed(path, token, key)
  local _, answer = edge.ask(path, nil, token)
  return names(answer, key)
end

local function refused(zone, params, expected_status, expected, token)
  local status, answer = purge(zone, params, token)
  assert.same({ expected_status, false, expected }, { status, answer.success, codes(answer) })
  return answer
end

describe("the edge's API", function()
  local zone, about
  before_each(function() zone, about = edge.zone() end)

  it("refuses credentials as the API does", function()
    local tags = { tags = { "a" } }
    for _, malformed in ipairs { "not a token", "'quoted'", "Bearer x" } do
      local answer = refused(zone, tags, 400, { 6003 }, malformed)
      assert.equal(6111, answer.errors[1].error_chain[1].code)
    end
    refused(zone, tags, 400, { 9106 }, false)
    refused(zone, tags, 401, { 10000 }, "unknown")
    refused(zone, tags, 403, { 10000 }, edge.env.TOKEN_NO_PURGE)
    refused(zone, tags, 403, { 10000 }, edge.token { zones = { (edge.zone()) } })
    assert.equal(200, (purge(zone, tags, edge.token { zones = { zone } })))
  end)

  it("refuses a body under 400 by the specific code alone, or under 200 with 1016 behind it", function()
    local at = about.name
    edge.change(zone, { refuses = { "bad" }, lacks = { "prefixes" } })
    local many = {}
    for i = 1, 101 do many[i] = "t" .. i end
    local cases = {
      { { tags = { "a", "bad" } }, 1016 }, { { hosts = { "elsewhere.test" } }, 1082 }, { { tags = many }, 1101 },
      { { tags = { ("x"):rep(1025) } }, 1100 }, { { prefixes = { at .. "/a" } }, 1107 }, { { tags = {} }, 1012 },
      { { tags = { "a" }, hosts = { at } }, 1092 },
    }
    for _, case in ipairs(cases) do refused(zone, case[1], 400, { case[2] }) end
    edge.change(zone, { under200 = "id" })
    for _, case in ipairs(cases) do
      local answer = refused(zone, case[1], 200, case[2] == 1016 and { 1016 } or { case[2], 1016 })
      assert.equal("string", type(answer.result.id))
    end
    edge.change(zone, { under200 = "null" })
    assert.equal("userdata", type(refused(zone, cases[1][1], 200, { 1016 }).result))
    edge.change(zone, { under200 = false, refuses = false, lacks = false })
    assert.equal(200, (purge(zone, cases[1][1])))
    assert.equal(200, (purge(zone, cases[5][1])))
    assert.same({ 2, 15 }, { edge.counts(zone).accepted, edge.counts(zone).refused })
  end)

  it("purges by whole tags alone, whatever their case", function()
    local host = "www." .. about.name
    local function is(seen, path) assert.equal(seen, (select(2, edge.get("production", host, path)))) end
    for _, path in ipairs { "/t/news,sport/x", "/t/newsroom/x" } do
      edge.get("production", host, path)
      is("HIT", path)
    end
    for _, tag in ipairs { "news,sport", "new", "news.*", ",news", "sport " } do
      purge(zone, { tags = { tag } })
      is("HIT", "/t/news,sport/x")
    end
    purge(zone, { tags = { "NEWS" } })
    is("MISS", "/t/news,sport/x")
    is("HIT", "/t/newsroom/x")
  end)

  it("refuses what comes too fast, in every form that was seen", function()
    local function late(settings)
      settings.zone, settings.plan = zone, "free"
      edge.limits(settings)
      for _ = 1, 25 do assert.equal(200, (purge(zone, { tags = { "a" } }))) end
      return purge(zone, { tags = { "a" } })
    end
    local status, answer, headers = late {}
    assert.same({ 429, { 971 } }, { status, codes(answer) })
    assert.truthy(tonumber(headers["retry-after"]))
    status, answer = late { code = 1134, status = 400 }
    assert.same({ 400, { 1134 } }, { status, codes(answer) })
    status, answer = late { bare = true }
    assert.same({ 429, { code = 971, error = "please wait" } }, { status, answer })
    assert.equal(3, edge.counts(zone).limited)
  end)

  it("has a budget for each plan of an account", function()
    local account = "account-" .. zone
    local pro, same, other = edge.zone { account = account, plan = "pro" }, edge.zone { account = account, plan = "pro" },
      edge.zone { account = account, plan = "business" }
    edge.limits { zone = pro, plan = "pro" }
    edge.limits { zone = other, plan = "business" }
    local function accepted(at)
      local count = 0
      while count < 60 and purge(at, { tags = { "a" } }) == 200 do count = count + 1 end
      return count
    end
    local first = accepted(pro)
    assert.is_true(first >= 25 and first < 40, first)
    assert.is_true(accepted(same) < 5)
    assert.is_true(accepted(other) >= 50)
  end)

  it("lists the zones of a token page by page, with account, status and plan", function()
    local ids = {}
    for i = 1, 23 do ids[i] = (edge.zone { account = "acme", plan = i % 2 == 0 and "pro" or nil }) end
    local token = edge.token { zones = ids }
    local status, answer = edge.ask("/zones?page=2", nil, token)
    assert.same({ 200, 2, 23, { ids[21], ids[22], ids[23] } },
      { status, answer.result_info.total_pages, answer.result_info.total_count, names(answer) })
    assert.same({ "free", "pro", "free" }, { answer.result[1].plan.legacy_id, answer.result[2].plan.legacy_id,
      answer.result[3].plan.legacy_id })
    assert.same({ "active", "acme", "Account acme" },
      { answer.result[1].status, answer.result[1].account.id, answer.result[1].account.name })
    assert.same(answer.result[2], select(2, edge.ask("/zones/" .. ids[22], nil, token)).result)
    -- The list stands on the record of the token's first zone.
    assert.equal("/client/v4/zones?page=2", edge.requests(ids[1])[1].path)

    token = edge.token { zones = ids, read = false }
    assert.same({ 200, {} }, { (edge.ask("/zones", nil, token)), listed("/zones", token) })
    status, answer = edge.ask("/zones/" .. ids[1], nil, token)
    assert.same({ 403, { 9109 } }, { status, codes(answer) })
    assert.equal(200, (purge(ids[1], { tags = { "a" } }, token)))
    token = edge.token { zones = ids, purge = false }
    assert.same({ 403, 200 }, { (purge(ids[1], { tags = { "a" } }, token)), (edge.ask("/zones/" .. ids[1], nil, token)) })
  end)

  it("finds names without their case, all zones of one name, and A-labels", function()
    local id, other = edge.zone { name = "Xn--bcher-" .. zone:sub(1, 8) .. ".Test", status = "moved", account = "old" }
    local second = edge.zone { name = other.name, account = "new" }
    local _, answer = edge.ask("/zones?name=XN--BCHER-" .. zone:sub(1, 8) .. ".test")
    assert.same({ { id, second }, { "moved", "active" }, { other.name, other.name } },
      { names(answer), names(answer, "status"), names(answer, "name") })
    assert.same({ second }, listed("/zones?status=active&name=" .. other.name))
    assert.same({}, listed("/zones?name=" .. other.name .. "."))
    edge.change(second, { status = "pending" })
    assert.same({ "moved", "pending" }, listed("/zones?name=" .. other.name, nil, "status"))
  end)

  it("no longer knows a zone that has gone", function()
    for _, status in ipairs { 403, 404 } do
      edge.change(zone, { gone = status })
      assert.equal(status, (purge(zone, { tags = { "a" } })))
      assert.equal(status, (edge.ask("/zones/" .. zone)))
      assert.same({}, listed("/zones?name=" .. about.name))
    end
    edge.change(zone, { gone = false })
    assert.equal(200, (purge(zone, { tags = { "a" } })))
  end)
end)

describe("a visitor of the edge's pages", function()
  it("asks for any host through the proxy, in clear text and over TLS, and is told CF-Cache-Status", function()
    local env = edge.env
    local function ask(url)
      local child = io.popen(("curl -s -D - -o /dev/null -x %s --cacert %s %s"):format(env.PROXY, env.CA_FILE, url))
      local head = child:read "*a"
      child:close()
      return head:lower():match "cf%-cache%-status: (%u*%l*)", head:lower():match "cf%-ray: (%x+%-edg)"
    end
    for _, url in ipairs { "http://www.example.com/t/seen/clear", "https://www.example.com/t/seen/tls" } do
      assert.equal("miss", (ask(url)))
      local status, ray = ask(url)
      assert.equal("hit", status)
      assert.equal(20, #ray)
    end
    assert.equal(200, (edge.ask("/zones/" .. env.ZONE_ID .. "/purge_cache", { tags = { "seen" } })))
    assert.equal("miss", (ask "https://www.example.com/t/seen/tls"))
    assert.equal("HIT", (select(2, edge.get("production", "www.example.com", "/t/seen/tls"))))
  end)
end)
