-- The one userdata type, without the Lua layer: csrc/binding/client, call, taking and module.
local core = require "cfpurge.core"
local edge = require "spec.support.edge"
local clients = require "spec.support.client"

local TAGS = { tags = { "a" } }

describe("the core alone", function()
  teardown(clients.close)

  it("has what a host needs that loads nothing else", function()
    local zone = edge.zone()
    local said = clients.lua(([[
      local core = require "cfpurge.core"
      local names = {}
      for name in pairs(core) do names[#names + 1] = name end
      table.sort(names)
      print(table.concat(names, " "))
      local options = { api_token = "%s", zone_id = "%s", base_url = "%s" }
      print(core.purge({ tags = { "a" } }, options).accepted)
      print(core.purge_environment("e", { tags = { "a" } }, options))
      for name in pairs(package.loaded) do if name:find "^cfpurge" then print(name) end end
    ]]):format(edge.up().TOKEN, zone, edge.env.API_HTTP))
    local lines = {}
    for line in said:gmatch "[^\n]+" do lines[#lines + 1] = line end
    for _, name in ipairs { "error", "new", "options", "purge", "purge_environment", "version" } do
      assert.truthy((" " .. lines[1] .. " "):find(" " .. name .. " ", 1, true), said)
    end
    assert.same({ "1", "cfpurge.core" }, { lines[2], lines[#lines] })
    assert.equal(1, (lines[3]:find("nil\tnot_found: Could not route", 1, true)))
    assert.truthy(core.version:find "^%d+%.%d+%.%d+$")
  end)

  it("refuses where the environment is at fault, and lets a call make good what it lacks", function()
    local zone = edge.zone()
    local purge = "local params = { tags = { 'a' } } local _, e = require('cfpurge.core').purge(params, { %s }) "
      .. "print(e) assert(not e or e.attempts > 0 or e.remaining.tags == params.tags)"
    for _, case in ipairs {
      { { CLOUDFLARE_BASE_URL = "ftp://a.example" }, "api_token = 't', zone_id = 'z'",
        "invalid_request: base_url: must be" },
      { { CLOUDFLARE_API_TOKEN = "a\nb" }, "zone_id = 'z'", "invalid_request: api_token (or CLOUDFLARE_API_TOKEN)" },
      { { CLOUDFLARE_ZONE_ID = "z" }, "", "invalid_request: api_token: no credential" },
      { { CLOUDFLARE_API_TOKEN = "t" }, "", "invalid_request: no zone_id" },
      { { CLOUDFLARE_EMAIL = "e" }, "zone_id = 'z'", "invalid_request: api_key: missing" },
      { { CLOUDFLARE_EMAIL = "e" }, ("api_token = '%s', zone_id = '%s'"):format(edge.env.TOKEN, zone), "nil" },
      { { CLOUDFLARE_EMAIL = edge.env.EMAIL, CLOUDFLARE_ZONE_ID = zone },
        ("api_key = '%s'"):format(edge.env.API_KEY), "nil" },
      { { CLOUDFLARE_API_TOKEN = edge.env.TOKEN, CLOUDFLARE_ZONE_ID = zone }, "", "nil" },
      -- What a call gives instead is not asked of the environment.
      { { CLOUDFLARE_BASE_URL = "http://a.example" }, ("api_token = '%s', zone_id = '%s', base_url = '%s'"):format(
        edge.env.TOKEN, zone, edge.env.API_HTTP), "nil" },
      { { CLOUDFLARE_ZONE_ID = "a/b" }, ("api_token = '%s', zone_id = '%s'"):format(edge.env.TOKEN, zone), "nil" },
      { { CLOUDFLARE_BASE_URL = "http://a.example" }, "api_token = 't', zone_id = 'z'",
        "invalid_request: base_url: would send the credential in clear text" },
      { { CLOUDFLARE_BASE_URL = "http://a.invalid" },
        "api_token = 't', zone_id = 'z', allow_http = true, max_retries = 0", "connection: " },
    } do
      if not case[1].CLOUDFLARE_BASE_URL then case[1].CLOUDFLARE_BASE_URL = edge.env.API_HTTP end
      local said = clients.lua(purge:format(case[2]), case[1])
      assert.equal(1, (said:find(case[3], 1, true)), said)
      assert.falsy(said:find("assertion", 1, true), said)
    end
    assert.equal(5, edge.counts(zone).accepted)
    local said = clients.lua("local params = { tags = { 'a' } } local _, e = require('cfpurge.core').purge_environment('e', "
      .. "params) print(e, e.remaining.tags == params.tags and e.remaining.environment_id)",
      { CLOUDFLARE_BASE_URL = "ftp://a.example" })
    assert.truthy(said:find "^invalid_request: base_url: .*e\n$", said)
  end)

  it("refuses what only the Lua layer does, and sends nothing", function()
    local options, zone = clients.options()
    local client = clients.keep(core.new(options))
    local everything = { purge_everything = true }
    local function with(name, value)
      local call = { [name] = value }
      for key, its in pairs(options) do call[key] = its end
      if name == "zone" then call.zone_id = nil end
      return call
    end
    local function refused(field, err, beside)
      local remaining = { purge_everything = true }
      for _, place in ipairs(beside) do
        for _, key in ipairs { "zone_id", "zone", "environment", "environment_id" } do
          remaining[key] = place[key] or remaining[key]
        end
      end
      if remaining.environment_id then remaining.environment = nil end
      assert.same({ "invalid_request", field, remaining }, { err.kind, err.field, err.remaining })
      assert.truthy(err.message:find(field .. ': needs the Lua layer: require "cfpurge"', 1, true), err.message)
    end
    for name, value in pairs { dry_run = true, zone = "b.example", environment = "staging", on_progress = print } do
      local alone, at = { [name] = value }, { environment_id = "e" }
      refused(name, select(2, client:purge(everything, alone)), { alone })
      refused(name, select(2, client:purge_environment("e", everything, alone)), { alone, at })
      refused(name, select(2, client:start(everything, alone)), { alone })
      refused(name, select(2, client:check(everything, alone)), { alone })
      refused(name, select(2, core.purge(everything, with(name, value))), { with(name, value) })
      refused(name, select(2, core.purge_environment("e", everything, with(name, value))),
        { with(name, value), at })
    end
    refused("zone", select(2, clients.keep(core.new(with("zone", "b.example"))):purge(everything)), {})
    assert.same({}, edge.requests(zone))
    assert.equal(1, assert(client:purge(TAGS, { dry_run = false, invalidate = false })).accepted)
  end)

  it("raises for a wrong type at the caller's line", function()
    local client = clients.keep(core.new(clients.options()))
    local function call(what, ...)
      return nil, what(...)
    end
    local where = debug.getinfo(call, "S")
    local line = ("%s:%d: bad argument #"):format(where.short_src, where.linedefined + 1)
    for _, case in ipairs {
      { "1 to", "table expected, got number", core.new, 5 },
      { "1 to", "tags[1]: string expected, got number", core.purge, { tags = { 5 } } },
      { "2 to", "timeout: number expected, got string", core.purge, TAGS, { timeout = "5" } },
      { "1 to", "environment_id: string expected, got table", core.purge_environment, {}, TAGS },
      { "2 to", "files: table expected, got number", core.purge_environment, "e", { files = 5 } },
      { nil, "table expected, got nil", client.purge, client },
      { nil, "hosts[1]: string expected, got boolean", client.start, client, { hosts = { true } } },
      { nil, "environment_id: string expected, got number", client.start, client, TAGS, nil, 5 },
      { nil, "number expected, got string", client.step, client, "soon" },
      { nil, "number expected, got nil", client.cancel, client },
      { nil, "cfpurge.client expected", client.purge, {}, TAGS },
      { nil, "cfpurge.client expected", client.close, io.stdout },
    } do
      local ok, raised = pcall(call, case[3], case[4], case[5], case[6], case[7])
      assert.is_false(ok)
      assert.equal(1, (raised:find(line .. (case[1] or ""), 1, true)), raised)
      assert.truthy(raised:find("(" .. case[2], 1, true), raised)
    end
    client:close()
  end)
end)

describe("a core client", function()
  teardown(clients.close)

  local env, zone, options

  before_each(function()
    env = edge.up()
    options, zone = clients.options { max_retries = 0 }
  end)

  local function drain(client)
    local taken, count = {}, 0
    repeat until client:step(10) == 0
    while true do
      local id, result, err = client:take()
      if not id then break end
      taken[id], count = { result, err }, count + 1
    end
    return taken, count
  end

  it("gives each answer once, by its own id, in any number", function()
    local client = clients.keep(assert(core.new(options)))
    local ids = {}
    for i = 1, 20 do
      local id = assert(client:start({ tags = { "t" .. i } }, i % 2 == 0 and { api_token = "wrong" } or nil))
      assert.is_nil(ids[id])
      ids[id] = i
    end
    assert.equal(20, client:stats().in_flight)
    local taken, count = drain(client)
    assert.equal(20, count)
    for id, i in pairs(ids) do
      assert.equal(i % 2 == 1, taken[id][1] ~= nil)
      assert.equal(i % 2 == 0, taken[id][2] ~= nil)
      if taken[id][2] then assert.same({ "authentication", { tags = { "t" .. i } } },
        { taken[id][2].kind, taken[id][2].remaining }) end
    end
    assert.equal(0, select("#", client:take()))
    assert.same({ 20, 20, 0 }, { client:stats().started, client:stats().finished, client:stats().in_flight })
  end)

  it("takes one by its id, and nothing before it has ended", function()
    local client = clients.keep(assert(core.new(options)))
    local first, second = client:start(TAGS), client:start { tags = { "b" } }
    assert.equal(0, select("#", client:take()))
    assert.equal(0, select("#", client:take(first)))
    repeat until client:step(10) == 0
    assert.equal(second, (client:take(second)))
    assert.equal(0, select("#", client:take(second)))
    assert.equal(0, select("#", client:take(12345)))
    assert.equal(first, (client:take()))
  end)

  it("starts nothing that it refuses", function()
    local client = clients.keep(assert(core.new(options)))
    for _, params in ipairs { {}, { tags = {} }, { tags = { "a b" } }, { files = { "x" } } } do
      local id, err = client:start(params)
      assert.is_nil(id)
      assert.same({ "invalid_request", params }, { err.kind, err.remaining })
    end
    local id, err = client:start(TAGS, nil, "a/b")
    assert.same({ nil, "environment_id", { tags = { "a" }, environment_id = "a/b" } }, { id, err.field, err.remaining })
    assert.same({ 0, 0 }, { client:stats().started, edge.counts(zone).requests })
    assert.same({ nil, 0 }, { client:timeout(), (client:step(0)) })
  end)

  it("cancels what is in flight, and closes with the rest", function()
    local client = clients.keep(assert(core.new(options)))
    edge.script(zone, { { times = 0, delay = 20 } })
    local first, second = client:start(TAGS), client:start { tags = { "b" } }
    client:step(0)
    assert.is_number(client:timeout())
    assert.is_true(client:cancel(first))
    assert.is_false(client:cancel(first))
    assert.is_false(client:cancel(12345))
    local id, result, err = client:take()
    assert.same({ first, nil, "cancelled", TAGS }, { id, result, err.kind, err.remaining })
    client:close()
    client:close()
    id, result, err = client:take()
    assert.same({ second, nil, "closed", { tags = { "b" } } }, { id, result, err.kind,
      { tags = err.remaining.tags } })
    assert.equal(0, select("#", client:take()))
    err = select(2, client:purge(TAGS))
    assert.same({ "closed", TAGS }, { err.kind, err.remaining })
    err = select(2, client:start(TAGS))
    assert.equal("closed", err.kind)
    err = select(2, client:purge(5))
    assert.same({ "closed" }, { err.kind, err.remaining })
    assert.truthy(tostring(client):find("cfpurge.client (closed): ", 1, true))
  end)

  it("fetches by a path, and by nothing else", function()
    local client = clients.keep(assert(core.new(options)))
    local id = assert(client:fetch "/zones?per_page=50")
    repeat until client:step(10) == 0
    local taken, result = client:take()
    assert.same({ id, "table" }, { taken, type(result.result) })
    for _, path in ipairs { "", "zones", "https://a.example/", "/a b", "/a\nb", "/a\127", "/\195\169", "/" .. ("a"):rep(1024) } do
      local ok, raised = pcall(client.fetch, client, path)
      assert.is_false(ok)
      assert.truthy(raised:find("not a path", 1, true), raised)
    end
    for field, wrong in pairs { api_email = { api_key = "k" }, timeout = { timeout = 0 }, nope = { nope = 1 } } do
      local started, err = client:fetch("/zones", wrong)
      assert.same({ nil, "invalid_request", field }, { started, err.kind, err.field })
    end
    client:close()
    assert.equal("closed", select(2, client:fetch "/zones").kind)
    assert.equal("closed", select(2, client:limits("files")).kind)
  end)

  it("tells what holds for a call", function()
    options.plan, options.max_in_flight, options.rate = "enterprise", 3, { urls = 10, urls_bucket = 100, overall = 0 }
    local client = clients.keep(assert(core.new(options)))
    local limits = { max_items = 500, max_in_flight = 3, max_retry_wait = 60, isolate = true }
    assert.same(limits, client:limits "files")
    limits.max_items = 100
    assert.same(limits, client:limits "tags")
    limits = { max_items = 7, max_in_flight = 2, max_retry_wait = 0.5, isolate = false, deadline = 9 }
    assert.same(limits, client:limits("files", limits))
    assert.equal("max_items", select(2, client:limits("files", { max_items = 0 })).field)
    assert.equal(0, client:forecast("files", 1, 100))
    -- A request larger than the bucket waits until the bucket is full.
    local seconds = client:forecast("files", 2, 500)
    assert.truthy(seconds > 49 and seconds < 52, seconds)
    assert.is_true(client:add(client:set(), "tags", "a"))
    for _, wrong in ipairs { { "tags", -1, 1 }, { "files", 1, -1 }, { "files", 1, 1e10 }, { "files", 1, 0 / 0 } } do
      assert.has_error(function() client:forecast(wrong[1], wrong[2], wrong[3]) end)
    end
    for _, kind in ipairs { "purge_everything", "nope", "files\0" } do
      local ok, raised = pcall(client.add, client, client:set(), kind, "a")
      assert.is_false(ok)
      assert.truthy(raised:find("one of files, tags, hosts, prefixes expected", 1, true), raised)
    end
  end)

  it("stands being used after it was finalised", function()
    local client = clients.keep(assert(core.new(options)))
    client:start(TAGS)
    local collect = debug.getmetatable(client).__gc
    collect(client)
    collect(client)
    client:close()
    assert.equal("closed", select(2, client:purge(TAGS)).kind)
    assert.equal("closed", select(2, client:start(TAGS)).kind)
    assert.same({ 0, 0, false }, { (client:step(0)), client:stats().in_flight, client:cancel(1) })
    assert.same({}, { client:timeout(), client:fileno(), client:take(), (client:add(client:set(), "tags", "a")) })
    local pages = core.pages()
    pages:__gc()
    assert.error_matches(function() pages:get("http://127.0.0.1:1/", {}) end, "it is closed")
    -- As it happens where a finalizer that was set earlier closes it.
    local said = clients.lua(([[
      local client
      local owner = newproxy and newproxy(true) or setmetatable({},
        { __gc = function() client:close() print "closed" end })
      if newproxy then getmetatable(owner).__gc = function() client:close() print "closed" end end
      client = require("cfpurge").new { api_token = "t", zone_id = "%s", base_url = "%s" }
      client:start { tags = { "a" } }
    ]]):format(zone, env.API_HTTP))
    assert.equal("closed\n", said)
  end)

  if _VERSION == "Lua 5.4" then
    it("is closed where a to-be-closed variable ends", function()
      local scope = assert(load [[
        local new, options = ...
        local kept
        do
          local client <close> = assert(new(options))
          kept = client
          assert(kept:purge { tags = { "a" } })
        end
        return kept
      ]])
      for _, new in ipairs { core.new, require "cfpurge".new } do
        local closed = scope(new, options)
        assert.equal("closed", select(2, closed:purge(TAGS)).kind)
      end
    end)
  end

  it("tells by events what it does, and takes no harm from a handler's error", function()
    local events = {}
    options.max_retries = 1
    options.on_event = function(event)
      events[#events + 1] = event
      error "a handler's bug"
    end
    local client = clients.keep(assert(core.new(options)))
    edge.script(zone, { { status = 503, headers = { ["Retry-After"] = "0", ["CF-Ray"] = "one" }, body = "{}" },
      { headers = { ["CF-Ray"] = "two" }, body = clients.OK } })
    local result = assert(client:purge(TAGS))
    assert.equal(2, result.attempts)
    local path, sent = "/zones/" .. zone .. "/purge_cache", #'{"tags":["a"]}'
    local id = events[1].id
    for i, expected in ipairs {
      { name = "request", attempt = 1, bytes = sent },
      { name = "response", attempt = 1, bytes = 2, status = 503, ray_id = "one", kind = "server" },
      { name = "retry", attempt = 1, status = 503, ray_id = "one", kind = "server", wait = 0 },
      { name = "request", attempt = 2, bytes = sent },
      { name = "response", attempt = 2, bytes = #clients.OK, status = 200, ray_id = "two" },
      { name = "done", attempt = 2, bytes = #clients.OK, status = 200, ray_id = "two" },
    } do
      expected.id, expected.method, expected.path = id, "POST", path
      expected.seconds = (expected.name == "response" or expected.name == "done") and events[i].seconds or nil
      assert.same(expected, events[i])
    end
    assert.equal(6, #events)
    assert.truthy(events[2].seconds > 0 and events[6].seconds >= events[5].seconds)
  end)
end)
