-- What comes back to a client in the middle of one of its own calls: finalizers, and on_event handlers that take.
local elsewhere = require "spec.support.where"
local client = require "spec.support.client"
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local lists = require "spec.support.lists"
local cfpurge = require "cfpurge"
local core = require "cfpurge.core"

local tags = { tags = { "a" } }

-- Garbage that runs `finalizer`.
local function litter(finalizer)
  local newproxy = rawget(_G, "newproxy")
  if newproxy then getmetatable(newproxy(true)).__gc = finalizer else setmetatable({}, { __gc = finalizer }) end
end

-- Runs `work` while the collector finds something that runs `finalize`, at whatever allocation it likes best: each of
-- `n` rounds gives it another one. `prepare(i)` comes first and outside.
local function amid(n, prepare, work, finalize)
  local armed = false
  local function finalizer() if armed then finalize() end end
  -- As much at once as a Lua takes: a whole cycle at one allocation, where it can. 0 is no limit in 5.1, LuaJIT and 5.5.
  host.tune("stepmul", ({ ["Lua 5.4"] = 1000, ["Lua 5.1"] = 0, ["Lua 5.5"] = 0 })[_VERSION] or 1000000)
  for i = 1, n do
    collectgarbage()
    collectgarbage "stop"
    prepare(i)
    for _ = 0, i do litter(finalizer) end
    armed = true
    collectgarbage "restart"
    work(i)
    armed = false
  end
  host.tune("stepmul", 200)
end

-- A client whose purge has ended and was not taken.
local function ended()
  local c = core.new((client.options()))
  local id = assert(c:start(tags))
  while c:step() > 0 do end
  return c, id
end

describe("a finalizer amid take", function()
  it("finds what is being taken gone already", function()
    local c, id, stolen, taken = core.new((client.options())), nil, 0, 0
    amid(30, function()
      id = assert(c:start(tags))
      while c:step() > 0 do end
    end, function()
      local got, result = c:take()
      if got then
        assert.equal(id, got)
        assert.equal(1, result.accepted)
        taken = taken + 1
      end
    end, function()
      if c:take() then stolen = stolen + 1 end
    end)
    assert.equal(30, taken + stolen)
    assert.is_nil(c:take())
    c:close()
  end)

  it("may close the client", function()
    local c, id
    amid(30, function() c, id = ended() end, function()
      local got, result, err = c:take()
      assert.equal(id, got)
      assert.equal(1, assert(result, err).accepted)
      assert.is_nil(c:take())
    end, function() c:close() end)
  end)

  it("may purge", function()
    local c, id = core.new((client.options())), nil
    local purged = 0
    amid(20, function()
      id = assert(c:start(tags))
      while c:step() > 0 do end
    end, function()
      assert.equal(id, (c:take()))
    end, function()
      if purged < 20 then
        purged = purged + 1
        assert(c:purge { tags = { "inner" } })
      end
    end)
    assert.is_true(purged > 0)
    c:close()
  end)
end)

describe("a finalizer amid what is told of a client", function()
  -- What it closes wipes the texts of its options.
  for name, told in pairs {
    limits = function(c) return (c:limits("files") or {}).max_items end,
    rates = function(c) return (c:rates() or {}).plan end,
  } do
    it("may close it: " .. name, function()
      local c, first
      amid(20, function()
        c = core.new((client.options { plan = "enterprise" }))
        first = first or told(c)
      end, function()
        -- Nothing, where it was closed before.
        local now = told(c)
        assert.is_true(now == nil or now == first, tostring(now))
      end, function() c:close() end)
    end)
  end
end)

describe("a finalizer amid take of a store", function()
  it("finds what is being taken gone already", function()
    local path = os.tmpname()
    local store, taken, stolen = require("cfpurge.sqlite").open(path), 0, 0
    local id
    amid(30, function()
      id = assert(store:submit { { "SELECT 'a text that is longer than Lua keeps once', 1.5" } })
      repeat local _, done = store:step(1) until done > 0
    end, function()
      local got, results = store:take()
      if got then
        assert.same({ id, 1.5 }, { got, results[1].rows[1][2] })
        taken = taken + 1
      end
    end, function()
      if store:take() then stolen = stolen + 1 end
    end)
    store:close()
    os.execute("rm " .. path .. "*")
    assert.same({ 30, 0 }, { taken + stolen, store:stats().done })
  end)

  it("may finalize it, and what raises then takes nothing", function()
    local path = os.tmpname()
    local store = require("cfpurge.sqlite").open(path)
    local id = assert(store:submit { { "nonsense" } })
    repeat local _, done = store:step(1) until done > 0
    local function refuse() error("refused", 0) end
    assert.same({ false, "refused" }, { pcall(store.take, store, id, refuse) })
    assert.equal(1, store:stats().done)
    assert.is_false((pcall(store.take, store, id, function()
      assert.is_nil(store:take())
      store:__gc()
      error("refused", 0)
    end)))
    assert.is_nil(store:take())
    os.execute("rm " .. path .. "*")
  end)
end)

