-- Metrics in real nginx: the location of lua/README.md tells of all workers, whichever answers; where those of a queue may be
-- asked for.
local elsewhere = require "spec.support.where"
if elsewhere "luajit" then return end

local edge = require "spec.support.edge"
local nginx = require "spec.hosts.nginx"
local prometheus = require "spec.support.prometheus"

local function accepted(is)
  local sum, workers = 0, 0
  for series, value in pairs(is) do
    if series:find '^cfpurge_requests_total{worker="%d",outcome="accepted"}$' then
      sum, workers = sum + value, workers + 1
    end
  end
  return sum, workers
end

describe("metrics in nginx", function()
  local it_runs

  after_each(function()
    assert.equal(0, it_runs:stop())
    assert.equal("", it_runs:problems())
  end)

  it("are those of all workers, in the README's location", function()
    local zone = edge.zone()
    it_runs = nginx.start(nginx.recipe(zone, 3))
    for i = 1, 12 do
      assert.equal("accepted: 1\n", nginx.receive(it_runs:request("/purge?tag=t" .. i)))
    end
    local function read() return prometheus.read(nginx.receive(it_runs:request "/metrics")) end
    nginx.wait_until(function()
      local sum, workers = accepted(read())
      return sum == 12 and workers == 3
    end)
    -- The next ones may be another worker's than the one that answers: it tells within the second.
    local before, asked = {}, 12
    nginx.wait_until(function()
      local is = read()
      for series, value in pairs(is) do
        assert.is_true(not series:find "_total" or value >= (before[series] or 0), series)
        before[series] = series:find "_total" and value or nil
      end
      if accepted(is) == asked then
        nginx.receive(it_runs:request "/purge?tag=u")
        asked = asked + 1
      end
      return asked == 15
    end)
    -- A new worker begins with 0, as Prometheus expects of a process that was started again.
    it_runs:signal "HUP"
    nginx.wait_until(function() return accepted(read()) == 0 end)
    nginx.receive(it_runs:request "/purge?tag=v")
    nginx.wait_until(function() return accepted(read()) == 1 end)
    assert.equal(16, edge.counts(zone).accepted)
  end)

  it("of a queue are there where it may wait, those of a client in every phase", function()
    local zone = edge.zone()
    it_runs = nginx.start()
    local MAKE = [[
      memory.queue = memory.queue or assert(cfpurge.queue { store = args.store, client = client, zone_id = args.zone })
    ]]
    local args = { store = it_runs.dir .. "/queue.db", zone = zone }
    local METRICS = MAKE .. " return memory.queue:metrics({ worker = ngx.worker.id() }, { store = 'main' })"
    assert.same({ added = 2, merged = 1 }, it_runs:run("content", MAKE .. "return memory.queue:add { tags = { 'a', 'b', 'a' } }",
      args))
    for _, phase in ipairs { "content", "access", "timer" } do
      local is = prometheus.read(it_runs:run(phase, METRICS, args))
      assert.same({ 2, 2, 1, 0 }, { is['cfpurge_queue_items{store="main",state="waiting"}'],
        is['cfpurge_queue_added_items_total{worker="0"}'], is['cfpurge_queue_merged_items_total{worker="0"}'],
        is['cfpurge_requests_total{worker="0",outcome="accepted"}'] }, phase)
    end
    local text, err = it_runs:run("log", METRICS, args)
    assert.is_nil(text)
    assert.truthy(err.message:find "start", err.message)
    prometheus.read(it_runs:run("log", "return client:metrics()"))
    it_runs:run("content", "memory.queue:close() memory.queue = nil")
  end)
end)
