-- Held back by the plan and by what the server says: csrc/base/pacer, alone with a clock of its own (spec/hosts/pacer.c), and
-- in the client against the edge's own buckets.
local elsewhere = require "spec.support.where"
if elsewhere "once text" then return end

local cfpurge = require "cfpurge"
local core = require "cfpurge.core"
local edge = require "spec.support.edge"
local clients = require "spec.support.client"
local host = require "spec.support.host"

local plans = {
  free = { requests = 5 / 60, requests_bucket = 25, urls = 800, urls_bucket = 800 },
  pro = { requests = 5, requests_bucket = 25, urls = 1500, urls_bucket = 1500 },
  business = { requests = 10, requests_bucket = 50, urls = 1500, urls_bucket = 1500 },
  enterprise = { requests = 50, requests_bucket = 500, urls = 3000, urls_bucket = 3000 },
}

-- The plan on a clock that runs `factor` times faster; the windows over all calls off.
local function rates(plan, factor)
  local of = plans[plan]
  return { requests = of.requests * factor, requests_bucket = of.requests_bucket, urls = of.urls * factor,
    urls_bucket = of.urls_bucket, overall = 0, address = 0 }
end

local function json(code) return { success = false, errors = { { code = code, message = "slow down" } } } end

local function tags(count)
  local list = {}
  for i = 1, count do list[i] = "t" .. i end
  return list
end

local function urls(count, name)
  local list = {}
  for i = 1, count do list[i] = "https://" .. name .. "/" .. i end
  return list
end