describe("a finalizer amid a step of a queue", function()
  it("may step it", function()
    local module, path = require "cfpurge.sqlite", os.tmpname()
    local queue
    -- Taking makes tables: a finalizer may run then, and here one always does.
    package.loaded["cfpurge.sqlite"] = { open = function(target)
      local handle, is_inside = module.open(target), false
      local function take(_, ...)
        if not is_inside then
          is_inside = true
          queue:step(0.1)
          is_inside = false
        end
        return handle:take(...)
      end
      return setmetatable({ take = take }, { __index = function(_, name)
        return function(_, ...) return handle[name](handle, ...) end
      end })
    end }
    finally(function() package.loaded["cfpurge.sqlite"] = module end)
    queue = assert(cfpurge.queue { store = path, zone_id = edge.zone() })
    for round = 1, 3 do
      local ends = {}
      for i = 1, 4 do
        ends[i] = 0
        -- A unit of the store each.
        assert(queue:start({ tags = { "a" } }, { delay = 1000 * round + i }, function() ends[i] = ends[i] + 1 end))
      end
      local last = os.time() + 20
      while queue:in_flight() > 0 and os.time() < last do queue:step(0.1) end
      assert.same({ 1, 1, 1, 1 }, ends)
    end
    queue:close()
    os.execute("rm " .. path .. "*")
  end)
end)

describe("a finalizer amid a purge that is written down", function()
  -- A new coroutine has no room for the call: that alone makes the collector's next look come within the core.
  local function each(prepare, finalize)
    local c, call
    amid(8, function()
      c = core.new((client.options(prepare.options)))
      c:settle(function() end)
      call = coroutine.create(function() return prepare.work(c) end)
    end, function()
      prepare.check(select(2, coroutine.resume(call)))
      c:close()
    end, function() finalize(c) end)
  end

  it("of a list that has a metatable changes nothing of it", function()
    local zone, count = edge.zone(), 0
    local params = { tags = setmetatable({ "outer" }, {}) }
    each({ options = { zone_id = zone }, work = function(c) return c:purge(params) end, check = function(result, err)
      assert.equal(1, assert(result, err).accepted)
    end }, function(c) c:start { tags = { "inner" } } end)
    for _, request in ipairs(edge.requests(zone)) do
      assert.is_truthy(('{"tags":["outer"]} {"tags":["inner"]}'):find(request.body, 1, true), request.body)
      count = count + (request.body:find("outer", 1, true) and 1 or 0)
    end
    assert.equal(8, count)
  end)

  it("may close a client that reads plans", function()
    local params, options = { tags = { "a" }, zone_id = edge.zone() }, { api_token = "abcdefghijklmnop" }
    each({ options = { plan = "auto" }, work = function(c) return c:start(params, options) end, check = function(id, err)
      assert.is_true(id ~= nil or err.kind == "closed", tostring(err))
    end }, function(c) c:close() end)
  end)
end)

