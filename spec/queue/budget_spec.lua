-- The budget lies in the store: lua/cfpurge/queue/budgets, and the claims of both stores.
local elsewhere = require "spec.support.where"
if elsewhere "engine" then return end

local cfpurge = require "cfpurge"
local core = require "cfpurge.core"
local clients = require "spec.support.client"
local edge = require "spec.support.edge"

local function output(command, ...)
  local pipe = io.popen(command:format(...))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

local lua = os.getenv "CFPURGE_LUA" or arg[-1]
local dir, redis

local function sleep(seconds) output("sleep %g", seconds) end

-- What runs `seconds` at the most, whatever becomes of this process -> its id.
local function spawn(seconds, command, ...)
  return output("setsid timeout -k 1 %d %s >>%s/log 2>&1 & echo $!", seconds, command:format(...), dir):match "%d+"
end

local function work(store, plan, factor, seconds, token)
  return spawn(seconds + 20, "%s spec/queue/budget_worker.lua '%s' %s %g %g %s %s", lua, store, plan, factor, seconds,
    edge.env.API_HTTP, token or edge.env.TOKEN)
end

local function tags(count, from)
  local list = {}
  for i = 1, count do list[i] = "t" .. i + (from or 0) end
  return list
end

local function queue_of(store, options)
  local client = clients.new(options)
  return assert(cfpurge.queue { store = store, client = client, linger = 0.01 }), client
end

local function run(queue, seconds, is_done)
  local ends = core.now() + seconds
  while core.now() < ends and not (is_done and is_done()) do queue:step(0.02) end
end

setup(function()
  edge.up()
  dir = output("mktemp -d /tmp/cfpurge-budget.XXXXXX"):match "%S+"
  spawn(600, "redis-server --port 0 --unixsocket %s/redis --save '' --dir %s --databases 100", dir, dir)
  redis = dir .. "/redis"
  for _ = 1, 100 do
    if output("redis-cli -s %s ping 2>&1", redis):find "PONG" then break end
    sleep(0.05)
  end
end)

teardown(function()
  clients.close()
  output("redis-cli -s %s shutdown nosave 2>&1", redis)
  output("rm -rf %s", dir)
end)

