-- What a queue tells its on_event: lua/cfpurge/queue/events.lua.
local cjson = require "cjson"
local edge = require "spec.support.edge"
local elsewhere = require "spec.support.where"
local stores = require "spec.support.stores"

local function answer(status, code, more)
  local script = { status = status, json = { success = false, messages = {}, result = cjson.null,
    errors = { { code = code, message = "so it is" } } } }
  for name, value in pairs(more or {}) do script[name] = value end
  return script
end

for _, store in ipairs(stores) do describe("the events of a queue, " .. store.name, function()
  local seen, queue, zone, about
  before_each(function()
    seen = {}
    local _
    queue, _, zone, _, about = store.queue { on_event = function(event)
      seen[#seen + 1] = event
      error "is lost"
    end }
  end)
  teardown(stores.close)

  -- Until it has told of so many.
  local function work_until(count)
    local ends = os.time() + 20
    queue:work()
    repeat queue:step(0.05) until seen[count] or os.time() > ends
    queue:rest()
  end

  local function names()
    local list = {}
    for i, event in ipairs(seen) do list[i] = event.name end
    table.sort(list)
    return list
  end

  it("are of each item that failed, and of how many were accepted", function()
    edge.script(zone, { answer(400, 1100, { match = '"bad"', times = 0 }) })
    local environment = about.environments.staging
    assert(queue:add({ tags = { "a", "bad", "b" } }, { environment_id = environment, invalidate = true }))
    assert(queue:drain { deadline = 20 })
    assert.same({ "accepted", "failed" }, names())
    local failed, accepted = seen[1], seen[2]
    if failed.name == "accepted" then failed, accepted = accepted, failed end
    assert.equal("400 1100", ("%s %s"):format(failed.error.status, failed.error.code))
    assert.same({ "bad", 1100, zone, environment, true, "tags" }, { failed.item, failed.error.code, failed.zone,
      failed.environment_id, failed.invalidate, failed.kind })
    assert.same({ 2, zone }, { accepted.items, accepted.zone })
    assert.is_nil(accepted.item)
    queue:add { purge_everything = true }
    queue:drain { deadline = 20 }
    assert.same({ "accepted", 1, "everything" }, { seen[3].name, seen[3].items, seen[3].kind })
  end)

  it("are of a zone that rests, and of a 429", function()
    edge.script(zone, { answer(403, 10000, { times = 0 }) })
    queue:add { tags = { "a" } }
    work_until(1)
    assert.same({ "rest" }, names())
    assert.same({ "credential", zone }, { seen[1].error.about, seen[1].zone })
    local other = edge.zone()
    edge.script(zone, { answer(403, 10000, { times = 0, delay = 5 }) })
    edge.script(other, { answer(429, 971, { headers = { ["Retry-After"] = "1" } }) })
    queue:add({ tags = { "a" } }, { zone_id = other })
    work_until(2)
    local held = seen[2]
    assert.same({ "held", 1, other, "rate_limited" }, { held.name, held.seconds, held.zone, held.error.kind })
  end)

  if store.name == "redis" then
    it("are of a store that fails the worker", function()
      if elsewhere "engine" then return end -- it is tried for five seconds
      local server = stores.server()
      queue = store.queue { store = server:url(), on_event = function(event) seen[#seen + 1] = event end }
      queue:status()
      server:stop()
      work_until(1)
      assert.same({ "store", "store" }, { seen[1].name, seen[1].error.kind })
    end)
  end
end) end