describe("the pacer alone", function()
  it("never lets more go than it may, never sleeps for ever, and heeds the server", function()
    local to = host.dir() .. "/pacer-" .. tostring({}):match "%w+$"
    local cc = "cc -std=c11 -Icsrc -Wall -Wextra -Werror " .. host.flags
    -- One after the other: gcov would take both files of this name for one.
    local pipe = io.popen(("exec 2>&1; mkdir -p %s; %s -c -o %s.o csrc/base/pacer.c && %s -o %s spec/hosts/pacer.c %s.o "
      .. "csrc/base/memory.c -lm && %s; echo status $?"):format(host.dir(), cc, to, cc, to, to, to))
    local said = pipe:read "*a"
    pipe:close()
    local bad = {}
    for line in said:gmatch "[^\n]+" do
      if not line:find ": ok$" and line ~= "status 0" then bad[#bad + 1] = line end
    end
    assert.same({}, bad)
    local _, count = said:gsub(": ok\n", "")
    assert.equal(68, count)
  end)
end)

describe("by the plan", function()
  teardown(clients.close)

  -- Sends what 60 s of the plan allow; how much of what the bucket allowed until the end, and how often it was refused.
  local function run(plan, kind, factor, settings)
    settings = settings or {}
    local zone, about = edge.zone()
    local of = plans[plan]
    local rate, bucket = of[kind], of[kind .. "_bucket"]
    local size = kind == "urls" and (plan == "enterprise" and 500 or 100) or 1
    local count = math.floor((bucket + rate * 60 + 1e-6) / size) * size
    edge.limits { zone = zone, plan = plan, factor = factor, overall = false, headers = settings.headers or false }
    local client = clients.new { zone_id = zone, plan = plan, rate = rates(plan, factor), max_retries = 0 }
    local list = kind == "urls" and urls(count, about.name) or tags(count)
    return client, { max_items = size }, list, kind == "urls" and "files" or "tags", function(result, prepared, stood)
      local counts = edge.counts(zone)
      assert.same({ count, count }, { result.accepted, counts.items })
      local share = count / (bucket + rate * (result.elapsed - prepared) * factor)
      if os.getenv "CFPURGE_FIGURES" then
        print(("%-10s %-8s %.1f%% in %.2f s, %d refused"):format(plan, kind, share * 100, result.elapsed, counts.limited))
      end
      assert.equal(0, counts.limited, plan .. " " .. kind)
      assert.truthy(share <= 1.001, ("%s %s: %.1f%%"):format(plan, kind, share * 100))
      share = count / (bucket + rate * (result.elapsed - prepared - stood) * factor)
      return share, ("%s %s: %.1f%%"):format(plan, kind, share * 100)
    end
  end

  -- All of `runs` at once, one client each. -> the smallest share and whose it is
  local function once(runs)
    local requests = {}
    for i, args in ipairs(runs) do
      local client, options, list, kind, check = run(args[1], args[2], args[3], args[4])
      requests[i] = { client = client, check = check, params = { [kind] = list }, options = options }
    end
    -- Only now: what was started goes out when it is stepped.
    for _, one in ipairs(requests) do
      one.began = core.now()
      one.request = assert(one.client:start(one.params, one.options))
    end
    local begun, stood = core.now(), 0
    local busy
    repeat
      busy = false
      local before = core.now()
      local least = 0.02
      for _, one in ipairs(requests) do
        if not one.request:done() then
          busy = true
          least = math.min(least, one.client:timeout() or least)
        end
      end
      for i, one in ipairs(requests) do
        if not one.request:done() then one.client:step(i == 1 and least or 0) end
      end
      if requests[1].request:done() and busy then
        for _, one in ipairs(requests) do
          if not one.request:done() then
            one.client:step(least)
            break
          end
        end
      end
      -- Steps of 0.02 s that took as long as that: the machine stood still.
      local took = core.now() - before
      if took > 0.1 then stood = stood + took end
    until not busy
    local least, whose = math.huge, nil
    for _, one in ipairs(requests) do
      local share, name = one.check(assert(one.request:result()), begun - one.began, stood)
      if share < least then least, whose = share, name end
    end
    return least, whose
  end

  -- What a busy machine takes away is not the pacer's doing: it has five tries to reach the mark.
  local function reach(mark, try, how)
    host.tries(function()
      local share, whose = try(how)
      -- No clocks where the memory is watched.
      return share >= mark or host.watched, whose or share
    end)
  end

  it("everything that the request buckets allow goes, and nothing is refused", function()
    reach(0.98, once, { { "free", "requests", 6 }, { "pro", "requests", 6 }, { "business", "requests", 6 } })
  end)

  it("and where much is allowed", function()
    if _VERSION ~= "Lua 5.4" then return end -- long
    reach(0.98, once, { { "enterprise", "requests", 6 } })
  end)

  it("and so it is for URLs", function()
    if _VERSION ~= "Lua 5.4" then return end -- long
    reach(0.98, once,
      { { "free", "urls", 2 }, { "pro", "urls", 2 }, { "business", "urls", 2 }, { "enterprise", "urls", 2 } })
  end)

  it("the window over all calls is kept, and that of the address", function()
    local zone = edge.zone()
    edge.limits { zone = zone, plan = "enterprise", factor = 100, headers = false }
    -- The edge's 1200 in 300 s and 200 a second are 1200 in 3 s here; ours counts 5 minutes, so the list is shorter.
    local client = clients.new { zone_id = zone, rate = { overall = 30, address = 10 } }
    local result = assert(client:purge({ tags = tags(25) }, { max_items = 1 }))
    assert.truthy(result.elapsed >= 2.2 and result.elapsed < 15, result.elapsed)
    local err = select(2, client:purge({ tags = tags(8) }, { max_items = 1, deadline = 1.5 }))
    assert.same({ "partial", 5, 3 }, { err.kind, err.accepted, #err.remaining.tags })
    assert.same({ 30, 0 }, { edge.counts(zone).requests, edge.counts(zone).limited })
  end)

  -- Two clients of one account, which send so much each; how much of what the bucket allowed until the end.
  local function shared(count)
    local account = ("shared%.6f"):format(core.now())
    local zone, other = edge.zone { account = account }, edge.zone { account = account }
    -- By the real clock: a whole-second Retry-After would stand for many seconds of a faster one.
    edge.limits { zone = zone, plan = "enterprise", factor = 1, overall = false }
    local code = ([[
      local clients = require "cfpurge"
      local client = assert(clients.new { api_token = "%s", zone_id = "%s", base_url = "%s", max_retries = 5,
        plan = "enterprise", rate = { requests = 50, requests_bucket = 500, overall = 0, address = 0 } })
      local list = {}
      for i = 1, %d do list[i] = "o" .. i end
      local result, err = client:purge({ tags = list }, { max_items = 1 })
      io.write(result and result.accepted or tostring(err))
    ]]):format(edge.env.TOKEN, other, edge.env.API_HTTP, count)
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write(code)
    file:close()
    local child = io.popen((os.getenv "CFPURGE_LUA" or arg[-1]) .. " " .. path .. " 2>&1")
    local client = clients.new { zone_id = zone, plan = "enterprise", rate = rates("enterprise", 1), max_retries = 5 }
    local started = core.now()
    local result = assert(client:purge({ tags = tags(count) }, { max_items = 1 }))
    local said = child:read "*a"
    local elapsed = core.now() - started
    child:close()
    os.remove(path)
    assert.same({ count, tostring(count) }, { result.accepted, (said:gsub("%.0$", "")) })
    assert.same({ count, count }, { edge.counts(zone).items, edge.counts(other).items })
    local share = 2 * count / (500 + 50 * elapsed)
    if os.getenv "CFPURGE_FIGURES" then
      print(("two clients: %.1f%% in %.2f s, %d refused"):format(share * 100, elapsed,
        edge.counts(zone).limited + edge.counts(other).limited))
    end
    return share
  end

  it("a second client that eats half of the budget costs nothing but time", function()
    reach(0.95, shared, 400)
  end)

  it("zones share the buckets of their client", function()
    local client = clients.new { rate = { requests = 0.01, requests_bucket = 3 } }
    local other = edge.zone()
    local function left() return client:stats().buckets.requests.left end
    assert.equal(3, left())
    assert(client:purge { tags = { "a" } })
    assert(client:purge { tags = { "a" }, zone_id = other })
    assert.truthy(left() >= 1 and left() < 1.2)
    assert.truthy(client:stats().buckets.requests.wait < 0.1)
    assert.is_nil(client:stats().buckets.urls.left)
    assert(client:purge({ tags = { "a" }, zone_id = other }, { deadline = 20 }))
    assert.truthy(client:stats().buckets.requests.wait > 1)
    local err = select(2, client:purge({ tags = { "a" } }, { deadline = 0.1 }))
    assert.same({ "timeout", 0 }, { err.kind, err.attempts })
    assert.same({ "a" }, err.remaining.tags)
  end)

  it("heeds every line of Ratelimit", function()
    for i, lines in ipairs { { '"other";r=500;t=1', '"default";r=0;t=30' }, { '"default";r=0;t=30', '"other";r=500;t=1' } } do
      local client, zone = clients.new()
      edge.script(zone, { { wire = true, headers = { { "Ratelimit", lines[1] }, { "Ratelimit", lines[2] } },
        body = clients.OK } })
      assert(client:purge { tags = { "a" } })
      local wait = client:stats().buckets.requests.wait
      assert.truthy(wait > 20 and wait <= 30, i .. ": " .. wait)
    end
  end)

  it("is as rate says, where it says it, and without either nothing is held back", function()
    local function left(options)
      local buckets = clients.new(options):stats().buckets
      return { buckets.requests.left or false, buckets.urls.left or false }
    end
    assert.same({ false, false }, left())
    assert.same({ 25, 1500 }, left { plan = "pro" })
    assert.same({ 500, 3000 }, left { plan = "enterprise" })
    assert.same({ 7, 1500 }, left { plan = "pro", rate = { requests_bucket = 7 } })
    assert.same({ 25, false }, left { plan = "pro", rate = { urls = 0 } })
    assert.same({ 9, false }, left { rate = { requests = 9 } })
    for field, options in pairs { plan = { plan = "gold" }, rate = { rate = { nope = 1 } },
      ["rate.urls"] = { rate = { urls = -1 } } } do
      local client, _, err = cfpurge.new((clients.options(options)))
      assert.same({ nil, "invalid_request", field }, { client, err.kind, err.field })
    end
    assert.has_error(function() cfpurge.new((clients.options { rate = { urls = "5" } })) end)
    assert.has_error(function() cfpurge.new((clients.options { rate = 5 })) end)
  end)

  it("waiting for a token counts toward the deadline and not toward the timeout", function()
    local client = clients.new { rate = { requests = 0.5, requests_bucket = 1 } }
    assert(client:purge { tags = { "a" } })
    local result = assert(client:purge({ tags = { "b" } }, { timeout = 0.8 }))
    assert.truthy(result.elapsed > 0.8 and result.elapsed < 15, result.elapsed)
    assert.equal("timeout", select(2, client:purge({ tags = { "c" } }, { deadline = 0.1 })).kind)
  end)
end)

describe("by the server's order", function()
  teardown(clients.close)

  local client, zone, name
  before_each(function()
    local about
    client, zone, about = clients.new()
    name = about.name
  end)

  -- Starts them, steps until all have ended; when each one ended, in seconds from now.
  local function ends(list)
    local at, started = {}, core.now()
    for i, one in ipairs(list) do
      assert(client:start(one[1], one[2], function(_, err) at[i] = { core.now() - started, err and err.kind, err } end))
    end
    repeat until client:step() == 0
    return at
  end

  local function late(status, code, headers)
    return { match = '"first"', status = status, headers = headers, json = code and json(code) or nil,
      body = not code and clients.OK or nil }
  end
  local FIRST, TAG, FILE = { tags = { "first" } }, { tags = { "b" } }, nil
  before_each(function() FILE = { files = { "https://" .. name .. "/" } } end)

  local function pass_first(answer)
    edge.script(zone, { answer })
    local ended
    client:start(FIRST, nil, function() ended = true end)
    repeat client:step(0.02) until ended or client:stats().waiting == 1
  end

  it("a 429 pauses its bucket and no other until Retry-After", function()
    pass_first(late(429, 971, { ["Retry-After"] = "4" }))
    assert.truthy(client:stats().buckets.requests.wait > 1)
    assert.equal(0, client:stats().buckets.urls.wait)
    local at = ends { { TAG }, { { hosts = { name } } }, { { purge_everything = true } }, { FILE } }
    for i = 1, 3 do assert.truthy(at[i][1] > 1 and at[i][1] < 20 and not at[i][2], i) end
    assert.truthy(at[4][1] < 3)
    assert.equal(6, edge.counts(zone).requests)
  end)

  it("10100 pauses all", function()
    pass_first(late(429, 10100, { ["Retry-After"] = "4" }))
    local at = ends { { TAG }, { FILE } }
    assert.truthy(at[1][1] > 1 and at[2][1] > 1)
    -- As a code, that is, and wherever it stands.
    pass_first { match = '"first"', status = 429, headers = { ["Retry-After"] = "4" }, json = { success = false,
      errors = { { code = 101001, message = "10100" }, { code = 971, message = '"code":"10100"' } } } }
    at = ends { { TAG }, { FILE } }
    assert.truthy(at[1][1] > 1 and at[2][1] < 3)
    pass_first { match = '"first"', status = 429, headers = { ["Retry-After"] = "4" },
      body = '{"success": false, "errors": [{"code": 971}, {"message": "x", "code" :\n10100}]}' }
    at = ends { { TAG }, { FILE } }
    assert.truthy(at[1][1] > 1 and at[2][1] > 1)
  end)

  it("Ratelimit with r=0 and a t longer than max_retry_wait is told of at once", function()
    local c, own = require("spec.support.client").new { max_retries = 0, max_retry_wait = 5 }
    edge.script(own, { { json = { success = true, result = { id = "x" } },
      headers = { Ratelimit = '"x";r=0;t=86400' } } })
    assert(c:purge { tags = { "a" } })
    local err = select(2, c:purge({ tags = { "b" } }, { deadline = 2 }))
    assert.equal("rate_limited", err.kind)
    assert.is_true(err.retry_after > 86000)
    c:close()
  end)

  it("Ratelimit with r=0 pauses until t, and a small r slows down", function()
    pass_first(late(200, nil, { Ratelimit = '"requests";r=0;t=4' }))
    local at = ends { { TAG }, { FILE } }
    assert.truthy(at[1][1] > 1 and at[1][1] < 20 and at[2][1] < 3)
    pass_first(late(200, nil, { Ratelimit = '"default";r=0;t=4', ["Ratelimit-Policy"] = '"default";q=5;w=1' }))
    at = ends { { TAG }, { FILE } }
    assert.truthy(at[1][1] > 1 and at[2][1] > 1)
    host.tries(function()
      pass_first(late(200, nil, { Ratelimit = '"requests";r=1;t=4' }))
      at = ends { { TAG } }
      assert.truthy(at[1][1] > 1.2, at[1][1])
      return at[1][1] < 3.6, at[1][1]
    end)
    pass_first(late(200, nil, { Ratelimit = '"requests";r=50;t=60' }))
    at = ends { { TAG } }
    assert.truthy(at[1][1] < 3)
  end)

  it("longer than max_retry_wait is an error, at once for those behind it too", function()
    edge.script(zone, { late(429, 971, { ["Retry-After"] = "600" }) })
    local _, err = client:purge(FIRST)
    assert.same({ "rate_limited", 600, 1 }, { err.kind, err.retry_after, err.attempts })
    local at = ends { { TAG }, { FILE } }
    assert.same({ "rate_limited", 0 }, { at[1][2], at[1][3].attempts })
    assert.truthy(at[1][1] < 2 and at[1][3].retry_after > 590 and at[1][3].retryable)
    assert.same(TAG.tags, at[1][3].remaining.tags)
    assert.is_nil(at[2][2])
    _, err = client:purge { tags = tags(450) }
    assert.same({ "rate_limited", 0, 450 }, { err.kind, err.accepted, #err.remaining.tags })
    assert.truthy(err.retry_after > 590)
    assert.equal(2, edge.counts(zone).requests)
  end)

  it("a long list goes on after a 429 that outlasts its retries", function()
    client = clients.new { zone_id = zone, max_retries = 0 }
    edge.script(zone, { { times = 6, status = 429, headers = { ["Retry-After"] = "0" }, json = json(971) } })
    local result = assert(client:purge { tags = tags(450) })
    assert.same({ 450, 450 }, { result.accepted, edge.counts(zone).items })
  end)
end)
