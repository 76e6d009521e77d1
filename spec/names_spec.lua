-- Zones and environments by their names: lua/cfpurge/names.
local cjson = require("cjson").new()
local cfpurge = require "cfpurge"
local core = require "cfpurge.core"
local clients = require "spec.support.client"
local edge = require "spec.support.edge"

local TAGS = { "a" }

describe("a name", function()
  teardown(clients.close)

  local zone, about
  before_each(function() zone, about = edge.zone() end)

  local function named(options)
    local filled = clients.options { zone_id = "unused" }
    filled.zone_id, filled.max_retries = nil, 0
    for name, value in pairs(options or {}) do filled[name] = value end
    return clients.keep(assert(cfpurge.new(filled)))
  end

  local function gets()
    local count = 0
    for _, request in ipairs(edge.requests(zone)) do count = count + (request.method == "GET" and 1 or 0) end
    return count
  end

  it("is looked up once, wherever it was given", function()
    local staging = about.environments.staging
    for _, case in ipairs {
      { { zone = about.name }, { tags = TAGS } }, { {}, { tags = TAGS, zone = about.name } },
      { {}, { tags = TAGS }, { zone = about.name } },
      { { zone = about.name }, { tags = TAGS, environment = "staging" }, nil, staging },
      { {}, { tags = TAGS, zone = about.name }, { environment = "staging" }, staging },
      { { zone_id = zone }, { tags = TAGS }, { environment = "staging" }, staging },
    } do
      edge.reset(zone)
      local client = named(case[1])
      for _ = 1, 2 do assert.equal(1, assert(client:purge(case[2], case[3])).accepted) end
      assert.equal((case[1].zone_id and 0 or 1) + (case[4] and 1 or 0), gets())
      local requests = edge.requests(zone)
      assert.equal("/client/v4/zones/" .. zone .. (case[4] and "/environments/" .. case[4] or "") .. "/purge_cache",
        requests[#requests].path)
    end
    local result = assert(named { zone = about.name }:purge_environment(staging, { tags = TAGS }))
    assert.equal(1, result.accepted)
  end)

  it("goes with a long list, in either form, and with start", function()
    local client, list, calls = named { zone = about.name }, {}, 0
    for i = 1, 250 do list[i] = "t" .. i end
    assert.equal(250, assert(client:purge { tags = list }).accepted)
    -- Its parts are of the call's size.
    assert.equal(250, assert(client:purge({ tags = list, zone = about.name }, { max_items = 10 })).accepted)
    for _, fresh in ipairs { {}, { zone = about.name } } do
      client = named(fresh)
      for _, dry_run in ipairs { true, false } do
        local result = assert(client:purge({ tags = list, zone = not fresh.zone and about.name or nil },
          { max_items = 10, dry_run = dry_run, environment = "staging" }))
        assert.equal(250, dry_run and result.items or result.accepted)
      end
    end
    edge.reset(zone)
    client = named { zone = about.name }
    local i = 0
    local request = client:start({ tags = function() i = i + 1 return list[i] end }, nil, function() calls = calls + 1 end)
    assert.equal(250, assert(request:wait()).accepted)
    assert.same({ 1, 1 }, { calls, gets() })
  end)

  it("that is unknown, or is not to be had, is an error with all that remains", function()
    local params = { tags = TAGS, zone = "nowhere.test" }
    local result, err = named():purge(params)
    assert.same({ nil, "not_found", "zone", params }, { result, err.kind, err.field, err.remaining })
    params = { tags = TAGS, environment = "nope" }
    err = select(2, named({ zone = about.name }):purge(params))
    assert.same({ "not_found", "environment", params }, { err.kind, err.field, err.remaining })
    edge.script(zone, { { status = 500, body = "{}" } })
    err = select(2, named({ zone = about.name }):purge { tags = TAGS })
    assert.same({ "server", TAGS }, { err.kind, err.remaining.tags })
    err = select(2, named({ zone = about.name, api_token = "wrong" }):purge { tags = TAGS })
    assert.equal("authentication", err.kind)
    err = select(2, named():purge { tags = TAGS, environment = "staging" })
    assert.same({ "invalid_request", "zone_id" }, { err.kind, err.field })
    assert.equal(0, edge.counts(zone).accepted)
  end)

  it("goes into the query as it is, whatever it is made of", function()
    for _, name in ipairs { "a b&c=d.test", "a%2fb.test", "a+b#c?d.test" } do
      local params = { tags = TAGS, zone = name }
      local from = #edge.requests(zone)
      edge.script(zone, { { match = "/zones?", json = { success = true, errors = {}, messages = {},
        result = { { id = zone, name = name } }, result_info = cjson.null } } })
      local result = named({ default_headers = { ["X-Spec"] = zone } }):purge(params)
      assert.equal(1, result and result.accepted)
      local asked = edge.requests(zone)[from + 1].path:match "name=([^&]*)&page=1&per_page=50$"
      assert.equal(name, (asked:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)))
      assert.is_nil(asked:find "[^%w%-._~%%]")
    end
  end)

  it("beside an id, or of the wrong type, is refused before anything is sent", function()
    local client = named { zone = about.name }
    local result, err = client:purge { tags = TAGS, zone = about.name, zone_id = zone }
    assert.same({ nil, "invalid_request", "zone" }, { result, err.kind, err.field })
    err = select(2, client:purge({ tags = TAGS }, { environment = "a", environment_id = "b" }))
    assert.same({ "invalid_request", "environment" }, { err.kind, err.field })
    assert.has_error(function() client:purge { tags = TAGS, zone = 5 } end)
    for _, name in ipairs { "zone", "environment" } do
      for value, problem in pairs { [""] = "empty", ["a\r\nb"] = "control" } do
        result, err = client:purge { tags = TAGS, [name] = value }
        assert.same({ nil, "invalid_request", name }, { result, err.kind, err.field })
        assert.matches(problem, err.message)
      end
    end
    assert.has_error(function() client:purge { tags = { 5 } } end)
    err = select(2, client:purge { tags = { "a b" } })
    assert.same({ "invalid_request", "tags[1]" }, { err.kind, err.field })
    assert.equal(0, edge.counts(zone).requests)
  end)

  it("has one deadline with the purge that it is for", function()
    local slow = { { match = "/zones?", times = 0, pass = true, delay = 0.6 },
      { match = "/environments?", times = 0, pass = true, delay = 0.6 } }
    for _, case in ipairs {
      -- Each of them alone would be in time.
      { { tags = TAGS, zone = about.name, environment = "staging" }, 1 },
      { { tags = TAGS, zone = about.name }, 1, 0.6 },
    } do
      edge.reset(zone)
      slow[3] = { times = 0, pass = true, delay = case[3] }
      edge.script(zone, slow)
      local client = named { default_headers = { ["X-Spec"] = zone } }
      local begun = core.now()
      local result, err = client:purge(case[1], { deadline = case[2] })
      assert.same({ nil, "timeout" }, { result, err and err.kind })
      assert.truthy(core.now() - begun < 15)
      assert.same(case[1].tags, err.remaining.tags)
    end
  end)

  it("that is being looked up can be cancelled", function()
    edge.script(zone, { { times = 0, hang = 20, delay = 20 } })
    local client, ended = named { zone = about.name }, {}
    local request = client:start({ tags = TAGS }, nil, function(_, err) ended[#ended + 1] = err end)
    client:step(0.01)
    assert.is_true(request:cancel())
    assert.same({ 1, "cancelled", TAGS }, { #ended, ended[1].kind, ended[1].remaining.tags })
    assert.equal(0, client:in_flight())
  end)

  it("that stands on two pages is one", function()
    local list = { success = true, errors = {}, messages = {}, result = { { id = zone, name = about.name } },
      result_info = { total_pages = 2 } }
    edge.script(zone, { { match = "/zones?", times = 2, json = list } })
    local client = named { zone = about.name, default_headers = { ["X-Spec"] = zone } }
    local result, err = client:purge { tags = TAGS }
    assert.equal(1, result and result.accepted, tostring(err))
    assert.equal(2, gets())
  end)

  it("is told by zones and environments, page by page", function()
    local client = named { zone_id = zone }
    local function page(n, id)
      return { match = "page=" .. n, headers = {}, json = { success = true, errors = {}, messages = {},
        result = { { id = id, name = id .. ".test" } }, result_info = { page = n, total_pages = 2 } } }
    end
    edge.script(zone, { page(1, "one"), page(2, "two") })
    assert.same({ { id = "one", name = "one.test" }, { id = "two", name = "two.test" } },
      client:zones { default_headers = { ["X-Spec"] = zone } })
    local expected = { { id = about.environments.production, name = "production" },
      { id = about.environments.staging, name = "staging" } }
    assert.same(expected, client:environments())
    assert.same(expected, named():environments(zone))
    assert.same(expected, named({ zone = about.name }):environments())
    assert.equal("zone_id", select(2, named():environments()).field)
    assert.equal("zone_id", select(2, client:environments "a/b").field)
    assert.same({ "not_found", "zone" }, (function(_, err) return { err.kind, err.field } end)(
      named({ zone = "nowhere.test" }):environments()))
    local stuck = named { zone_id = zone, loop = { wait = function() end, drive = function(of)
      if of:active() then return false, "nobody can wait here" end
    end } }
    for _, list in ipairs { stuck.zones, stuck.environments } do
      local found, err = list(stuck)
      assert.same({ nil, "invalid_request", "nobody can wait here", 0 }, { found, err.kind, err.message, stuck:in_flight() })
    end
    local other, its = edge.zone()
    expected[1].id, expected[2].id = its.environments.production, its.environments.staging
    assert.same(expected, client:environments(nil, { zone_id = other }))
    assert.same(expected, named():environments(nil, { zone = its.name }))
    assert.same(expected, client:environments(other, { zone = about.name }))
    assert.same({ "invalid_request", "zone" }, (function(_, err) return { err.kind, err.field } end)(
      client:environments(nil, { zone = its.name, zone_id = other })))
    for name, arguments in pairs { zones = { { timeout = "x" } }, environments = { nil, { timeout = "x" } } } do
      local ok, raised = pcall(client[name], client, arguments[1], arguments[2])
      assert.is_false(ok)
      assert.truthy(raised:find(("bad argument #%d to '%s' (timeout: number expected"):format(name == "zones" and 1 or 2,
        name), 1, true), raised)
    end
    client:close()
    assert.equal("closed", select(2, client:zones()).kind)
    assert.equal("closed", select(2, client:environments()).kind)
    assert.has_error(function() client:environments(5) end)
    assert.has_error(function() client:zones(5) end)
  end)
end)
