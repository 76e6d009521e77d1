-- What a client and a call may be told, and what the environment says where they are silent: csrc/binding/options.
local elsewhere = require "spec.support.where"
local cfpurge = require "cfpurge"
local core = require "cfpurge.core"
local edge = require "spec.support.edge"
local clients = require "spec.support.client"
local host = require "spec.support.host"

local unpack = table.unpack or unpack
local TAGS = { tags = { "a" } }

local function refused_by_new(options, field, message)
  local client, text, err = cfpurge.new(options)
  assert.is_nil(client, field)
  assert.equal(tostring(err), text)
  assert.equal("invalid_request", err.kind)
  assert.equal(field, err.field)
  assert.truthy(err.message:find(message, 1, true), err.message .. " does not say: " .. message)
  assert.is_nil(err.remaining)
end

local function with(name, value)
  return { api_token = "t", zone_id = "z", [name] = value }
end

describe("options", function()
  teardown(clients.close)

  local client, zone

  setup(function()
    edge.up()
    client, zone = clients.new()
  end)
  before_each(function()
    edge.reset(zone)
    edge.script(zone, { { times = 0, body = clients.OK } })
  end)

  local function refused_by_call(options, field, message)
    local result, err = client:purge(TAGS, options)
    assert.is_nil(result, field)
    assert.equal("invalid_request", err.kind)
    assert.equal(field, err.field)
    assert.truthy(err.message:find(message, 1, true), err.message .. " does not say: " .. message)
    assert.equal(TAGS.tags, err.remaining.tags)
  end

  -- Both say the same of what both take.
  local function refused(name, value, message, field)
    refused_by_new(with(name, value), field or name, message)
    refused_by_call({ [name] = value }, field or name, message)
  end

  local function accepted(name, value)
    assert(cfpurge.new(with(name, value))):close()
  end

  local function nothing_sent() assert.equal(0, edge.counts(zone).requests) end

  -- The last request's headers.
  local function last(of)
    local requests = edge.requests(of or zone)
    return requests[#requests].headers, requests[#requests]
  end

  it("stand in one schema", function()
    local known = {}
    for _, option in ipairs(core.options) do
      assert.is_nil(known[option.name])
      known[option.name] = option
      assert.truthy(option.scope == "client" or option.scope == "request" or option.scope == "call")
    end
    for name, default in pairs { timeout = 60, connect_timeout = 10, max_retries = 2, max_retry_wait = 60,
      max_in_flight = 8, allow_http = false, loop = "auto", base_url = "https://api.cloudflare.com/client/v4" } do
      assert.equal(default, known[name].default, name)
    end
    for name, variable in pairs { api_token = "CLOUDFLARE_API_TOKEN", api_email = "CLOUDFLARE_EMAIL",
      api_key = "CLOUDFLARE_API_KEY", base_url = "CLOUDFLARE_BASE_URL", zone_id = "CLOUDFLARE_ZONE_ID" } do
      assert.equal(variable, known[name].env)
    end
    for _, name in ipairs { "deadline", "plan", "max_items", "proxy", "ca_file", "default_headers", "user_agent",
      "on_event" } do
      assert.is_table(known[name], name)
    end
  end)

  describe("of a wrong type", function()
    local function call(what, ...)
      return nil, what(...)
    end
    local where = debug.getinfo(call, "S")
    local line = ("%s:%d: "):format(where.short_src, where.linedefined + 1)
    local wrong = { string = true, number = "1", integer = "1", boolean = 1, table = "x", ["function"] = {},
      ["string or table"] = 5 }

    it("raise at the caller's line and name the option", function()
      for _, option in ipairs(core.options) do
        local value = wrong[option.type]
        local says = ("(%s: %s expected, got %s)"):format(option.name,
          option.type == "integer" and "number" or option.type, type(value))
        if option.scope ~= "call" then
          local _, raised = pcall(call, cfpurge.new, with(option.name, value))
          assert.equal(line .. "bad argument #1 to 'new' " .. says, raised)
        end
        if option.scope ~= "client" then
          local _, raised = pcall(call, client.purge, client, TAGS, { [option.name] = value })
          assert.equal(line .. "bad argument #2 to 'purge' " .. says, raised)
          _, raised = pcall(call, client.purge_environment, client, "e", TAGS, { [option.name] = value })
          assert.equal(line .. "bad argument #3 to 'purge_environment' " .. says, raised)
          _, raised = pcall(call, client.purge_everything, client, { [option.name] = value })
          assert.equal(line .. "bad argument #1 to 'purge_everything' " .. says, raised)
        end
      end
      for _, case in ipairs {
        { cfpurge.new, "bad argument #1 to 'new' (table expected, got string)", "x" },
        { client.purge, "bad argument #2 to 'purge' (table expected, got number)", client, TAGS, 5 },
        { client.purge, "bad argument #2 to 'purge' (default_headers.X: string expected, got number)", client, TAGS,
          { default_headers = { X = 5 } } },
        { client.purge, "bad argument #2 to 'purge' (a key of default_headers: string expected, got number)", client,
          TAGS, { default_headers = { "X: y" } } },
        { client.start, "bad argument #3 to 'start' (on_done: function expected, got table)", client, TAGS, nil, {} },
      } do
        local _, raised = pcall(call, case[1], unpack(case, 3, 6))
        assert.equal(line .. case[2], raised)
      end
      nothing_sent()
    end)
  end)

  it("hold to their bounds", function()
    local millisecond, whole = "must be at least a millisecond", "must be a whole number, at most 1000000"
    for _, case in ipairs {
      { "timeout", millisecond, { 0, 0.0009, -1, 0 / 0, -math.huge }, { 0.001, 60, 1e300, math.huge } },
      { "connect_timeout", millisecond, { 0, 0.0009, -1, 0 / 0 }, { 0.001, 1e300, math.huge } },
      { "deadline", millisecond, { 0, 0.0009, -1, 0 / 0 }, { 0.001, 1e300, math.huge } },
      { "max_retry_wait", "must be at least 0", { -0.001, -1, 0 / 0 }, { 0, 0.5, math.huge } },
      { "max_retries", "must be at least 0", { -1, 0 / 0, -math.huge }, { 0, 1, 1000000 } },
      { "max_retries", whole, { 0.5, 1000001, math.huge }, {} },
      { "max_items", "must be at least 1", { 0, -1, 0.5 }, { 1, 500, 1000000 } },
      { "max_items", whole, { 1.5, 1000001 }, {} },
      { "max_in_flight", "must be at least 1", { 0 }, { 1, 1000000 } },
      { "max_in_flight", whole, { 1000001 }, {} },
      { "max_connections", "must be at least 1", { 0, -1, 0.5, 0 / 0 }, { 1, 64, 1000000 }, true },
      { "max_connections", whole, { 1.5, 1000001 }, {}, true },
      { "max_queued", "must be at least 1", { 0, -1 }, { 1, 1000000 }, true },
      { "max_queued", whole, { 2.5, 1000001, math.huge }, {}, true },
    } do
      for _, value in ipairs(case[3]) do
        if case[5] then refused_by_new(with(case[1], value), case[1], case[2]) else refused(case[1], value, case[2]) end
      end
      for _, value in ipairs(case[4]) do accepted(case[1], value) end
    end
    for _, name in ipairs { "zone_id", "environment_id" } do
      for _, id in ipairs { ("a"):rep(33), "a/b", "a b", "..", "a?b", "%2e", "é" } do
        refused_by_call({ [name] = id }, name, "1 to 32 letters, digits, '_' or '-'")
        if name == "zone_id" then refused_by_new(with(name, id), name, "1 to 32 letters") end
      end
      refused_by_call({ [name] = "example.com" }, name, "a name is given as zone or environment")
    end
    accepted("zone_id", ("Z"):rep(32))
    for _, plan in ipairs { "free", "pro", "business", "enterprise" } do accepted("plan", plan) end
    for _, plan in ipairs { "Pro", "team", "enterprise " } do
      refused_by_new(with("plan", plan), "plan", "must be free")
    end
    for _, name in ipairs { "requests", "requests_bucket", "urls", "urls_bucket", "overall", "address" } do
      for _, value in ipairs { -1, -0.001, 1000001, math.huge, 0 / 0 } do
        refused_by_new(with("rate", { [name] = value }), "rate." .. name, "must be from 0 to 1000000")
      end
      for _, value in ipairs { 0, 0.5, 1000000 } do accepted("rate", { [name] = value }) end
      local _, raised = pcall(cfpurge.new, with("rate", { [name] = "1" }))
      assert.truthy(raised:find(("bad argument #1 to 'new' (rate.%s: number expected, got string)"):format(name), 1, true))
    end
    for _, rate in ipairs { { 5 }, { request = 1 }, { ["requests\0"] = 1 }, { [true] = 1 } } do
      refused_by_new(with("rate", rate), "rate", "may have requests, requests_bucket, urls")
    end
    accepted("rate", {})
    for _, value in ipairs { true, false } do accepted("isolate", value) end
    refused_by_new({ api_token = "t", zone = "a.example", zone_id = "z" }, "zone", "either zone or zone_id")
    refused_by_call({ zone = "a.example", zone_id = "z" }, "zone", "either zone or zone_id")
    refused_by_call({ environment = "a", environment_id = "z" }, "environment", "either environment or environment_id")
    refused_by_new(with("loop", "none-such"), "loop", "none-such")
    refused_by_new(with("loop", { wait = print }), "loop", "wait and drive")
    nothing_sent()
  end)

  it("are refused by name where they are not known", function()
    for _, name in ipairs { "token", "api_tokens", "Timeout", "retries", "api_token\0x", "timeout\0" } do
      refused(name, "x", "no such option", name:match "^%Z+")
    end
    for _, name in ipairs { "plan", "loop", "on_event", "rate", "max_connections", "max_queued" } do
      refused_by_call({ [name] = "x" }, name, "no such option")
    end
    for _, name in ipairs { "environment_id", "environment", "invalidate", "dry_run", "on_progress" } do
      refused_by_new(with(name, "e"), name, "no such option")
    end
    refused_by_new(with(1, "x"), nil, "a key is a number")
    refused_by_call({ "x" }, nil, "a key is a number")
    nothing_sent()
  end)

  it("carry nothing into a header or the path", function()
    local injections = { "a\r\nX-Injected: 1", "a\nb", "a\rb", "a\0b", "a\127", "\1", "a\tb", "\r\n\r\nGET / HTTP/1.1" }
    for _, option in ipairs(core.options) do
      for _, text in ipairs(injections) do
        if option.type == "string" and option.scope == "request" then
          refused(option.name, text, "must not hold control characters")
        elseif option.name == "default_headers" then
          refused(option.name, { ["X-A"] = text }, "must not hold control characters", "default_headers.X-A")
          refused(option.name, { [text] = "a" }, "is not a header's name", "default_headers." .. text:match "^%Z*")
        end
      end
      for _, text in ipairs(option.type == "string" and option.scope == "call" and injections or {}) do
        refused_by_call({ [option.name] = text }, option.name, "must not hold control characters")
        refused_by_call({ [option.name] = "" }, option.name, "must not be empty")
      end
      if option.type == "string" and option.scope == "request" and option.name ~= "proxy"
        and option.name ~= "user_agent" then
        refused(option.name, "", "must not be empty")
      end
    end
    for _, name in ipairs { "", "X A", "X:", "X-A: b", "X;", "X,Y", "(X)", "X=Y", "é", "X\"", "X/Y" } do
      refused("default_headers", { [name] = "a" }, "is not a header's name", "default_headers." .. name)
    end
    for _, name in ipairs { "Authorization", "authorization", "X-Auth-Email", "X-AUTH-KEY", "Host", "Content-Length",
      "Content-Type", "Transfer-Encoding", "Connection", "Expect", "User-Agent",
      "Accept", "Accept-Encoding", "accept-encoding" } do
      refused("default_headers", { [name] = "a" }, "is set by the request itself", "default_headers." .. name)
    end
    refused("default_headers", { X = ("x"):rep(65536) }, "are too large")
    nothing_sent()
  end)

  it("are told from ours whatever the locale", function()
    if elsewhere "unwatched" then return end
    local locales = host.dir() .. "/locales"
    local made = os.execute(("mkdir -p %s && localedef -i tr_TR -f ISO-8859-9 %s/tr_TR 2>/dev/null"):format(locales, locales))
    if made ~= true and made ~= 0 then return pending "no Turkish locale" end
    local refusals = host.run([[
      assert(os.setlocale "tr_TR")
      local refusals = {}
      for i, name in ipairs { "AUTHORIZATION", "authorization", "X-AUTH-EMAIL", "content-lengtH", "CONNECTION" } do
        local c, _, err = require "cfpurge".new { api_token = "token", default_headers = { [name] = "x" } }
        refusals[i] = c and "let through" or err.message
      end
      return refusals]], { env = { LOCPATH = locales } })
    for _, message in ipairs(refusals) do assert.matches("is set by the request itself", message) end
  end)

  it("become headers as they are", function()
    local other, id = clients.new { user_agent = "mine/1 (é)", zone_id = zone,
      default_headers = { ["X-One"] = "a: b; \"c\"", ["x-two"] = "", ["!#$%&'*+-.^_`|~9"] = "é" } }
    assert(other:purge(TAGS))
    local headers = last(id)
    assert.equal("mine/1 (é)", headers["user-agent"])
    assert.equal("a: b; \"c\"", headers["x-one"])
    assert.equal("", headers["x-two"])
    assert.equal("é", headers["!#$%&'*+-.^_`|~9"])
    assert(other:purge(TAGS, { default_headers = {}, user_agent = "" }))
    headers = last(id)
    assert.same({}, { headers["x-one"], headers["x-two"], headers["user-agent"] })
    assert(other:purge(TAGS))
    assert.equal("a: b; \"c\"", last(id)["x-one"])
  end)

  it("of a call hold for that call", function()
    local second = edge.zone()
    local email, key = edge.env.EMAIL, edge.env.API_KEY
    assert(client:purge(TAGS, { api_email = email, api_key = key, user_agent = "call/1",
      default_headers = { ["X-A"] = "b" }, base_url = edge.env.API_HTTP .. "///" }))
    local headers, request = last()
    assert.same({ email, key, "call/1", "b" },
      { headers["x-auth-email"], headers["x-auth-key"], headers["user-agent"], headers["x-a"] })
    assert.is_nil(headers.authorization)
    assert.equal("/client/v4/zones/" .. zone .. "/purge_cache", request.path)
    assert(client:purge(TAGS))
    headers = last()
    assert.equal("Bearer " .. edge.env.TOKEN, headers.authorization)
    assert.same({}, { headers["x-auth-email"], headers["x-a"] })

    assert(client:purge(TAGS, { zone_id = second, api_token = edge.env.TOKEN, api_key = "k", api_email = "e" }))
    assert.equal("Bearer " .. edge.env.TOKEN, last(second).authorization)
    -- params are nearer than options, and an argument nearer than params.
    assert(client:purge({ tags = { "a" }, zone_id = zone }, { zone_id = second }))
    assert(client:purge(TAGS, { environment_id = "of-options" }))
    assert.truthy(select(2, last()).path:find "/environments/of%-options/purge_cache$")
    assert(client:purge({ tags = { "a" }, environment_id = "of-params" }, { environment_id = "of-options" }))
    assert.truthy(select(2, last()).path:find "/environments/of%-params/purge_cache$")
    assert(client:purge_environment("argument", { tags = { "a" }, environment_id = "of-params" }))
    assert.truthy(select(2, last()).path:find "/environments/argument/purge_cache$")
    assert.equal(1, edge.counts(second).requests)

    refused_by_call({ api_key = "k" }, "api_email", "go together")
    refused_by_call({ api_email = "e" }, "api_key", "go together")
    local by_key = clients.new { api_email = email, api_key = key, zone_id = zone }
    assert(by_key:purge(TAGS, { api_email = "else@where" }))
    headers = last()
    assert.same({ "else@where", key }, { headers["x-auth-email"], headers["x-auth-key"] })
    assert(by_key:purge(TAGS, { api_token = "t" }))
    headers = last()
    assert.equal("Bearer t", headers.authorization)
    assert.same({}, { headers["x-auth-email"], headers["x-auth-key"] })
  end)

  it("of a list hold for each of its requests, and a call's before the client's", function()
    local tags = {}
    for i = 1, 7 do tags[i] = "t" .. i end
    local other = clients.new { zone_id = zone, max_items = 3, max_in_flight = 1, user_agent = "list/1", isolate = false }
    assert.equal(3, assert(other:purge { tags = tags }).requests)
    for _, request in ipairs(edge.requests(zone)) do assert.equal("list/1", request.headers["user-agent"]) end
    assert.equal(4, assert(other:purge({ tags = tags }, { max_items = 2 })).requests)
    local seen = {}
    local planned = assert(other:purge({ tags = tags }, { dry_run = true, max_items = 6,
      on_progress = function(progress) seen[#seen + 1] = progress end }))
    assert.same({ true, 7, 2, 0 }, { planned.dry_run, planned.items, #planned.requests, #seen })
    edge.reset(zone)
    edge.script(zone, { { times = 0, status = 400,
      json = { success = false, errors = { { code = 1016, message = "no" } } } } })
    local _, err = other:purge({ tags = { "a", "b" } })
    assert.same({ 1, 2 }, { edge.counts(zone).requests, #err.remaining.tags })
    assert.same({ 1, 1, { "a", "b" }, "bad_request" },
      { err.requests, #err.failures, err.failures[1].items, err.failures[1].error.kind })
    err = select(2, other:purge({ tags = { "a", "b" } }, { isolate = true }))
    assert.same({ 4, 2 }, { edge.counts(zone).requests, #err.failures })
  end)

  it("are copied: what the caller does to his table later does nothing", function()
    local options = clients.options { zone_id = zone, default_headers = { ["X-A"] = "b" } }
    local other = clients.keep(assert(cfpurge.new(options)))
    options.api_token, options.zone_id, options.default_headers["X-A"] = "other", "other", "other"
    for name in pairs(options) do options[name] = nil end
    collectgarbage()
    collectgarbage()
    assert(other:purge(TAGS))
    assert.same({ "Bearer " .. edge.env.TOKEN, "b" }, { last().authorization, last()["x-a"] })
  end)

  describe("of the environment", function()
    -- One child a case: new(`explicit`), a purge, then what it printed, the headers and the path.
    local function child(env, explicit)
      edge.reset(zone)
      edge.script(zone, { { times = 0, body = clients.OK } })
      local said = clients.lua("local c, _, e = require('cfpurge').new {" .. explicit .. "} "
        .. "local r, f if c then r, f = c:purge { tags = { 'a' } } end print(r and 'ok' or tostring(e or f))", env)
      local request = edge.requests(zone)[1] or { headers = {} }
      local h = request.headers
      return said:gsub("\n$", ""), h.authorization or (h["x-auth-email"] or "") .. "|" .. (h["x-auth-key"] or ""),
        request.path
    end

    it("stand where the table is silent, an explicit credential before them, a token before a key", function()
      local at = { CLOUDFLARE_BASE_URL = edge.env.API_HTTP, CLOUDFLARE_ZONE_ID = zone }
      local function env(more)
        local all = {}
        for name, value in pairs(at) do all[name] = value end
        for name, value in pairs(more or {}) do all["CLOUDFLARE_" .. name] = value end
        return all
      end
      local path = "/client/v4/zones/" .. zone .. "/purge_cache"
      for _, case in ipairs {
        { env { API_TOKEN = "et" }, "", "Bearer et" },
        { env { EMAIL = "ee", API_KEY = "ek" }, "", "ee|ek" },
        { env { API_TOKEN = "et", EMAIL = "ee", API_KEY = "ek" }, "", "Bearer et" },
        { env { API_TOKEN = "et", EMAIL = "ee", API_KEY = "ek" }, "api_email='e',api_key='k'", "e|k" },
        { env { API_TOKEN = "et", EMAIL = "ee", API_KEY = "ek" }, "api_token='t'", "Bearer t" },
        { env { API_TOKEN = "et" }, "api_token='t',api_email='e',api_key='k'", "Bearer t" },
        { env { API_TOKEN = "et", EMAIL = "ee" }, "api_key='k'", "ee|k" },
        { env { EMAIL = "ee" }, "api_token='t'", "Bearer t" },
        { env { API_TOKEN = "", EMAIL = "ee", API_KEY = "ek" }, "", "ee|ek" },
        { env { API_TOKEN = "et", ZONE_ID = "other" }, "zone_id='" .. zone .. "'", "Bearer et" },
        { env { API_TOKEN = "et", BASE_URL = "http://127.0.0.1:1" }, "base_url='" .. edge.env.API_HTTP .. "'",
          "Bearer et" },
      } do
        local said, credential, where = child(case[1], case[2])
        assert.same({ "ok", case[3], path }, { said, credential, where })
      end
      for _, case in ipairs {
        { env(), "", "no credential: set CLOUDFLARE_API_TOKEN, or give api_token" },
        { env { EMAIL = "ee" }, "", "api_email and api_key go together" },
        { env { API_KEY = "ek" }, "", "api_email and api_key go together" },
        { env { API_TOKEN = "et" }, "api_key='k'", "api_email and api_key go together" },
        { env { API_TOKEN = "a\r\nX-B: c" }, "", "CLOUDFLARE_API_TOKEN): must not hold control characters" },
        { env { API_TOKEN = "et", ZONE_ID = "a/b" }, "", "zone_id: must be 1 to 32" },
        { env { API_TOKEN = "et", ZONE_ID = "" }, "", "no zone_id: set CLOUDFLARE_ZONE_ID" },
        { env { API_TOKEN = "et", BASE_URL = "ftp://a.example" }, "", "base_url: must be an absolute http(s) URL" },
        { env { API_TOKEN = "et", BASE_URL = "http://api.example" }, "", "in clear text" },
      } do
        local said, credential = child(case[1], case[2])
        assert.truthy(said:find("invalid_request: ", 1, true) and said:find(case[3], 1, true), said)
        assert.falsy(said:find "X%-B: c")
        assert.equal("|", credential)
      end
    end)
  end)
end)
