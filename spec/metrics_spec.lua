-- client:metrics() and cfpurge.metrics: what Prometheus reads of a known run.
local cfpurge = require "cfpurge"
local api = require "spec.support.api"
local clients = require "spec.support.client"
local edge = require "spec.support.edge"
local elsewhere = require "spec.support.where"
local host = require "spec.support.host"
local prometheus = require "spec.support.prometheus"

local function outcome(is, what, name)
  return is[('cfpurge_%s_total{outcome="%s"}'):format(what, name)]
end

describe("a client's metrics", function()
  teardown(function()
    clients.close()
    api.stop()
  end)

  it("count what the API has seen", function()
    local zone, about = edge.zone()
    local page = ("https://%s/"):format(about.name)
    local client = clients.new { zone_id = zone, plan = "pro", max_retries = 2, isolate = false }
    local fresh = prometheus.read(client:metrics())
    assert.same({ 0, 0, 25 }, { outcome(fresh, "requests", "accepted"), outcome(fresh, "items", "server"),
      fresh['cfpurge_budget_left{budget="pro",bucket="requests"}'] })
    edge.script(zone, {
      { match = '"late"', status = 429, headers = { ["Retry-After"] = "0" }, json = { success = false, errors = {} } },
      { match = '"down"', status = 503, body = "down", times = 3, headers = { ["Retry-After"] = "0" } },
      { match = '"bad"', status = 400, json = { success = false, errors = { { code = 1100, message = "too long" } } } },
    })
    assert(client:purge { tags = { "late", "a" } })
    assert.equal("server", select(2, client:purge { tags = { "down" } }).kind)
    assert.equal("bad_request", select(2, client:purge { tags = { "bad", "b", "c" } }).kind)
    assert(client:purge { files = { page, page } })
    assert(client:purge { purge_everything = true })
    assert.equal("invalid_request", select(2, client:purge { tags = {} }).kind)
    local counts, is = edge.counts(zone), prometheus.read(client:metrics())
    assert.same({ 3, 1, 1, 5 }, { outcome(is, "requests", "accepted"), outcome(is, "requests", "server"),
      outcome(is, "requests", "bad_request"), client:stats().finished })
    assert.same({ 5, 1, 3 }, { outcome(is, "items", "accepted"), outcome(is, "items", "server"),
      outcome(is, "items", "bad_request") })
    assert.same({ 8, 3, 1 }, { is.cfpurge_attempts_total, is.cfpurge_retries_total, is.cfpurge_rate_limited_total })
    assert.same({ 3, 8 }, { counts.accepted, counts.requests })
    assert.same({ 1, 3, 3 }, { is.cfpurge_connections_total, is['cfpurge_request_seconds_count{outcome="accepted"}'],
      is['cfpurge_request_seconds_bucket{outcome="accepted",le="60"}'] })
    local bytes = 0
    for _, request in ipairs(edge.requests(zone)) do bytes = bytes + #request.body end
    assert.equal(bytes, is.cfpurge_sent_bytes_total)
    assert.is_true(is['cfpurge_budget_left{budget="pro",bucket="requests"}'] < 21)
    assert.is_true(is['cfpurge_budget_left{budget="pro",bucket="urls"}'] > 1400)
  end)

  it("tell what is in flight, and where its seconds fall", function()
    local zone = edge.zone()
    local client = clients.new { zone_id = zone }
    edge.script(zone, { { delay = 0.3, pass = true } })
    local request = assert(client:start { tags = { "a" } })
    while client:stats().running == 0 do client:step(0.05) end
    assert.equal(1, prometheus.read(client:metrics())['cfpurge_in_flight_requests{state="running"}'])
    request:wait()
    local is = prometheus.read(client:metrics())
    local function within(le)
      return is[('cfpurge_request_seconds_bucket{outcome="accepted",le="%s"}'):format(le)]
    end
    assert.same({ 0, 0, 1, 1 }, { is['cfpurge_in_flight_requests{state="running"}'], within "0.25", within "60",
      within "+Inf" })
    assert.is_true(is['cfpurge_request_seconds_sum{outcome="accepted"}'] > 0.25)
  end)

  -- Where the server turns out to speak HTTP/1.1 alone, requests that were begun go back to their queue.
  it("never count backwards", function()
    if elsewhere "engine" then return end
    local server = api.start { alpn = "http/1.1", delay = 0.05 }
    local client = api.client(server, { max_connections = 5 })
    for _, tag in ipairs(api.tags(40)) do client:start { tags = { tag } } end
    local before, reads = {}, 0
    repeat
      local in_flight = client:step(0.01)
      local is = prometheus.read(client:metrics())
      reads = reads + 1
      for series, value in pairs(is) do
        if series:find "_total" or series:find "_seconds_" then
          assert.is_true(value >= (before[series] or 0), series)
          before[series] = value
        end
      end
    until in_flight == 0
    assert.is_true(reads > 5)
    assert.equal(40, before.cfpurge_attempts_total)
  end)

  it("begin anew in a forked child, and go on in the parent", function()
    if elsewhere "engine" then return end
    local zone = edge.zone()
    local report = host.run([[
      local c = client.new { zone_id = args.zone }
      assert(c:purge { tags = { "a" } })
      c:start { tags = { "b" } }
      local path = os.tmpname()
      local pid = system.fork()
      if pid == 0 then
        local file = io.open(path, "w")
        file:write(c:metrics())
        assert(c:purge { tags = { "c" } })
        file:write(c:metrics())
        file:close()
        os.exit(0, true)
      end
      system.wait(pid)
      while c:step(1) > 0 do end
      local child = io.open(path):read "*a"
      os.remove(path)
      return { child = child, parent = c:metrics() }]], { args = { zone = zone } })
    local first = report.child:find("# HELP cfpurge_requests_total", 2, true)
    local child, later = prometheus.read(report.child:sub(1, first - 1)), prometheus.read(report.child:sub(first))
    assert.same({ 0, 0, 1 }, { outcome(child, "requests", "accepted"), outcome(child, "requests", "closed"),
      outcome(later, "requests", "accepted") })
    assert.equal(2, outcome(prometheus.read(report.parent), "requests", "accepted"))
  end)

  it("name a budget by its account and plan, and no zone", function()
    local zone, about = edge.zone { plan = "business", account = ("ac"):rep(16) }
    local client = clients.new { plan = "auto" }
    assert(client:purge({ tags = { "a" } }, { zone_id = zone }))
    local text = client:metrics()
    local left = prometheus.read(text)[('cfpurge_budget_left{budget="%s/business",bucket="requests"}'):format(about.account)]
    assert.is_true(left and left < 50 and left > 45)
    assert.is_nil(text:find(zone, 1, true))
    assert.same({ 10, 50 }, { client:stats().buckets.requests.rate, math.ceil(client:stats().buckets.requests.left) })
    -- A zone whose account is not told has one of its own.
    edge.script(zone, { { json = { success = true, result = { id = zone, name = about.name,
      status = "active", plan = { legacy_id = "pro" } } } } })
    client = clients.new { plan = "auto", zone_id = zone }
    assert(client:purge { tags = { "a" } })
    assert.is_nil(client:metrics():find(zone, 1, true))
  end)

  it("have the caller's labels, and refuse what is none", function()
    local client = clients.new()
    local is = prometheus.read(client:metrics { worker = 0 })
    assert.equal(0, is['cfpurge_requests_total{worker="0",outcome="accepted"}'])
    local text, err = client:metrics { outcome = "x" }
    assert.same({ nil, "invalid_request", "labels.outcome" }, { text, err.kind, err.field })
    assert.has_error(function() client:metrics(1) end,
      "bad argument #1 to 'metrics' (labels: table expected, got number)")
    assert.has_error(function() client.metrics {} end, "bad argument #1 to 'metrics' (cfpurge client expected)")
    client:close()
    prometheus.read(client:metrics())
  end)

  it("of several are one page", function()
    local one, two = clients.new(), clients.new()
    local a, b = one:metrics { client = "a" }, two:metrics { client = "b" }
    local is = prometheus.read(cfpurge.metrics { a, b, a })
    assert.same({ 0, 0 }, { is['cfpurge_retries_total{client="a"}'], is['cfpurge_retries_total{client="b"}'] })
    assert.equal(#a, #cfpurge.metrics { a, a })
    assert.equal("", cfpurge.metrics {})
    assert.has_error(function() cfpurge.metrics(a) end, "bad argument #1 to 'metrics' (table expected, got string)")
    assert.has_error(function() cfpurge.metrics { a, 1 } end,
      "bad argument #1 to 'metrics' ([2]: string expected, got number)")
  end)
end)
