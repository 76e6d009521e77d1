-- Which loop a call belongs to, and loops of one's own.
local cfpurge = require "cfpurge"
local loops = require "cfpurge.loop"
local elsewhere = require "spec.support.where"
local program = require "spec.hosts.program"
local clients = require "spec.support.client"
local edge = require "spec.support.edge"

describe("a system without a descriptor to watch", function()
  for _, name in ipairs { "cqueues", "luv", "copas" } do
    it("is no place for a loop that needs one: " .. name, function()
      if elsewhere(name) then return end
      local value, _, zone = program.run(name, [=[
        local client = new()
        function client.fileno() end
        local result, err = client:purge { tags = { "a" } }
        return { result = result ~= nil, kind = err.kind, message = err.message, left = client:in_flight() }
      ]=])
      assert.same({ result = false, kind = "invalid_request", left = 0,
        message = "this system has no descriptor to watch" }, value)
      assert.equal(0, edge.counts(zone).requests)
    end)
  end
end)

describe("a function that C has called", function()
  if not coroutine.isyieldable then return end -- 5.1 and 5.2 cannot tell

  for _, name in ipairs { "cqueues", "luv", "copas" } do
    it("is no place to wait, a purge there names start and sends nothing: " .. name, function()
      if elsewhere(name) then return end
      local value, _, zone = program.run(name, [=[
        local client, problem = new(), nil
        table.sort({ 2, 1 }, function(a, b)
          problem = problem or select(2, client:purge { tags = { "a" } }).message
          return a < b
        end)
        return { problem = problem, left = client:in_flight(), started = client:stats().attempts }
      ]=])
      assert.same({ problem = "purge cannot wait in a function that C has called: use start", left = 0, started = 0 }, value)
      assert.equal(0, edge.counts(zone).requests)
    end)
  end
end)

