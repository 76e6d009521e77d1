-- plan = "auto": a budget for each plan of each account; share: a part of the plan. lua/cfpurge/plans, csrc/engine/budget.
local cfpurge = require "cfpurge"
local core = require "cfpurge.core"
local clients = require "spec.support.client"
local edge = require "spec.support.edge"

describe("plan = 'auto'", function()
  teardown(clients.close)

  local serial = 0
  local function account()
    serial = serial + 1
    return ("plan-%d-%s"):format(serial, tostring({}):match "%w+$")
  end

  local function client_of(options)
    local filled = { plan = "auto" }
    for name, value in pairs(options or {}) do filled[name] = value end
    return clients.without_zone(filled)
  end

  -- How many of `count` purges of one tag are not held back.
  local function let_go(client, zones, count)
    local ended = 0
    for i = 1, count do
      assert(client:start({ tags = { "t" .. i }, zone_id = zones[i % #zones + 1] }, nil, function(result)
        ended = ended + (result and 1 or 0)
      end))
    end
    local vain = 0
    while client:in_flight() > 0 and vain < 3 do
      local before = ended
      client:step(0.2)
      vain = ended == before and client:stats().running == 0 and client:stats().queued > 0 and vain + 1 or 0
    end
    client:cancel()
    return ended
  end

  it("reads each zone's plan once, and gives each plan of an account a budget", function()
    local mine = account()
    local free = { (edge.zone { plan = "free", account = mine }), (edge.zone { plan = "free", account = mine }) }
    local pro, other = edge.zone { plan = "business", account = mine }, edge.zone { plan = "free", account = account() }
    local client = client_of()
    -- 25 of the bucket, less what is kept back.
    local first = let_go(client, free, 60)
    assert.truthy(first >= 24 and first <= 25, first)
    assert.truthy(client:stats().buckets.requests.left < 2)
    assert.equal(40, let_go(client, { pro }, 40))
    local second = let_go(client, { other }, 60)
    assert.truthy(second >= 24 and second <= 25, second)
    assert.truthy(let_go(client, free, 5) <= 1)
    assert.same({ 1, 1, 1, 1 }, { edge.gets(free[1]), edge.gets(free[2]), edge.gets(pro), edge.gets(other) })
  end)

  it("is learnt for any number of zones, and only for those that can be purged", function()
    local client, inner = clients.beneath({ plan = "auto" }, nil, client_of)
    for i = 1, 100 do assert.is_true(inner:plan("zone" .. i % 50, "account", i % 2 == 0 and "pro" or "enterprise")) end
    assert.is_false(inner:plan("zone1", "account", "auto"))
    assert.is_false(inner:plan("zone1", "account", "none such"))
    assert.is_false(inner:plan("no/zone", "account", "pro"))
    client:close()
    assert.is_false(inner:plan("zone1", "account", "pro"))
    client, inner = clients.beneath { plan = "pro" }
    assert.is_false(inner:plan("zone1", "account", "pro"))
    client:close()
  end)

  it("is not met by a refusal where zones of two plans are purged at once", function()
    local mine = account()
    local zones = {}
    for i, plan in ipairs { "pro", "business" } do
      zones[i] = edge.zone { plan = plan, account = mine }
      edge.limits { zone = zones[i], plan = plan, overall = false, headers = false }
    end
    local client = client_of()
    local ended = 0
    for i = 1, 70 do
      assert(client:start({ tags = { "t" .. i }, zone_id = zones[i % 3 == 0 and 1 or 2] }, nil, function(result)
        ended = ended + (result and 1 or 0)
      end))
    end
    while client:step(1) > 0 do end
    assert.same({ 70, 0, 0 }, { ended, edge.counts(zones[1]).limited, edge.counts(zones[2]).limited })
  end)

  it("lets a request hold what the zone's plan allows", function()
    local zone, about = edge.zone { plan = "enterprise", account = account() }
    local free, its = edge.zone { plan = "free", account = account() }
    local list, other = {}, {}
    for i = 1, 1000 do
      list[i], other[i] = ("https://%s/%d"):format(about.name, i), ("https://%s/%d"):format(its.name, i)
    end
    local client = client_of()
    assert.equal(2, assert(client:purge { files = list, zone_id = zone }).requests)
    assert.equal(10, #assert(client:purge({ files = other, zone_id = free }, { dry_run = true })).requests)
    assert.equal(2, #assert(client:purge({ files = list, zone_id = zone }, { dry_run = true })).requests)
    client = client_of { zone_id = zone }
    assert.equal(2, assert(client:purge { files = list }).requests)
    client = client_of()
    assert.equal(2, assert(client:purge { files = list, zone = about.name }).requests)
    -- Its name has told the plan already.
    assert.equal(3, edge.gets(zone))
    client = client_of { zone = "auto", zone_id = nil, api_token = edge.token { zones = { zone, free } } }
    for i = 1, 1000 do list[1000 + i] = other[i] end
    assert.equal(12, assert(client:purge { files = list }).requests)
  end)

  it("purges as without a plan where the credential may not read it", function()
    local zone = edge.zone { plan = "free", account = account() }
    local client = client_of { api_token = edge.token { zones = { zone }, read = false } }
    assert.equal(60, let_go(client, { zone }, 60))
    assert.equal(1, edge.gets(zone))
    edge.reset(zone)
    edge.script(zone, { { status = 500, body = "{}" } })
    client = client_of { zone_id = zone }
    assert.truthy(client:purge { tags = { "a" } })
    assert.truthy(client:purge { tags = { "a" } })
    assert.truthy(client:purge { tags = { "a" } })
    -- What was no answer is asked again.
    assert.equal(2, edge.gets(zone))
    assert.truthy(client:stats().buckets.requests.left < 25)
  end)

  it("ends with those who wait for it", function()
    local zone = edge.zone { plan = "free", account = account() }
    for _, how in ipairs { "request", "client", "close" } do
      edge.reset(zone)
      edge.script(zone, { { times = 0, hang = 20, delay = 20 } })
      local client, ended = client_of { zone_id = zone }, {}
      local function on_done(_, err) ended[#ended + 1] = err.kind end
      local request = client:start({ tags = { "a" } }, nil, on_done)
      client:start({ tags = { "b" } }, nil, on_done)
      client:step(0.05)
      if how == "request" then
        assert.is_true(request:cancel())
        assert.same({ "cancelled" }, ended)
        client:cancel()
      else
        client[how == "client" and "cancel" or "close"](client)
      end
      local kind = how == "close" and "closed" or "cancelled"
      assert.same({ kind, kind }, ended)
      assert.equal(0, client:in_flight())
    end
  end)

  it("needs the Lua layer, and is one of five", function()
    local filled = clients.options()
    filled.plan = "auto"
    local _, err = assert(core.new(filled)):purge { tags = { "a" } }
    assert.equal("plan", err.field)
    filled.plan = "autos"
    assert.equal("plan", select(3, cfpurge.new(filled)).field)
  end)

  it("is divided by share, and by the workers of nginx", function()
    local zone = edge.zone()
    for share, expected in pairs { [1] = 25, [5] = 5 } do
      local client = client_of { plan = "free", zone_id = zone, share = share }
      assert.equal(expected, client:stats().buckets.requests.left)
    end
    local client = client_of { plan = "free", zone_id = zone, share = 5, rate = { requests_bucket = 20 } }
    assert.equal(20, client:stats().buckets.requests.left)
    local before = rawget(_G, "ngx")
    rawset(_G, "ngx", { worker = { count = function() return 5 end } })
    local ok, left = pcall(function()
      local of = {}
      for i, options in ipairs { { plan = "free" }, { plan = "free", share = 1 }, { plan = "auto" } } do
        options.zone_id, options.loop = zone, "blocking"
        of[i] = client_of(options):stats().buckets.requests.left or "none"
      end
      return of
    end)
    rawset(_G, "ngx", before)
    assert.same({ true, { 5, 25, "none" } }, { ok, left })
    local part = client_of { plan = "auto", share = 5 }
    local gone = let_go(part, { (edge.zone { plan = "free", account = account() }) }, 20)
    assert.truthy(gone >= 4 and gone <= 5, gone)
    assert.equal("share", select(3, cfpurge.new(clients.options { share = 0 })).field)
  end)
end)
