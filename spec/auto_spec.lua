-- zone = "auto": each file, host and prefix goes to the zone that it belongs to. lua/cfpurge/bulk/auto and sorter.
local cfpurge = require "cfpurge"
local clients = require "spec.support.client"
local core = require "cfpurge.core"
local edge = require "spec.support.edge"

describe("zone = 'auto'", function()
  teardown(clients.close)

  local serial = 0
  local function fresh(prefix)
    serial = serial + 1
    return ("%s%d-%s.test"):format(prefix or "auto", serial, tostring({}):match "%w+$")
  end

  -- Zones of these names, and a client whose token sees them alone.
  local function zones_of(names, options, more)
    local ids = {}
    for i, name in ipairs(names) do
      local about = { name = name }
      for key, value in pairs(more and more[i] or {}) do about[key] = value end
      ids[i] = edge.zone(about)
    end
    local filled = clients.options { zone_id = "unused", api_token = edge.token { zones = ids } }
    filled.zone_id, filled.zone, filled.max_retries = nil, "auto", 0
    for name, value in pairs(options or {}) do filled[name] = value end
    return ids, clients.keep(assert(cfpurge.new(filled)))
  end

  local function posts(zone)
    local bodies, gets = {}, 0
    for _, request in ipairs(edge.requests(zone)) do
      if request.method == "POST" then bodies[#bodies + 1] = request.body else gets = gets + 1 end
    end
    return bodies, gets
  end

  local function each(list)
    local i = 0
    return function()
      i = i + 1
      return list[i]
    end
  end

  it("takes the zone whose name is the longest suffix, in whole labels", function()
    local top = fresh()
    local names = { top, "blog." .. top, "x" .. top }
    local ids, client = zones_of(names)
    local result = assert(client:purge { files = {
      "https://" .. top .. "/a", "https://www." .. top:upper() .. ":8443/b?c", "https://blog." .. top .. "/c",
      { url = "http://img.blog." .. top .. "/d", headers = { ["CF-Device-Type"] = "mobile" } },
      "https://myblog." .. top .. "/e", "https://x" .. top .. "/f",
    } })
    assert.equal(6, result.accepted)
    local counts = {}
    for i, id in ipairs(ids) do counts[i] = edge.counts(id).items end
    assert.same({ 3, 2, 1 }, counts)
    assert.equal(2, assert(client:purge { hosts = { "blog." .. top, top } }).accepted)
    assert.equal(2, assert(client:purge { prefixes = { "blog." .. top .. "/x", "www." .. top .. "/y" } }).accepted)
    -- The list of zones was fetched once.
    assert.equal(1, select(2, posts(ids[1])) + select(2, posts(ids[2])) + select(2, posts(ids[3])))
    ids, client = zones_of { "xn--mnchen-3ya." .. top }
    for _, host in ipairs { "münchen." .. top, "www.MÜNCHEN." .. top .. ".", "xn--mnchen-3ya." .. top .. ".:80" } do
      local planned = assert(client:purge({ files = { "http://user:pw@x@" .. host .. "/" } }, { dry_run = true }))
      assert.matches(ids[1], planned.requests[1].path)
    end
  end)

  it("may be an option of the call, and stand in params; a zone that is named is preferred", function()
    local top = fresh()
    local ids, client = zones_of({ top, "b." .. top }, { zone = top })
    local url = "https://b." .. top .. "/"
    assert.truthy(client:purge({ files = { url } }, { zone = "auto" }))
    assert.truthy(client:purge { files = { url }, zone = "auto" })
    assert.same({ 0, 2 }, { edge.counts(ids[1]).items, edge.counts(ids[2]).items })
    assert.truthy(client:purge { tags = { "a" } })
    assert.equal(1, edge.counts(ids[1]).items)
    -- One that the token does not see is asked for all the same.
    local _, other = zones_of { fresh() }
    local before = #posts(ids[1])
    assert.is_nil((other:purge { tags = { "a" }, zone_id = ids[1] }))
    assert.equal(before + 1, #posts(ids[1]))
  end)

  for _, form in ipairs { "table", "iterator", "start" } do
    it("splits a mixed list of any length by zone: " .. form, function()
      local names = { fresh(), fresh(), fresh() }
      local ids, client = zones_of(names)
      local list = {}
      for i = 1, 3500 do list[i] = ("https://%s/%d"):format(names[i % 7 == 0 and 2 or i % 100 == 1 and 3 or 1], i) end
      local seen = 0
      local options = { on_progress = function(progress)
        assert.truthy(progress.sent <= (progress.total or math.huge) and progress.accepted >= seen)
        seen = progress.accepted
      end }
      local result
      if form == "start" then
        local request = assert(client:start({ files = list }, options))
        result = assert(request:wait())
      else
        result = assert(client:purge({ files = form == "table" and list or each(list) }, options))
      end
      assert.same({ 3500, 3500 }, { result.accepted, seen })
      assert.equal(#result.ids, result.requests)
      assert.truthy(result.requests <= 38, result.requests)
      local total = 0
      for _, id in ipairs(ids) do total = total + edge.counts(id).items end
      assert.equal(3500, total)
    end)
  end

  it("lets what belongs to no zone fail alone, before anything of a table is sent", function()
    local top = fresh()
    for _, form in ipairs { "table", "iterator" } do
      local ids, client = zones_of { top .. form, "b." .. top .. form }
      local good, bad = "https://" .. top .. form .. "/", "https://elsewhere.example/"
      local list = { good .. 1, bad .. 1, "https://b." .. top .. form .. "/2", bad .. 2, "https://other.example/3", good .. 4 }
      local result, err = client:purge { files = form == "table" and list or each(list) }
      assert.same({ nil, 3, 2 }, { result, err.accepted, #err.failures })
      assert.same({ bad .. 1, bad .. 2, "https://other.example/3" }, err.remaining.files)
      assert.equal("auto", err.remaining.zone)
      local cause = err.failures[1].error
      assert.same({ "not_found", "files[2]", "zone", 0 }, { cause.kind, cause.field, cause.about, cause.attempts })
      assert.matches("elsewhere%.example", cause.message)
      assert.same({ bad .. 1, bad .. 2 }, err.failures[1].items)
      assert.same({ 2, 1 }, { edge.counts(ids[1]).items, edge.counts(ids[2]).items })
      -- All of them.
      edge.reset(ids[1])
      result, err = client:purge { hosts = form == "table" and { "a.example" } or each { "a.example" } }
      assert.same({ nil, "not_found", { "a.example" }, 0 },
        { result, err.kind, err.remaining.hosts, edge.counts(ids[1]).requests })
    end
  end)

  it("accounts for what a zone refuses, in the list's order", function()
    local names = { fresh(), fresh(), fresh() }
    for _, form in ipairs { "table", "iterator" } do
      local refuses, list, bad = {}, {}, {}
      for i = 1, 600 do
        list[i] = ("https://%s/%s/%d"):format(names[i % 3 + 1] .. form, form, i)
        if i % 97 == 0 then refuses[#refuses + 1] = list[i] end
        if i % 97 == 0 or i % 3 == 1 then bad[#bad + 1] = list[i] end
      end
      local tops = { names[1] .. form, names[2] .. form, names[3] .. form }
      local ids, client = zones_of(tops, nil, { { refuses = refuses }, {}, { refuses = refuses } })
      edge.script(ids[2], { { match = "purge_cache", times = 0, status = 403, json = { success = false, messages = {},
        errors = { { code = 10000, message = "Authentication error" } } } } })
      local result, err = client:purge { files = form == "table" and list or each(list) }
      assert.same({ nil, 600 - #bad }, { result, err.accepted })
      assert.same(bad, err.remaining.files)
      -- A zone that refuses all is not asked for each hundred of its items.
      assert.truthy(edge.counts(ids[2]).requests <= 9)
      assert.equal(600 - #bad, edge.counts(ids[1]).items + edge.counts(ids[3]).items)
    end
  end)

  it("stops at what no zone can escape", function()
    local names = { fresh(), fresh() }
    local ids, client = zones_of(names, { max_in_flight = 2 })
    local list = {}
    for i = 1, 2000 do list[i] = ("https://%s/%d"):format(names[i % 2 + 1], i) end
    for _, id in ipairs(ids) do
      edge.script(id, { { match = "purge_cache", times = 0, status = 401, json = { success = false, messages = {},
        errors = { { code = 10001, message = "no" } } } } })
    end
    local result, err = client:purge { files = list }
    assert.same({ nil, "authentication", list }, { result, err.kind, err.remaining.files })
    assert.truthy(edge.counts(ids[1]).requests + edge.counts(ids[2]).requests <= 4)
    for _, id in ipairs(ids) do
      edge.reset(id)
      edge.script(id, { { match = "purge_cache", times = 0, status = 503, body = "{}" } })
    end
    result, err = client:purge { files = each(list) }
    assert.same({ nil, "server" }, { result, err.kind })
    local again, i = err.remaining.files, 0
    for item in again do
      i = i + 1
      assert.equal(list[i], item)
    end
    assert.same({ 2000, true }, { i, edge.counts(ids[1]).requests + edge.counts(ids[2]).requests <= 6 })
  end)

  it("is cancelled, closed and timed out as any list", function()
    local names = { fresh(), fresh() }
    local ids, client = zones_of(names, { timeout = 20 })
    local list = {}
    for i = 1, 1500 do list[i] = ("https://%s/%d"):format(names[i % 2 + 1], i) end
    for _, id in ipairs(ids) do edge.script(id, { { match = "purge_cache", times = 0, hang = 20, delay = 20 } }) end
    for _, how in ipairs { "request", "client", "close", "deadline", "early" } do
      local ended = {}
      local request = assert(client:start({ files = list }, { deadline = how == "deadline" and 0.5 or nil },
        function(_, err) ended[#ended + 1] = err end))
      if how ~= "early" then
        for _ = 1, 10 do client:step(0.02) end
      end
      if how == "request" or how == "early" then assert.is_true(request:cancel()) end
      local cancelled = how == "client" and client:cancel()
      if how == "close" then client:close() end
      if how == "deadline" then request:wait() end
      assert.equal(1, #ended)
      assert.equal(({ close = "closed", deadline = "timeout" })[how] or "cancelled", ended[1].kind)
      assert.same(list, ended[1].remaining.files)
      if cancelled then assert.same({ 1, ended[1] }, { #cancelled, cancelled[1] }) end
      assert.same({ how, 0 }, { how, client:step(0) })
      if how == "close" then
        local filled = clients.options { zone_id = "unused", api_token = edge.token { zones = ids } }
        filled.zone_id, filled.zone = nil, "auto"
        client = clients.keep(assert(cfpurge.new(filled)))
      end
    end
  end)

  it("is refused for what has no host, and with an environment", function()
    local ids, client = zones_of { fresh() }
    for _, case in ipairs {
      { { tags = { "a" } }, "zone" }, { { tags = each { "a" } }, "zone" }, { { purge_everything = true }, "zone" },
      { { hosts = { "a.test" }, environment = "staging" }, "environment" },
      { { hosts = { "a.test" }, environment_id = "0123" }, "environment" },
      { { hosts = { "a b" } }, "hosts[1]" }, { { hosts = {} }, "hosts" },
    } do
      local result, err = client:purge(case[1])
      assert.same({ nil, "invalid_request", case[2] }, { result, err.kind, err.field })
      assert.equal(case[1].tags or case[1].hosts, err.remaining.tags or err.remaining.hosts)
    end
    assert.same({ nil, "zone" }, (function(list, err) return { list, err.field } end)(client:environments()))
    assert.equal(0, edge.counts(ids[1]).requests)
  end)

  it("tells the requests of a dry run", function()
    local names = { fresh(), fresh() }
    local ids, client = zones_of(names)
    local list = {}
    for i = 1, 250 do list[i] = ("https://%s/%d"):format(names[i % 5 == 0 and 2 or 1], i) end
    for _, files in ipairs { list, each(list) } do
      local result = assert(client:purge({ files = files }, { dry_run = true }))
      assert.same({ 250, 3 }, { result.items, #result.requests })
      local count = {}
      for _, request in ipairs(result.requests) do
        local id = request.path:match "/zones/([^/]+)/"
        count[id] = (count[id] or 0) + request.items
      end
      assert.same({ [ids[1]] = 200, [ids[2]] = 50 }, count)
    end
    local result, err = client:purge({ hosts = { "a.example" } }, { dry_run = true })
    assert.same({ nil, "not_found" }, { result, err.kind })
    result, err = client:purge({ hosts = each {} }, { dry_run = true })
    assert.same({ nil, "invalid_request", "hosts", {} }, { result, err.kind, err.field, err.remaining.hosts })
    assert.equal(0, edge.counts(ids[1]).accepted + edge.counts(ids[2]).accepted)
  end)

  it("forgets its zones where the API denies one", function()
    local top = fresh()
    local ids, client = zones_of { top, fresh() }
    local params = { hosts = { "a." .. top } }
    assert.equal(1, assert(client:purge(params)).accepted)
    edge.change(ids[1], { gone = 404 })
    local second = edge.zone { name = top }
    assert.is_nil((client:purge(params)))
    local result, err = client:purge(params)
    -- The token does not see the new one.
    assert.same({ nil, "not_found", 0 }, { result, err.kind, edge.counts(second).requests })
    edge.change(ids[1], { gone = false })
    assert.is_nil((client:purge(params)))
    -- Later, when a zone may be new.
    local now = core.now
    core.now = function() return now() + 100 end
    local purged = client:purge(params)
    core.now = now
    assert.is_nil(purged)
    assert.equal(1, assert(client:purge(params)).accepted)
  end)

  it("finds a zone that was made below one that it knows, a minute later, where that one refuses the item", function()
    local top = fresh()
    local url = "https://new." .. top .. "/"
    local below = edge.zone { name = "new." .. top, gone = 404 }
    local above = edge.zone { name = top, refuses = { url } }
    local filled = clients.options { zone_id = "unused", api_token = edge.token { zones = { above, below } } }
    filled.zone_id, filled.zone = nil, "auto"
    local client = clients.keep(assert(cfpurge.new(filled)))
    assert.is_nil((client:purge { files = { url } }))
    edge.change(below, { gone = false })
    assert.is_nil((client:purge { files = { url } }))
    local now = core.now
    core.now = function() return now() + 100 end
    local purged = client:purge { files = { url } }
    core.now = now
    assert.is_nil(purged)
    assert.equal(1, assert(client:purge { files = { url } }).accepted)
    assert.equal(1, edge.counts(below).items)
  end)

  it("waits for room where the client has little", function()
    local names = { fresh(), fresh() }
    local ids, client = zones_of(names, { max_queued = 2 })
    local list = {}
    for i = 1, 900 do list[i] = ("https://%s/%d"):format(names[i % 2 + 1], i) end
    assert.equal(900, assert(client:purge { files = list }).accepted)
    assert.equal(900, edge.counts(ids[1]).items + edge.counts(ids[2]).items)
  end)

  it("finds a zone among 50,000 by a few looks", function()
    local sorters = require "cfpurge.bulk.sorter"
    local index = { by_name = {} }
    for i = 1, 50000 do index.by_name["z" .. i .. ".test"] = { { id = "z" .. i, status = "active" } } end
    local sorter = sorters.new("files", index, function() return 100 end)
    local begun = os.clock()
    for i = 1, 20000 do assert(sorter:add("https://www.z" .. (i * 7 % 50000 + 1) .. ".test/", i)) end
    assert.truthy(os.clock() - begun < 1)
    local held, bin = 0, sorter:next(false)
    while bin do
      held, bin = held + #bin.items, sorter:next(false)
    end
    assert.equal(10000, held)
  end)
end)