describe("the loop of a host's own", function()
  it("the contract holds for the README's example", function()
    assert.same({}, program.contract "own")
  end)

  it("the example is short", function()
    local lines = 0
    for _ in io.lines "spec/hosts/custom.lua" do lines = lines + 1 end
    assert.is_true(lines <= 20)
  end)

  it("wait and drive are all that it is asked for, drive when something begins and when nothing is left", function()
    local calls = {}
    local loop = {}
    function loop.drive(client)
      calls[#calls + 1] = client:active() and "active" or "idle"
    end
    function loop.wait(client, request)
      calls[#calls + 1] = "wait"
      request.wake = function() calls[#calls + 1] = "wake" end
      while not request:done() do client:step() end
    end
    local client = clients.new { loop = loop }
    assert(client:purge { tags = { "a" } })
    assert.same({ "active", "wait", "wake", "idle" }, calls)
    calls = {}
    local request = assert(client:start { tags = { "a" } })
    client:close()
    assert.same({ "active", "idle" }, calls)
    assert.is_true(request:done())
  end)

  for _, what in ipairs { "wait", "drive" } do
    it("that cannot " .. what .. " takes the request back and passes its reason on", function()
      local loop = { wait = function() return true end, drive = function() return true end }
      loop[what] = function(client) if client:active() then return false, "not now: use start" end end
      local client, zone = clients.new { loop = loop }
      local result, err = client:purge { tags = { "a" } }
      assert.is_nil(result)
      assert.same({ "invalid_request", 0 }, { err.kind, client:in_flight() })
      assert.matches("not now: use start", err.message)
      loop.wait = function(_, own) while not own:done() do client:step(1) end end
      loop.drive = function() end
      assert(client:purge { tags = { "b" } })
      assert.equal(1, #require("spec.support.edge").requests(zone))
      client:close()
    end)
  end
end)

describe("the choice", function()
  it("refuses by name what cannot be loaded here", function()
    local client, _, err = cfpurge.new((clients.options { loop = "openresty" }))
    assert.same({ nil, "invalid_request", "loop" }, { client, err.kind, err.field })
    assert.is_nil(err.message:find "\n")
  end)

  it("refuses by name what there is not", function()
    for _, loop in ipairs { "uv", "", { wait = print }, { drive = print }, {} } do
      local client, _, err = cfpurge.new { api_token = "t", loop = loop }
      assert.is_nil(client)
      assert.same({ "invalid_request", "loop" }, { err.kind, err.field })
    end
  end)

  -- The loops themselves are not loaded here: only what is running is pretended.
  local function picked(pretend)
    local names, before = { "openresty", "luv", "haproxy", "prosody", "cqueues", "copas", "blocking" }, {}
    local globals = { ngx = true, vim = true, prosody = true }
    local function set(name, value)
      if globals[name] then rawset(_G, name, value) else package.loaded[name] = value end
    end
    for _, name in ipairs(names) do
      local module = "cfpurge.loop." .. name
      before[module] = package.loaded[module]
      package.loaded[module] = { name = name }
    end
    local real = {}
    for _, name in ipairs { "cqueues", "copas", "luv" } do real[name] = package.loaded[name] end
    for _, name in ipairs { "cqueues", "copas", "luv", "ngx", "vim", "prosody" } do set(name, pretend[name]) end
    local found = loops.pick "auto".name
    local inside = coroutine.wrap(function() return loops.pick "auto".name end)()
    for name in pairs(globals) do set(name, nil) end
    for _, name in ipairs { "cqueues", "copas", "luv" } do package.loaded[name] = real[name] end
    for _, name in ipairs(names) do package.loaded["cfpurge.loop." .. name] = before["cfpurge.loop." .. name] end
    return found .. " " .. inside
  end

  -- busted itself may run this in a coroutine, where copas would be found.
  -- luv and the copas before 4 do not tell whether they run.
  it("goes by what is running; luv and an old copas are taken where they are loaded", function()
    local idle, busy = { running = function() end }, { running = function() return {} end }
    assert.equal("blocking blocking", picked {})
    assert.equal("blocking blocking", picked { cqueues = idle })
    assert.equal("cqueues cqueues", picked { cqueues = busy, copas = {}, luv = {} })
    assert.matches(" copas$", picked { cqueues = idle, copas = {}, luv = {} })
    assert.matches(" copas$", picked { copas = { running = true } })
    assert.equal("blocking blocking", picked { copas = { running = false } })
    assert.equal("prosody prosody", picked { prosody = { process_type = "prosody" }, luv = {}, copas = {} })
    assert.equal("blocking blocking", picked { prosody = { process_type = "prosodyctl" } })
    assert.equal("luv luv", picked { luv = {} })
    assert.equal("luv luv", picked { vim = { loop = {} }, cqueues = busy })
    assert.equal("luv luv", picked { vim = { uv = {} } })
    assert.equal("blocking blocking", picked { vim = {} })
    assert.equal("openresty openresty", picked { ngx = { get_phase = print }, cqueues = busy })
    assert.equal("blocking blocking", picked { ngx = {} })
  end)

  it("lets hosts share a client, in turn and at once", function()
    if elsewhere "cqueues luv" then return end
    local value = program.run("cqueues", [[
      local uv, cqueues, client, list = require "luv", require "cqueues", new(), {}
      for i = 1, 2 do
        list[#list + 1] = client:purge({ tags = { "luv" } }).accepted
        local begun = assert(client:start { tags = { "begun-in-luv" } })
        local controller, other = cqueues.new()
        controller:wrap(function()
          list[#list + 1] = begun:wait().accepted
          list[#list + 1] = client:purge({ tags = { "cqueues" } }).accepted
          other = client:start { tags = { "begun-in-cqueues" } }
        end)
        repeat controller:step() until other
        list[#list + 1] = other:wait().accepted
        assert(controller:loop())
      end
      return { list = table.concat(list, " "), alive = uv.run() and 1 or 0 }
    ]], { main = true, answers = { { delay = 0.02, pass = true, times = 0 } } })
    assert.same({ list = "1 1 1 1 1 1 1 1", alive = 0 }, value)
  end)

  it("is made anew at each call", function()
    if elsewhere "cqueues" then return end
    local value = program.run("cqueues", [[
      local loops, seen = require "cfpurge.loop", {}
      local function look()
        seen[#seen + 1] = loops.pick "auto" == require "cfpurge.loop.cqueues" and "in" or "out"
      end
      look()
      local controller = require("cqueues").new()
      controller:wrap(look)
      controller:loop()
      look()
      return { seen = table.concat(seen, " ") }
    ]], { main = true })
    assert.equal("out in out", value.seen)
  end)
end)
