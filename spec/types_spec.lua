-- The annotations say what there is: every public function has one, and what comes back is as declared, in both
-- directions. lua/cfpurge/types.lua, and the annotations of the modules.
local elsewhere = require "spec.support.where"
local cats = require "spec.support.luacats"
local cfpurge = require "cfpurge"
local cjson = require("cjson").new()
local clients = require "spec.support.client"
local command = require "spec.support.command"
local core = require "cfpurge.core"
local edge = require "spec.support.edge"
local keys = require "spec.support.keys"
local stores = require "spec.support.stores"

-- The error of a drain. A store that was slow to answer has not told how much waits.
local function waiting_of(queue)
  local last, _, err = os.time() + 20
  repeat _, err = queue:drain { deadline = 0.01 } until err.waiting or os.time() > last
  return err
end

describe("the annotations", function()
  if elsewhere "engine" then return end

  teardown(stores.close)

  local function is(value, kind)
    assert.is_nil(cats.problem(value, kind), kind)
    return value
  end

  -- All fields of the class were there; `never` are those that no value here has.
  local function all_seen(name, never)
    assert.same(never or {}, cats.unseen(name), name)
  end

  local MESSAGE = { code = 5, message = "m", documentation_url = "u", source = { pointer = "/x" },
    error_chain = { { code = 6, message = "n" } } }

  local function refusal(status, code, more)
    local answer = { status = status, times = 0, headers = { ["CF-Ray"] = "8f2a-FRA" }, json = { success = false,
      errors = { { code = code, message = "no", error_chain = { { code = 1 } } } }, messages = { MESSAGE },
      result = cjson.null } }
    for name, value in pairs(more or {}) do answer[name] = value end
    return answer
  end

  it("use no type that nothing declares", function() assert.same({}, cats.unknown()) end)

  describe("of functions", function()
    -- The methods stand in `owner`, the fields in `object`.
    local function check(owner, class, object)
      local declared = cats.classes[class].fields
      for name, fn in pairs(owner) do
        if type(fn) == "function" and not name:find "^__" then
          local block = cats.block(fn)
          assert.truthy(block or declared[name], ("%s.%s has no annotation"):format(class, name))
          local params = {}
          for i, param in ipairs(block and block.params or {}) do params[i] = param.name end
          if not declared[name] then assert.same(block.args, params, class .. "." .. name) end
        end
      end
      for name in pairs(declared) do
        assert.truthy(object[name] ~= nil or cats.classes[class].is_optional[name], ("%s has no %s"):format(class, name))
      end
    end

    it("are those of a client, a request and a queue", function()
      local queue, client = stores.of.sqlite.queue()
      local request = assert(client:start({ tags = { "a" } }))
      check(getmetatable(client), "cfpurge.Client", client)
      check(getmetatable(request), "cfpurge.Request", request)
      check(getmetatable(queue), "cfpurge.Queue", queue)
      request:wait()
    end)

    it("are those of the modules and of lines", function()
      for name, fn in pairs(cfpurge) do
        assert.truthy(name == "_VERSION" and fn == core.version or cats.block(fn), name)
      end
      local lines = assert(cfpurge.lines("VERSION", "tags"))
      check(getmetatable(lines), "cfpurge.Lines", lines)
      while lines() do end
      is(lines, "cfpurge.Lines")
      all_seen("cfpurge.Lines", { "problem" })
      is(core, "cfpurge.core")
      all_seen "cfpurge.core"
      all_seen "cfpurge.Option"
      local of_core = clients.keep(core.new(clients.options()))
      for name in pairs(cats.classes["cfpurge.CoreClient"].fields) do assert.equal("function", type(of_core[name]), name) end
    end)
  end)

  describe("of what is told", function()
    it("are those of results, progress, events and stats", function()
      local events, progress = {}, {}
      local client, zone = clients.new { plan = "pro", on_event = function(event) events[#events + 1] = event end }
      edge.script(zone, {
        { status = 503, body = "busy", headers = { ["Retry-After"] = "0" } },
        { headers = { ["CF-Ray"] = "8f2a-FRA" }, json = { success = true, errors = { MESSAGE }, messages = { MESSAGE },
          result = { id = "x" } } },
      })
      is(client:purge({ tags = { "a", "b" } }, { on_progress = function(p) progress[#progress + 1] = p end }), "cfpurge.Result")
      for _, name in ipairs { "Result", "Message", "Source" } do all_seen("cfpurge." .. name) end
      edge.script(zone, { { hang = 1, body = "{", length = 100 } })
      client:purge({ tags = { "a" } }, { timeout = 0.05, max_retries = 0 })
      is(progress, "cfpurge.Progress[]")
      all_seen "cfpurge.Progress"
      is(events, "cfpurge.Event[]")
      all_seen("cfpurge.Event", { "message" })
      is(client:stats(), "cfpurge.Stats")
      for _, name in ipairs { "Stats", "Outcome", "Bucket" } do all_seen("cfpurge." .. name) end
    end)

    it("are those of zones, environments, a budget of its own and a dry run", function()
      local zone, about = edge.zone { plan = "pro" }
      local client = clients.new { zone_id = zone, plan = "auto", api_token = edge.token { zones = { zone } } }
      is(client:zones(), "cfpurge.Zone[]")
      all_seen "cfpurge.Zone"
      all_seen "cfpurge.Account"
      is(client:environments(), "cfpurge.Environment[]")
      all_seen "cfpurge.Environment"
      client:purge { files = { "https://" .. about.name .. "/" } }
      is(client:stats(), "cfpurge.Stats")
      all_seen "cfpurge.Buckets"
      is(client:purge({ tags = { "a" } }, { dry_run = true }), "cfpurge.Planned")
      all_seen "cfpurge.Planned"
      all_seen "cfpurge.PlannedRequest"
      for item in cfpurge.variants({ "https://a/" }, { device = { "mobile" } }) do is(item, "cfpurge.Variant") end
    end)
  end)

  it("of errors are their kinds, what they are about, and their fields", function()
    local kinds, abouts = {}, {}
    local function note(err)
      is(err, "cfpurge.Error")
      kinds[err.kind], abouts[err.about or ""] = true, true
      return err
    end
    local client, zone = clients.new { max_retries = 0, max_queued = 2 }
    for _, answer in ipairs {
      { 400, 1082 }, { 400, 1012 }, { 401, 10000 }, { 403, 1107 }, { 404, 7003 }, { 409, 1 }, { 418, 1 }, { 422, 1 },
      { 500, 1 }, { 413, 1094 }, { 200, nil, { body = "x" } },
      { 200, nil, { hang = 1, body = "{", length = 9 } },
      { 429, 971, { headers = { ["Retry-After"] = "90" } } },
    } do
      edge.script(zone, { refusal(answer[1], answer[2], answer[3]) })
      note(select(2, client:purge({ tags = { "a" } }, { timeout = answer[3] and answer[3].hang and 0.05, isolate = false })))
    end
    edge.script(zone, { refusal(500, 1, { match = "b" }) })
    client = clients.new { zone_id = zone, max_retries = 0, max_queued = 1 }
    note(select(2, client:purge({ tags = { "a", "b,", "b" } }, { max_items = 1, max_in_flight = 1 })))
    note(select(2, client:purge { tags = (function()
      local list, i = { "a", "x,", "b" }, 0
      return function() i = i + 1 return list[i] end
    end)() }))
    all_seen("cfpurge.Failure")
    edge.script(zone, { refusal(500, 1, { delay = 5 }) })
    local one = assert(client:start { tags = { "a" } })
    note(select(2, client:start { tags = { "b" } }))
    one:cancel()
    note(select(2, one:result()))
    one = assert(client:start { tags = { "a" } })
    client:close()
    note(select(2, one:result()))
    for _, url in ipairs { "http://127.0.0.1:1", edge.env.API_TLS } do
      note(select(2, clients.new { base_url = url, max_retries = 0 }:purge { tags = { "a" } }))
    end
    local queue = assert(cfpurge.queue { store = "/nonexistent/x.db", zone = "a.example" })
    note(select(2, queue:add { tags = { "a" } }))
    queue:close()
    queue = stores.of.sqlite.queue { linger = 9 }
    queue:add { tags = { "a" } }
    note(waiting_of(queue))
    local many = {}
    for i = 1, 101 do many[i] = "t" .. i end
    note(select(2, clients.keep(core.new(clients.options())):purge { tags = many }))
    local made, _, err = cfpurge.new { timeout = -1 }
    assert.is_nil(made)
    note(err)
    kinds[""], abouts[""] = nil, nil
    assert.same(cats.literals "cfpurge.Kind", keys(kinds))
    assert.same(cats.literals "cfpurge.About", keys(abouts))
    local table_of_kinds = {}
    for kind in command.read "lua/README.md":match "\n| kind | when | retried |\n(.-)\n\n":gmatch "| `([%l_]+)` |[^\n]*" do
      table_of_kinds[kind] = true
    end
    assert.same(keys(kinds), keys(table_of_kinds))
    for _, kind in ipairs(require "cfpurge.metrics".kinds) do assert.truthy(kinds[kind], kind) end
    all_seen "cfpurge.Error"
  end)

  it("of a queue are its status, its events and what failed", function()
    local events = {}
    local queue, _, zone, _, about = stores.of.sqlite.queue({ linger = 0.001, on_event = function(event)
      events[#events + 1] = event
    end }, { plan = "pro", max_retries = 0 })
    edge.script(zone, {
      refusal(400, 1100, { match = "bad" }), refusal(403, 10000, { match = "hosts" }),
      refusal(429, 971, { match = "slow", headers = { ["Retry-After"] = "60" } }),
    })
    is(queue:add({ tags = { "bad" } }, { environment = "staging" }), "cfpurge.Added")
    is(queue:drain { deadline = 10 }, "cfpurge.QueueDrained")
    queue:add({ tags = { "bad" } }, { environment_id = about.environments.staging, invalidate = true })
    queue:add({ purge_everything = true }, { zone = about.name })
    queue:drain { deadline = 10 }
    local function work_until(name)
      local last = os.time() + 20
      queue:work()
      repeat queue:step(0.05) until events[#events].name == name or os.time() > last
      queue:rest()
    end
    queue:add { hosts = { about.name } }
    work_until "rest"
    is(queue:status(), "cfpurge.QueueStatus")
    queue:add({ tags = { "slow" } }, { zone = about.name })
    work_until "held"
    local err = waiting_of(queue)
    is(err, "cfpurge.Error")
    assert.equal("number", type(err.waiting))
    is(queue:failed(), "cfpurge.QueueFailed[]")
    is(events, "cfpurge.QueueEvent[]")
    for _, name in ipairs { "Added", "QueueDrained", "QueueStatus", "QueuePause", "QueueBudget", "QueueFailed" } do
      all_seen("cfpurge." .. name)
    end
    all_seen("cfpurge.StoredError", { "field" })
    all_seen "cfpurge.QueueEvent"
  end)

  -- An option that is known says that its value is wrong; another that it is not known.
  it("of options are all known", function()
    local queue = stores.of.sqlite.queue()
    local function knows(class, call)
      for name in pairs(cats.classes[class].fields) do
        local said = call(name, io.stdout)
        assert.truthy(said:find(name, 1, true) and not said:find("no such option", 1, true), class .. ": " .. said)
      end
    end
    knows("cfpurge.QueueOptions", function(name, wrong)
      return select(2, cfpurge.queue { store = name ~= "store" and "/tmp/x.db" or nil, [name] = wrong })
    end)
    knows("cfpurge.QueueAddOptions", function(name, wrong)
      return tostring(select(2, queue:add({ tags = { "a" } }, { [name] = wrong })))
    end)
    knows("cfpurge.QueueDrainOptions", function(name, wrong) return tostring(select(2, queue:drain { [name] = wrong })) end)
    for _, class in ipairs { "cfpurge.QueueFilter", "cfpurge.QueueFailedFilter" } do
      knows(class, function(name, wrong) return tostring(select(2, queue:failed { [name] = wrong })) end)
    end
    knows("cfpurge.Rate", function(name, wrong) return select(2, pcall(cfpurge.new, { rate = { [name] = wrong } })) end)
    knows("cfpurge.VariantHeaders", function(name, wrong)
      return select(2, pcall(cfpurge.variants, { "https://a/" }, { [name] = wrong }))
    end)
    for _, plan in ipairs(cats.literals "cfpurge.Plan") do clients.new { plan = plan } end
    for _, loop in ipairs(cats.literals "cfpurge.LoopName") do
      assert.is_nil(require "cfpurge.loop".check(loop), loop)
    end
    for _, kind in ipairs(core.kinds) do assert.truthy(cfpurge.lines("VERSION", kind)) end
    local kinds = { "everything", (table.unpack or unpack)(core.kinds) }
    table.sort(kinds)
    assert.same(kinds, cats.literals "cfpurge.PurgeKind")
  end)
end)
