-- The budget lies in the store: lua/cfpurge/queue/budgets, and the claims of both stores.
local elsewhere = require "spec.support.where"
if elsewhere "once text" then return end

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

    local function environments(count)
      local all = {}
      for i = 1, count do all["e" .. i] = ("%032x"):format(i) end
      return all
    end

    -- One request for each tag: a lane each.
    local function fill(queue, zone, requests)
      for i = 1, requests do
        assert(queue:add({ tags = { "t" .. i } }, { zone_id = zone, environment_id = ("%032x"):format(i) }))
      end
    end

    it("is used by four processes to 98%, and no 429 is met, one of them killed and a zone of another plan added",
      function()
        local seconds, store = 12, target()
        local account = "budget-" .. kind .. tostring({}):match "%w+$"
        local most = 50 + 10 * seconds + 40
        local zone = edge.zone { plan = "business", account = account, environments = environments(most) }
        local other = edge.zone { plan = "pro", account = account, environments = environments(20) }
        edge.limits { zone = zone, plan = "business", overall = false, headers = false }
        edge.limits { zone = other, plan = "pro", overall = false, headers = false }
        local queue, client = queue_of(store, { zone_id = zone })
        fill(queue, zone, most)
        local pids = {}
        for i = 1, 4 do pids[i] = work(store, "auto", 1, seconds, nil) end
        repeat sleep(0.02) until edge.counts(zone).accepted > 0
        local begun = core.now()
        sleep(2)
        output("kill -9 -%s; pkill -9 -s %s", pids[1], pids[1])
        local before = edge.counts(zone).accepted
        fill(queue, other, 20)
        sleep(seconds - 7)
        -- A machine that stands still has less of it just then, and the bucket gives it back.
        local counts, others, took, share
        repeat
          sleep(0.05)
          counts, others, took = edge.counts(zone), edge.counts(other), core.now() - begun
          share = counts.accepted / (50 + 10 * took)
        until took > seconds - 2 or (took > seconds - 5 and share >= 0.98)
        assert.same({ 0, 0, 20 }, { counts.limited, others.limited, others.accepted })
        assert.truthy(counts.accepted > before)
        if os.getenv "CFPURGE_FIGURES" then print(kind, ("%.1f%% of %d"):format(share * 100, counts.accepted)) end
        assert.truthy(share >= 0.98, ("%.1f%% of %.0f s, %d"):format(share * 100, took, counts.accepted))
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
      local function is_held()
        local budgets = other:status().budgets
        return budgets[1] and (budgets[1].held > 0 or budgets[2].held > 0)
      end
      run(queue, 3, is_held)
      assert.is_true(is_held())
      assert(other:add({ tags = { "b" } }))
      assert(other:drain { deadline = 10 })
      assert.equal(2, edge.counts(zone).items)
      local requests = edge.requests(zone)
      assert.truthy(requests[2].at - requests[1].at > 1.9, requests[2].at - requests[1].at)
      queue:close()
      other:close()
    end)

    it("is held back for all zones by a 429 about all calls, and for its own by a header that says little is left",
      function()
        local store, account = target(), "hold-" .. kind .. tostring({}):match "%w+$"
        local zones = {}
        for i, plan in ipairs { "pro", "business" } do zones[i] = edge.zone { plan = plan, account = account } end
        local queue = queue_of(store, { plan = "auto", zone_id = zones[1] })
        for i = 1, 2 do assert(queue:add({ tags = { "a" } }, { zone_id = zones[i] })) end
        assert(queue:drain { deadline = 10 })
        local function next_of(other, answer)
          for i = 1, 2 do edge.reset(zones[i]) end
          edge.script(zones[1], { answer })
          assert(queue:add({ tags = { "b" } }, { zone_id = zones[1] }))
          queue:work()
          run(queue, 3, function() return #edge.requests(zones[1]) > 0 end)
          run(queue, 0.2)
          assert(queue:add({ tags = { "c" } }, { zone_id = zones[1] }))
          assert(queue:add({ tags = { "c" } }, { zone_id = zones[2] }))
          run(queue, 10, function() return #edge.requests(zones[2]) >= other end)
          run(queue, 0.5)
          assert.same({ 1, other }, { #edge.requests(zones[1]), #edge.requests(zones[2]) })
          assert(queue:drain { deadline = 10 })
        end
        next_of(1, { body = clients.OK, headers = { Ratelimit = '"tags";r=1;t=5' } })
        next_of(0, { status = 429, headers = { ["Retry-After"] = "2" },
          body = '{"success":false,"errors":[{"code":10100,"message":"wait"}],"messages":[],"result":null}' })
        queue:close()
      end)

    it("is the whole plan, whatever share the client has", function()
      local zone = edge.zone { environments = environments(20) }
      local queue = queue_of(target(), { plan = "pro", share = 4, zone_id = zone })
      fill(queue, zone, 20)
      assert(queue:drain { deadline = 5 })
      assert.equal(20, edge.counts(zone).accepted)
      queue:close()
    end)

    local function names_of(queue)
      local names = {}
      for _, budget in ipairs(queue:status().budgets) do names[budget.name .. ":" .. budget.bucket] = budget.left end
      return names
    end

    it("is one for each account, where the plan is one for all", function()
      local mine, zones = tostring({}):match "%w+$", {}
      for i = 1, 3 do
        zones[i] = edge.zone { plan = "pro", account = mine .. (i > 2 and "-2" or "-1"), environments = environments(10) }
      end
      local queue = queue_of(target(), { plan = "pro", zone_id = zones[1] })
      for i = 1, 3 do fill(queue, zones[i], 10) end
      assert.same({ waiting = 0, failed = 0 }, queue:drain { deadline = 10 })
      local names = names_of(queue)
      local one, two = names[mine .. "-1/pro:requests"], names[mine .. "-2/pro:requests"]
      assert.truthy(one < two and two < 24.9, ("%s, %s"):format(one, two))
      assert.equal(25, names["pro:requests"])
      queue:close()
      -- A credential that sees no account: all share the client's own.
      local blind = edge.token { zones = { zones[1] }, read = false }
      queue = queue_of(target(), { plan = "pro", zone_id = zones[1], api_token = blind })
      for i = 1, 3 do assert(queue:add { tags = { "t" .. i } }) end
      assert(queue:drain { deadline = 10 })
      names = names_of(queue)
      assert.same({ nil, true }, { names[mine .. "-1/pro:requests"], names["pro:requests"] < 25 })
      queue:close()
    end)

    it("is each zone's own where the zones are found by the items", function()
      local mine, zones, about = tostring({}):match "%w+$", {}, {}
      for i, plan in ipairs { "pro", "free" } do
        zones[i], about[i] = edge.zone { plan = plan, account = mine }
      end
      local token = edge.token { zones = zones }
      local client = clients.without_zone { plan = "auto", zone = "auto", api_token = token }
      local queue = assert(cfpurge.queue { store = target(), client = client, linger = 0.01 })
      assert(queue:add { hosts = { "a." .. about[1].name, "b." .. about[2].name, "nowhere.example" } })
      assert.same({ waiting = 0, failed = 1 }, queue:drain { deadline = 10 })
      local names = names_of(queue)
      assert.truthy(names[mine .. "/pro:requests"] < 25 and names[mine .. "/free:requests"] < 24.5)
      assert.same({ 1, 1 }, { edge.counts(zones[1]).items, edge.counts(zones[2]).items })
      local failed = queue:failed()[1]
      assert.same({ "auto", "nowhere.example", "not_found" }, { failed.zone, failed.item, failed.error.kind })
      queue:close()
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