describe("a finalizer amid a string that is made of the draft", function()
  -- What comes back: it overwrites the draft, gives its buffer away, or frees it.
  local finalizers = {
    ["checks another"] = function(c) assert(c:check({ tags = { "another-tag" } }, { zone_id = "another" })) end,
    ["adds another to a set"] = function(c) assert(c:add(c:set(), "tags", "ANOTHER")) end,
    ["purges"] = function(c) assert(c:start { tags = { "inner" } }) end,
    ["closes the client"] = function(c) c:close() end,
    ["finalizes the client"] = function(c) c:__gc() end,
  }
  for what, finalize in pairs(finalizers) do
    -- What `work` is given is all there already: its first allocation is that of the string.
    local zone = edge.zone()
    local function each(work)
      local c, tag
      amid(20, function(i)
        c = core.new((client.options { zone_id = zone }))
        c:add(c:set(), "tags", "before")
        tag = "tag-" .. i
      end, function()
        work(c, tag)
        c:close()
      end, function() finalize(c) end)
    end

    it("that " .. what .. " changes nothing that check says", function()
      local params = { tags = { false } }
      each(function(c, tag)
        params.tags[1] = tag
        local path, body, items = c:check(params)
        assert.same({ "/zones/" .. zone .. "/purge_cache", ('{"tags":["%s"]}'):format(tag), 1 }, { path, body, items })
      end)
    end)
  end

  -- In a process of its own: where there is little else the collector comes round in the time of one list.
  it("that purges loses no item of a long list", function()
    local zone = edge.zone()
    local said = host.run([[
      local c = require "cfpurge".new { api_token = edge.env.TOKEN, zone_id = args.zone, base_url = edge.env.API_HTTP }
      if _VERSION ~= "Lua 5.4" then require("spec.support.host").tune("stepmul", 10000) end
      local armed, ran, accepted = false, 0, 0
      local function finalize()
        if armed then
          ran = ran + 1
          c:start { tags = { "gc" } }
        end
      end
      for round = 1, 3 do
        collectgarbage()
        collectgarbage "stop"
        for _ = 1, 300 do
          if newproxy then
            getmetatable(newproxy(true)).__gc = finalize
          else
            setmetatable({}, { __gc = finalize })
          end
        end
        local list = {}
        for i = 1, 2000 do list[i] = ("tag%d-%04d"):format(round, i) end
        collectgarbage "restart"
        armed = true
        accepted = accepted + assert(c:purge { tags = list }).accepted
        armed = false
      end
      return { ran = ran, accepted = accepted }]], { args = { zone = zone } })
    local seen, count = { gc = true }, 0
    for _, item in ipairs((lists.sent(zone))) do
      if not seen[item] then seen[item], count = true, count + 1 end
    end
    assert.is_true(said.ran > 0)
    assert.same({ 6000, 6000 }, { said.accepted, count })
  end)
end)

describe("an on_event handler amid purge", function()
  it("that takes the ending is a bug of its host, and no hang", function()
    local c, taken
    c = core.new((client.options { on_event = function(event)
      if event.name == "done" then taken = { c:take(event.id) } end
    end }))
    local ok, raised = pcall(c.purge, c, tags)
    assert.is_false(ok)
    assert.is_truthy(tostring(raised):find "on_event")
    assert.equal(1, taken[2].accepted)
    assert.is_nil(c:take())
    c:close()
  end)

  it("may finalize the client", function()
    local c
    c = core.new((client.options { on_event = function(event) if event.name == "done" then c:__gc() end end }))
    local ok, raised = pcall(c.purge, c, tags)
    assert.is_true(not ok and tostring(raised):find "on_event" ~= nil)
    assert.equal("closed", select(2, c:purge(tags)).kind)
  end)
end)

describe("the end of a client", function()
  it("comes once where what hears of it ends the client by hand", function()
    local c, ends = core.new((client.options())), 0
    c:settle(function()
      ends = ends + 1
      if ends < 5 then c:__gc() end
    end)
    c:__gc()
    assert.equal(1, ends)
    assert.equal(0, c:step())
    local events = 0
    c = core.new((client.options { on_event = function()
      events = events + 1
      c:__gc()
    end }))
    assert(c:start(tags))
    assert(c:start(tags))
    c:__gc()
    assert.equal(2, events)
    c:__gc()
  end)

  it("is what an on_done that it runs is told of when it begins another", function()
    local kind, again
    local function forget()
      local c = assert(cfpurge.new(client.options()))
      assert(c:start(tags, nil, function(_, err)
        kind, again = err.kind, select(2, c:start(tags)).kind
      end))
    end
    forget()
    for _ = 1, 3 do collectgarbage() end
    assert.same({ "closed", "closed" }, { kind, again })
  end)
end)

describe("a fork where the kernel has no mark for it", function()
  it("is noticed all the same", function()
    if elsewhere "engine" then return end
    host.build("pid", "-DCF_GENERATION_PID")
    local got = host.run([[
      local tls = { base_url = edge.env.API_TLS, ca_file = edge.env.CA_FILE }
      local c = client.new(tls)
      assert(c:purge { tags = { "parent" } })
      local function child(depth)
        local pid = system.fork()
        if pid == 0 then
          local ok = pcall(function()
            assert(c:purge { tags = { "child" } })
            assert(c:stats().connections == 1) -- counted since the fork
            if depth < 3 then assert(child(depth + 1) == 7) end
          end)
          system.exit(ok and 7 or 1)
        end
        return system.wait(pid)
      end
      local code = child(1)
      assert(c:purge { tags = { "parent" } })
      return { code = code, connections = c:stats().connections }]], { build = "pid" })
    assert.same({ code = 7, connections = 1 }, got)
  end)
end)
