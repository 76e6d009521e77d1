-- cfpurge.queue over both stores and the edge: adds of every form with an exact account, drain, what failed, several
-- queues on one store, close, collection, forks, a worker that sleeps beyond its lease.
local cfpurge = require "cfpurge"
local core = require "cfpurge.core"
local edge = require "spec.support.edge"
local elsewhere = require "spec.support.where"
local host = require "spec.support.host"
local lists = require "spec.support.lists"
local peer = require "spec.support.peer"
local stores = require "spec.support.stores"

local function run(queue, until_, seconds)
  local last = os.time() + (seconds or 10)
  while not until_() and os.time() <= last do queue:step(0.05) end
  assert(until_(), "it never came")
end

local function items_of(zone)
  local seen = {}
  for _, item in ipairs((lists.sent(zone))) do seen[item] = (seen[item] or 0) + 1 end
  return seen
end

for _, store in ipairs(stores) do describe("a queue, " .. store.name, function()
  after_each(stores.close)
  teardown(peer.stop)

  it("stores every kind, and sends it as a purge would", function()
    local queue, _, zone, _, about = store.queue()
    local site = "www." .. about.name
    local asked = {
      { tags = { "a", "b" } }, { hosts = { site } }, { prefixes = { site .. "/a" } },
      { files = { "https://" .. site .. "/x",
        { url = "https://" .. site .. "/y", headers = { ["CF-Device-Type"] = "mobile" } } } },
    }
    for _, params in ipairs(asked) do assert(queue:add(params)) end
    assert.same({ waiting = 0, failed = 0 }, queue:drain { deadline = 10 })
    assert.same({ added = 1, merged = 0 }, queue:add { purge_everything = true })
    assert.same({ added = 1, merged = 0 }, queue:add({ tags = { "i" } }, { invalidate = true }))
    assert.same({ waiting = 0, failed = 0 }, queue:drain { deadline = 10 })
    local requests = edge.requests(zone)
    local bodies, invalidates = {}, 0
    for _, request in ipairs(requests) do
      bodies[#bodies + 1] = request.body
      if request.path and request.path:find("invalidate", 1, true) then invalidates = invalidates + 1 end
    end
    table.sort(bodies)
    assert.equal(6, #bodies)
    local all = table.concat(bodies, "\n")
    for _, part in ipairs { '"tags":["a","b"]', '"hosts":["' .. site .. '"]', '"prefixes":["' .. site .. '/a"]',
      '"purge_everything":true', '"CF-Device-Type":"mobile"', '"tags":["i"]' } do
      assert.truthy(all:find(part, 1, true), part .. "\n" .. all)
    end
  end)

  it("stores a list of any length, and counts its duplicates as merged", function()
    local queue, _, zone = store.queue()
    local list = lists.tags(1234)
    list[#list + 1], list[#list + 2] = "t1", "T2"
    assert.same({ added = 1234, merged = 2 }, queue:add { tags = list })
    assert.same({ added = 6, merged = 1234 }, queue:add { tags = lists.iterator(lists.tags(1240)) })
    assert.equal(1240, queue:status().waiting)
    assert.same({ waiting = 0, failed = 0 }, queue:drain { deadline = 20 })
    local seen, count = items_of(zone), 0
    for _, times in pairs(seen) do
      count = count + 1
      assert.equal(1, times)
    end
    assert.equal(1240, count)
  end)

  it("stores what is right of a list, and tells what was not with its error", function()
    local queue = store.queue()
    local list = lists.tags(700)
    list[650] = "a,b"
    local result, err = queue:add { tags = lists.iterator(list) }
    assert.is_nil(result)
    assert.equal("invalid_request", err.kind)
    assert.equal(699, err.accepted)
    assert.same({ "a,b" }, lists.all(err.remaining.tags))
    assert.equal(699, queue:status().waiting)
    -- In a table it is seen before anything is stored.
    list[651] = "fresh"
    list[2] = "c,d"
    result, err = queue:add { tags = list }
    assert.same({ nil, "invalid_request" }, { result, err.kind })
    assert.matches("tags%[2%]", tostring(err))
  end)

  it("refuses what is wrong before it stores anything, and names the field", function()
    local queue, queue_client = store.queue()
    for field, call in pairs {
      tags = { { tags = {} } }, zone = { { tags = { "a" } }, { zone = 5 } }, delay = { { tags = { "a" } }, { delay = -1 } },
      again = { { tags = { "a" } }, { again = "soon" } }, nonsense = { { tags = { "a" } }, { nonsense = true } },
      environment = { { tags = { "a" } }, { environment = 7 } }, zone_id = { { tags = { "a" } }, { zone_id = {} } },
      invalidate = { { tags = { "a" } }, { invalidate = "yes" } }, prefixes = { { prefixes = "a" } },
      ["zone: must"] = { { tags = { "a" }, zone = "" } }, environment_id = { { tags = { "a" }, environment_id = "a/b" } },
      hosts = { { hosts = { "a b" } } }, api_token = { { tags = { "a" } }, { api_token = "secret" } },
    } do
      local result, err = queue:add(call[1], call[2])
      assert.is_nil(result)
      assert.equal("invalid_request", err.kind)
      assert.truthy(tostring(err):find(field, 1, true), tostring(err))
      assert.is_nil(tostring(err):find("secret", 1, true))
    end
    assert.equal(0, queue:status().waiting)
    local params = { hosts = { "a b" } }
    local _, err = queue:add(params)
    assert.equal(params, err.remaining)
    assert.has_error(function() queue:add "tags" end)
    assert.has_error(function() queue.add { tags = { "a" } } end)
    local none, message, problem = cfpurge.queue { store = "/nowhere", client = queue_client, colour = 1 }
    assert.same({ nil, tostring(problem), "colour" }, { none, message, problem.field })
  end)

  it("that is drained has no timer left", function()
    local queue = store.queue()
    assert(queue:drain { deadline = 60 })
    run(queue, function() return queue:timeout() == nil end)
  end)

  it("is drained when what asked for a later purge than an everything has gone too", function()
    local queue, _, zone = store.queue { linger = 0.01 }
    assert(queue:add({ tags = { "late" } }, { delay = 0.3 }))
    assert(queue:add { purge_everything = true })
    assert.same({ waiting = 0, failed = 0 }, queue:drain { deadline = 10 })
    assert.equal(2, edge.counts(zone).accepted)
    assert.is_nil(queue:status().sweeps)
  end)

  it("that is full says so, and `remaining` is exactly what is not stored", function()
    local queue = store.queue { capacity = 1100 }
    local list = lists.tags(3000)
    local result, err = queue:add { tags = list }
    assert.is_nil(result)
    assert.same({ "queue_full", "capacity" }, { err.kind, err.field })
    local waiting = queue:status().waiting
    assert.equal(waiting, err.accepted)
    assert.equal(3000 - waiting, #lists.all(err.remaining.tags))
    result, err = queue:add { tags = lists.iterator(lists.tags(3000)) }
    assert.is_nil(result)
    local left = {}
    for _, tag in ipairs(lists.all(err.remaining.tags)) do left[tag] = true end
    assert.equal(3000 - err.accepted, (function() local n = 0 for _ in pairs(left) do n = n + 1 end return n end)())
    assert.is_true(queue:status().waiting <= 1100)
  end)

  it("keeps what was refused for good, lists it, retries it and discards it", function()
    local queue, _, zone = store.queue()
    edge.script(zone, { { match = '"bad', times = 0, status = 400, json = { success = false, messages = {},
      errors = { { code = 1016, message = "bad item" } }, result = require "cjson".null } } })
    assert(queue:add { tags = { "a", "bad1", "bad2" } })
    assert.same({ waiting = 0, failed = 2 }, queue:drain { deadline = 10 })
    local failed = queue:failed()
    assert.same({ 2, "tags", "purge" }, { #failed, failed[1].kind, failed[1].invalidate and "invalidate" or "purge" })
    assert.same({ "item", 400 }, { failed[1].error.about, failed[1].error.status })
    assert.matches("bad item", failed[1].error.message)
    assert.same({ 1, 0 }, { #queue:failed { limit = 1 }, #queue:failed { kind = "files" } })
    edge.script(zone, {})
    assert.equal(2, queue:retry { kind = "tags" })
    assert.same({ waiting = 0, failed = 0 }, queue:drain { deadline = 10 })
    assert.same({ 0, {} }, { queue:discard(), queue:failed() })
    for _, wrong in ipairs { { nonsense = 1 }, { kind = {} }, { zone = 5 }, { older_than = "x" }, { limit = 0 } } do
      for _, method in ipairs { "failed", "retry", "discard" } do
        if not (wrong.limit and method ~= "failed") then
          local result, err = queue[method](queue, wrong)
          assert.same({ nil, "invalid_request", (next(wrong)) }, { result, err and err.kind, err and err.field })
        end
      end
    end
  end)

  it("drops nothing while the API is down, and goes on when it is back", function()
    local queue, _, zone = store.queue({ linger = 0.01 }, { max_retries = 0 })
    edge.script(zone, { { status = 503, body = "down" } })
    queue:add { tags = { "a", "b" } }
    queue:work()
    run(queue, function() return edge.counts(zone).scripted >= 1 end, 5)
    local status = queue:status()
    assert.same({ 2, 0 }, { status.waiting + status.in_flight, status.failed })
    run(queue, function() return edge.counts(zone).items == 2 end, 20)
    assert.same({ waiting = 0, failed = 0 }, queue:drain { deadline = 20 })
    queue:rest()
    run(queue, function() return not queue:active() end, 5)
  end)

  it("moves by step, fileno and timeout like a client; start never waits", function()
    local queue, _, zone = store.queue()
    local told
    local request = assert(queue:start({ tags = { "a" } }, function(added, err) told = added or err end))
    assert.same({ false, true, 1 }, { request:done(), queue:active(), queue:in_flight() })
    assert.is_number(queue:fileno())
    run(queue, function() return request:done() end, 10)
    assert.same({ added = 1, merged = 0 }, told)
    assert.is_false(queue:active())
    assert.is_nil(queue:timeout())
    queue:work()
    assert.is_true(queue:active() and queue:timeout() <= 1)
    run(queue, function() return edge.counts(zone).items == 1 end, 10)
  end)

  it("shares its store with others: each adds, each may work, nothing is sent twice", function()
    local one, _, zone, target = store.queue { linger = 0.01 }
    local other = store.queue({ store = target, linger = 0.01 }, { zone_id = zone })
    assert.same({ added = 900, merged = 0 }, one:add { tags = lists.tags(900) })
    assert.same({ added = 100, merged = 900 }, other:add { tags = lists.tags(1000) })
    one:work()
    other:work()
    run(one, function()
      other:step(0)
      return edge.counts(zone).items >= 1000
    end)
    other:rest()
    run(other, function()
      one:step(0)
      return not other:active()
    end)
    assert.same({ waiting = 0, failed = 0 }, one:drain { deadline = 10 })
    for _, times in pairs(items_of(zone)) do assert.equal(1, times) end
  end)

  it("closed with adds and purges in flight ends each call once; what was not sent waits for the next", function()
    local queue, _, zone, target = store.queue { linger = 0.01 }
    assert(queue:add { tags = lists.tags(300) })
    edge.script(zone, { { times = 0, delay = 5, pass = true } })
    queue:work()
    run(queue, function() return queue:status().in_flight > 0 end)
    local told = {}
    for i = 1, 5 do
      assert(queue:start({ hosts = { i .. ".example.com" } }, nil, function(added, err)
        told[#told + 1] = added and "added" or err.kind
      end))
    end
    queue:close()
    assert.equal(5, #told)
    for _, how in ipairs(told) do assert.truthy(how == "added" or how == "closed", how) end
    for _, call in ipairs { "add", "status" } do
      local result, err = queue[call](queue, { tags = { "z" } })
      assert.same({ nil, "closed" }, { result, err.kind })
    end
    edge.script(zone, {})
    local rules = store.rules(target)
    rules.status()
    -- As if its lease were over.
    local next_one = store.queue({ store = target, lease = 0.5, linger = 0.01 }, { zone_id = zone })
    local status = next_one:status()
    assert.is_true(status.waiting + status.in_flight >= 300)
  end)

  it("that nobody holds any more ends its calls, and leaves what it stored", function()
    local queue, client, _, target = (function()
      local _, client, zone, target = store.queue()
      local mine = assert(cfpurge.queue { store = target, client = client })
      assert(mine:add { tags = { "a" } })
      return mine, client, zone, target
    end)()
    local told
    assert(queue:start({ tags = lists.iterator(lists.tags(3000)) }, nil, function(_, err) told = err and err.kind or "added" end))
    queue = nil -- luacheck: ignore
    for _ = 1, 4 do collectgarbage() end
    assert.truthy(told == "closed" or told == nil, told)
    assert.is_true(client:in_flight() == 0)
    assert.is_true(store.rules(target).status().waiting >= 1)
  end)

  it("in a forked child neither sends nor settles what the parent has in flight", function()
    local system = host.system()
    local queue, _, zone = store.queue { linger = 0.01 }
    edge.script(zone, { { delay = 1, pass = true } })
    assert(queue:add { tags = { "a" } })
    queue:work()
    edge.script(zone, { { delay = 1, pass = true } })
    run(queue, function() return queue:status().in_flight == 1 end)
    local child = system.fork()
    if child == 0 then
      local ok = pcall(function()
        assert(queue:add { tags = { "b" } })
        assert.is_true(queue:status().in_flight == 1 or queue:status().waiting + queue:status().in_flight >= 1)
        queue:rest()
        for _ = 1, 10 do queue:step(0.02) end
        queue:close()
      end)
      system.exit(ok and 0 or 1)
    end
    assert.equal(0, system.wait(child))
    assert.same({ waiting = 0, failed = 0 }, queue:drain { deadline = 10 })
    assert.same({ a = 1, b = 1 }, items_of(zone))
  end)

  it("leaves a store alone that is long about its looks for what may go", function()
    if elsewhere "once" then return end
    local rules, looks = require("cfpurge.queue." .. store.name), 0
    local look = rules.look
    finally(function() rules.look = look end)
    function rules.look(o)
      return look(o), function()
        looks = looks + 1
        os.execute "sleep 0.03"
        return 0.01
      end
    end
    local queue = store.queue()
    queue:work()
    local ends = core.now() + 1
    while core.now() < ends do queue:step(0.05) end
    assert.is_true(looks > 0 and looks < 7, looks)
  end)

  it("whose worker sleeps beyond its lease goes on without it, and hears nothing of it later", function()
    local queue, _, zone, target = store.queue { linger = 0.01 }
    edge.script(zone, { { delay = 0.5, pass = true } })
    local path = peer.path "worker"
    local file = assert(io.open(path, "w"))
    file:write(([[
      local cfpurge = require "cfpurge"
      local stat = io.open "/proc/self/stat"
      local pid = stat:read "*l":match "^%%d+"
      local client = cfpurge.new { api_token = %q, base_url = %q, zone_id = %q }
      local queue = cfpurge.queue { store = %q, client = client, lease = 1, linger = 0.01 }
      assert(queue:add { tags = { "a" } })
      queue:work()
      repeat queue:step(0.02) until client:in_flight() > 0
      queue:rest()
      print(pid)
      io.stdout:flush()
      while queue:active() do queue:step(0.05) end
      print "ended"
      io.stdout:flush()
      ]]):format(edge.env.TOKEN, edge.env.API_HTTP, zone, target))
    file:close()
    local out = path .. ".out"
    peer.launch((os.getenv "CFPURGE_LUA" or "lua5.4") .. " " .. path, out)
    local function said(pattern)
      local text = assert(io.open(out))
      local all = text:read "*a"
      text:close()
      return all:match(pattern)
    end
    -- Stopped only once the edge has its request: what is in flight may not have been sent yet.
    local pid = peer.await("request", function() return #edge.requests(zone) == 1 and said "^(%d+)\n" end)
    host.must("kill -STOP " .. pid)
    assert.same({ waiting = 0, failed = 0 }, queue:drain { deadline = 10 })
    assert.equal(2, #edge.requests(zone))
    -- The same item waits, and is claimed by another: the sleeper's word is about none of that.
    local rules = store.rules(target)
    assert(queue:add { tags = { "a" } })
    local claim = rules.claim(stores.terms())
    assert.equal(1, #claim.items)
    assert(queue:add { tags = { "b" } })
    host.must("kill -CONT " .. pid)
    peer.await("end", function() return said "ended" end)
    local status = queue:status()
    assert.same({ 1, 1, 0 }, { status.waiting, status.in_flight, status.failed })
    assert.is_true(rules.settle(claim.fence, stores.settled()))
    status = queue:status()
    assert.same({ 1, 0, 0 }, { status.waiting, status.in_flight, status.failed })
    assert.equal(2, #edge.requests(zone))
  end)
end) end
