-- Zones as the API tells of them: their names in any form, several of one name, what is forgotten. lua/cfpurge/names and zones.
local core = require "cfpurge.core"
local clients = require "spec.support.client"
local edge = require "spec.support.edge"

local TAGS = { "a" }

describe("a zone", function()
  teardown(clients.close)

  local serial = 0
  local function fresh_name(prefix)
    serial = serial + 1
    return ("%s%d-%s.test"):format(prefix or "n", serial, tostring({}):match "%w+$")
  end

  local client_of = clients.without_zone

  it("is found by its name in any case, and with a final dot", function()
    local name = fresh_name()
    local zone = edge.zone { name = name }
    local client = client_of()
    for _, form in ipairs { name:upper(), name .. ".", name, name:upper() .. "." } do
      assert.equal(1, assert(client:purge { tags = TAGS, zone = form }).accepted)
    end
    assert.same({ 4, 1 }, { edge.counts(zone).accepted, edge.gets(zone) })
    -- A server that answers in another form.
    edge.script(zone, { { match = "/zones?", json = { success = true, errors = {}, messages = {},
      result = { { id = zone, name = name:upper() .. "." } } } } })
    assert.equal(1, assert(client_of { zone = name }:purge { tags = TAGS }).accepted)
  end)

  it("of an internationalised name is found by its A-label", function()
    local tail = fresh_name "x"
    local zone = edge.zone { name = "xn--mnchen-3ya." .. tail }
    local client = client_of()
    for _, form in ipairs { "münchen." .. tail, "MÜNCHEN." .. tail .. ".", "xn--mnchen-3ya." .. tail } do
      assert.equal(1, assert(client:purge { tags = TAGS, zone = form }).accepted)
    end
    assert.same({ 3, 1 }, { edge.counts(zone).accepted, edge.gets(zone) })
    local result, err = client:purge { tags = TAGS, zone = "\255." .. tail }
    assert.same({ nil, "invalid_request", "zone", 0 }, { result, err.kind, err.field, err.attempts })
    assert.matches("A%-label %(xn%-%-%.%.%.%)", err.message)
  end)

  it("that shares its name is the active one, or is refused with the ids of all", function()
    local name = fresh_name()
    local moved = edge.zone { name = name, status = "moved", account = "first" }
    local active = edge.zone { name = name, status = "active", account = "second" }
    local client = client_of { zone = name }
    assert.equal(1, assert(client:purge { tags = TAGS }).accepted)
    assert.same({ 0, 1 }, { edge.counts(moved).accepted, edge.counts(active).accepted })
    local third = edge.zone { name = name, status = "active", account = "third" }
    local params = { tags = TAGS, zone = name }
    local result, err = client_of():purge(params)
    assert.same({ nil, "invalid_request", "zone", params }, { result, err.kind, err.field, err.remaining })
    for _, word in ipairs { moved .. " %(moved, account Account first%)", active .. " %(active", third } do
      assert.matches(word, err.message)
    end
    name = fresh_name()
    for _ = 1, 2 do edge.zone { name = name, status = "pending" } end
    assert.equal("invalid_request", select(2, client_of():purge { tags = TAGS, zone = name }).kind)
    name = fresh_name()
    assert.equal(1, assert(client_of():purge { tags = TAGS,
      zone = edge.zone { name = name, status = "pending" } and name }).accepted)
  end)

  it("whose id the API denies is looked up again by the next call", function()
    local list = {}
    for i = 1, 250 do list[i] = "t" .. i end
    for _, denied in ipairs { 403, 404 } do
      for _, tags in ipairs { TAGS, list } do
        local name = fresh_name()
        local first = edge.zone { name = name }
        local client = client_of { zone = name }
        assert.equal(1, assert(client:purge { tags = TAGS }).accepted)
        edge.change(first, { gone = denied })
        local second = edge.zone { name = name }
        local result, err = client:purge { tags = tags }
        assert.same({ nil, tags, 0 }, { result, err.remaining.tags, edge.gets(second) })
        assert.equal(#tags, assert(client:purge { tags = tags }).accepted)
        assert.equal(#tags, edge.counts(second).items)
      end
    end
    -- What is refused for another reason costs no look-up.
    local name = fresh_name()
    local zone = edge.zone { name = name, refuses = { "bad" } }
    local client = client_of { zone = name }
    for _ = 1, 2 do assert.is_nil((client:purge { tags = { "bad" } })) end
    assert.equal(1, edge.gets(zone))
  end)

  it("is told of with its status, account and plan", function()
    local about = {}
    for i, plan in ipairs { "free", "enterprise" } do
      local id, zone = edge.zone { plan = plan, account = "acme", status = i == 1 and "pending" or "active" }
      about[i] = { id = id, name = zone.name, status = i == 1 and "pending" or "active", plan = plan,
        account = { id = "acme", name = "Account acme" } }
    end
    local token = edge.token { zones = { about[1].id, about[2].id } }
    assert.same(about, client_of { api_token = token, zone_id = "x" }:zones())
  end)

  it("is looked up by start_zones and start_environments, which never wait", function()
    local zone, about = edge.zone()
    local token = edge.token { zones = { zone } }
    local client = client_of { api_token = token, zone_id = zone, loop = "blocking" }
    local seen = {}
    local function note(list, err) seen[#seen + 1] = list and #list or err.kind end
    local requests = { client:start_zones(note), client:start_zones({ timeout = 5 }, note),
      client:start_environments(nil, note), client:start_environments(zone, nil, note), client:start_zones() }
    assert.same({ 5, {} }, { client:in_flight(), seen })
    while client:step(1) > 0 do end
    table.sort(seen)
    assert.same({ 1, 1, 2, 2 }, seen)
    assert.equal(about.name, requests[1]:result()[1].name)
    assert.equal(zone, requests[5]:wait()[1].id)
    requests[6] = client:start_zones(note)
    assert.is_true(requests[6]:cancel())
    assert.same({ "cancelled", 0 }, { seen[5], client:in_flight() })
    local request, err = client:start_environments("a/b", note)
    assert.same({ nil, "invalid_request", "zone_id" }, { request, err.kind, err.field })
    for _, call in ipairs {
      { "start_zones", "argument #1 to 'start_zones' (table", 5 },
      { "start_zones", "argument #2 to 'start_zones' (on_done", nil, 5 },
      { "start_zones", "argument #1 to 'start_zones' (timeout", { timeout = "x" } },
      { "start_environments", "argument #1 to 'start_environments' (zone_id", 5 },
      { "start_environments", "argument #2 to 'start_environments' (timeout", nil, { timeout = "x" } },
      { "start_environments", "argument #3 to 'start_environments' (on_done", nil, nil, 5 },
    } do
      local ok, raised = pcall(client[call[1]], client, call[3], call[4], call[5])
      assert.is_false(ok)
      assert.truthy(raised:find(call[2], 1, true), raised)
    end
    client:close()
    client:start_zones(note)
    assert.equal("closed", seen[6])
  end)

  it("has an ASCII form of its name only where it is a name", function()
    assert.equal("xn--bcher-kva.example", core.ascii_host "bücher.example")
    for _, name in ipairs { "", "a b", "ü ü.test", ("ü"):rep(200), "\195.test" } do
      assert.is_nil(core.ascii_host(name))
    end
  end)
end)