local serial = 0
for _, kind in ipairs { "sqlite", "redis" } do
  describe("the budget of a store, " .. kind, function()
    local function target()
      serial = serial + 1
      return kind == "sqlite" and ("%s/%d.db"):format(dir, serial) or ("unix://%s?db=%d"):format(redis, serial)
    end

    -- One request for each tag: a lane each.
    local function fill(queue, zone, requests)
      for i = 1, requests do
        assert(queue:add({ tags = { "t" .. i } }, { zone_id = zone, environment_id = ("%032x"):format(i) }))
      end
    end

    it("is used by four processes to 98%, and no 429 is met, one of them killed", function()
      local factor, seconds, store = 4, 12, target()
      local account = "budget-" .. kind .. tostring({}):match "%w+$"
      local environments = {}
      local most = 25 + 5 * factor * seconds + 60
      for i = 1, most do environments["e" .. i] = ("%032x"):format(i) end
      local zone = edge.zone { plan = "pro", account = account, environments = environments }
      edge.limits { zone = zone, plan = "pro", factor = factor, overall = false, headers = false }
      local queue, client = queue_of(store, { zone_id = zone })
      fill(queue, zone, most)
      local pids = {}
      for i = 1, 4 do pids[i] = work(store, "pro", factor, seconds, nil) end
      repeat sleep(0.02) until edge.counts(zone).accepted > 0
      local begun = core.now()
      sleep(2)
      output("kill -9 -%s; pkill -9 -s %s", pids[1], pids[1])
      local before = edge.counts(zone).accepted
      sleep(seconds - 5)
      local counts, took = edge.counts(zone), core.now() - begun
      assert.equal(0, counts.limited)
      assert.truthy(counts.accepted > before)
      local share = counts.accepted / (25 + 5 * factor * took)
      if os.getenv "CFPURGE_FIGURES" then print(kind, ("%.1f%% of %d"):format(share * 100, counts.accepted)) end
      assert.truthy(share >= 0.98 and share <= 1.01, ("%.1f%% of %.0f s, %d"):format(share * 100, took, counts.accepted))
      for i = 2, 4 do output("kill -- -%s", pids[i]) end
      queue:close()
      client:close()
    end)

    it("is each zone's own where the plan is auto, read once", function()
      local store, account = target(), "auto-" .. kind .. tostring({}):match "%w+$"
      local zones, about = {}, nil
      for i, plan in ipairs { "free", "free", "business", "enterprise" } do
        zones[i], about = edge.zone { plan = plan, account = account }
        edge.limits { zone = zones[i], plan = plan, overall = false, headers = false }
      end
      local queue = queue_of(store, { plan = "auto", zone_id = zones[1] })
      local other = queue_of(store, { plan = "auto", zone_id = zones[1] })
      for i = 1, 3 do assert(queue:add({ tags = tags(150) }, { zone_id = zones[i] })) end
      local files = {}
      for i = 1, 1000 do files[i] = "https://" .. about.name .. "/" .. i end
      assert(queue:add({ files = files }, { zone_id = zones[4] }))
      assert(queue:drain { deadline = 10 })
      assert(other:add({ tags = tags(150) }, { zone_id = zones[1] }))
      assert(other:drain { deadline = 10 })
      local gets, posts = {}, {}
      for i, zone in ipairs(zones) do
        gets[i], posts[i] = 0, 0
        for _, request in ipairs(edge.requests(zone)) do
          local all = request.method == "GET" and gets or posts
          all[i] = all[i] + 1
        end
        assert.equal(0, edge.counts(zone).limited)
      end
      assert.same({ 1, 1, 1, 1 }, gets)
      assert.same({ 4, 2, 2, 2 }, posts)
      local names = {}
      for _, budget in ipairs(queue:status().budgets) do names[budget.name .. ":" .. budget.bucket] = budget.left end
      local free, business = names[account .. "/free:requests"], names[account .. "/business:requests"]
      assert.truthy(free > 18.9 and free < 22, free)
      assert.truthy(business > 40, business)
      queue:close()
      other:close()
    end)

    it("is held back for all by a 429 that one of them meets", function()
      local store = target()
      local zone = edge.zone()
      local queue = queue_of(store, { zone_id = zone })
      local other = queue_of(store, { zone_id = zone })
      edge.script(zone, { { status = 429, headers = { ["Retry-After"] = "2" },
        body = '{"success":false,"errors":[{"code":971,"message":"wait"}]}' } })
      assert(queue:add { tags = { "a" } })
      queue:work()
      run(queue, 3, function() return #edge.requests(zone) > 0 end)
      run(queue, 0.3)
      local begun = core.now()
      assert(other:add({ tags = { "b" } }))
      other:work()
      run(other, 1)
      assert.equal(1, #edge.requests(zone))
      assert.truthy(other:status().budgets[1].held > 0 or other:status().budgets[2].held > 0)
      assert(other:drain { deadline = 10 })
      assert.truthy(core.now() - begun > 1.3)
      assert.equal(2, edge.counts(zone).items)
      queue:close()
      other:close()
    end)

    it("has 1200 calls in 5 minutes, whatever they are", function()
      local store = target()
      local queue = queue_of(store, { rate = { overall = 7 } })
      local zones, accepted = {}, 0
      for i = 1, 10 do
        zones[i] = edge.zone()
        assert(queue:add({ tags = { "t" } }, { zone_id = zones[i] }))
      end
      queue:work()
      run(queue, 2)
      for i = 1, 10 do accepted = accepted + edge.counts(zones[i]).accepted end
      local status = queue:status()
      assert.same({ 7, 3, 0 }, { accepted, status.waiting, status.in_flight })
      queue:close()
    end)

    it("rests the zones of a credential that is revoked, and another one goes on", function()
      local store = target()
      local zone, about = edge.zone()
      local good = edge.zone()
      local queue = queue_of(store, { zone_id = zone, api_token = edge.token { zones = { good } } })
      local many = {}
      for i = 1, 20000 do many[i] = "https://" .. about.name .. "/" .. i end
      assert(queue:add({ files = many }, { zone_id = zone }))
      queue:work()
      run(queue, 10, function() return #queue:status().paused > 0 end)
      local paused = queue:status().paused[1]
      assert.equal(zone, paused.zone)
      assert.truthy(paused.seconds > 50 and paused.why)
      local begun = core.now()
      assert(queue:add({ tags = { "a" } }, { zone_id = good }))
      run(queue, 5, function() return edge.counts(good).accepted > 0 end)
      assert.equal(1, edge.counts(good).accepted)
      assert.truthy(core.now() - begun < 1.5, core.now() - begun)
      assert.equal(20000, queue:status().waiting)
      queue:close()
      local fresh = queue_of(store, { zone_id = zone })
      assert(fresh:drain { deadline = 30 })
      assert.equal(20000, edge.counts(zone).items)
      fresh:close()
    end)
  end)
end
