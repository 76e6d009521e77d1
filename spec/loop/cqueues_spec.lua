-- cqueues, the real one.
local elsewhere = require "spec.support.where"
if elsewhere "cqueues" then return end

local program = require "spec.hosts.program"

local function run(code, options)
  return program.run("cqueues", "local cqueues = require 'cqueues'\n" .. code, options)
end

describe("cqueues", function()
  it("the contract holds", function()
    assert.same({}, program.contract("cqueues", { stores = { "sqlite", "redis" } }))
  end)

  it("a loop that has nothing left to do ends by itself", function()
    local _, out = run [[host.client = new() assert(host.client:purge { tags = { "a" } })]]
    assert.matches("the loop ended", out)
  end)

  it("an on_done or an iterator that waits for something else holds up nothing that begins meanwhile", function()
    if _VERSION == "Lua 5.1" and not rawget(_G, "jit") then return end -- there they cannot wait
    local value = run([[
      local client, over, waiting, go = new { max_retries = 0 }, 0, 0, false
      local function wait_here()
        waiting, go = waiting + 1, false
        while not go do cqueues.sleep(0.005) end
        over = over + 1
      end
      local i = 0
      local cases = {
        function() client:start({ tags = { "a" } }, nil, wait_here) end,
        function()
          client:start({ tags = function()
            i = i + 1
            if i == 400 then wait_here() end
            return i <= 500 and "t" .. i or nil
          end }, { max_in_flight = 1 })
        end,
      }
      for n, case in ipairs(cases) do
        case()
        while waiting < n do cqueues.sleep(0.005) end
        assert(client:purge { tags = { "b" } })
        assert(over == n - 1)
        go = true
        while over < n or client:in_flight() > 0 do cqueues.sleep(0.01) end
      end
      return { over = over }
    ]])
    assert.same({ over = 2 }, value)
  end)

  it("two controllers share a client, one of them inside the other too", function()
    local value = run([[
      local client, list = new(), {}
      local function go(name, controller)
        controller:wrap(function()
          for _ = 1, 3 do
            local accepted = assert(client:purge { tags = { name } }).accepted
            list[#list + 1] = name .. accepted
          end
        end)
      end
      local a, b, inner = cqueues.new(), cqueues.new(), cqueues.new()
      go("a", a)
      go("b", b)
      a:wrap(function()
        go("i", inner)
        assert(inner:loop())
      end)
      repeat
        assert(a:step(0.005))
        assert(b:step(0.005))
      until a:empty() and b:empty()
      table.sort(list)
      return { list = table.concat(list, " "), left = client:in_flight() }
    ]], { main = true, answers = { { delay = 0.02, pass = true, times = 0 } } })
    assert.same({ list = "a1 a1 a1 b1 b1 b1 i1 i1 i1", left = 0 }, value)
  end)

  for what, collect in pairs {
    ["that nobody runs any more"] = "",
    ["that was collected"] = "a = nil collectgarbage() collectgarbage()",
  } do
    it("a controller " .. what .. " leaves the client to the others", function()
      local value = run([[
        local client, done, back = new(), 0, 0
        local a, b = cqueues.new(), cqueues.new()
        a:wrap(function()
          client:start({ tags = { "a" } }, nil, function() done = done + 1 end)
          client:purge { tags = { "b" } }
          back = back + 1
        end)
        assert(a:step(0))
        assert(a:step(0))
        local in_flight, weak = client:in_flight(), setmetatable({ a }, { __mode = "v" })
        ]] .. collect .. [[

        b:wrap(function()
          assert(client:purge { tags = { "c" } })
          while client:in_flight() > 0 do cqueues.sleep(0.005) end
          assert(client:purge { tags = { "d" } })
        end)
        assert(b:loop())
        client:close()
        collectgarbage()
        return { in_flight = in_flight, done = done, back = back, left = client:in_flight(), kept = weak[1] ~= nil }
      ]], { main = true, answers = { { delay = 0.05, pass = true, times = 0 } } })
      assert.same({ in_flight = 2, done = 1, back = 0, left = 0, kept = collect == "" }, value)
    end)
  end

  it("one client serves a controller, step and a blocking purge in turn", function()
    local value = run([[
      local client, list = new(), {}
      for _ = 1, 2 do
        local controller = cqueues.new()
        controller:wrap(function() list[#list + 1] = assert(client:purge { tags = { "a" } }).accepted end)
        assert(controller:loop())
        list[#list + 1] = assert(client:purge { tags = { "b" } }).accepted
        client:start({ tags = { "c" } }, nil, function(result) list[#list + 1] = result.accepted end)
        while client:step() > 0 do end
      end
      return { list = table.concat(list, " ") }
    ]], { main = true })
    assert.equal("1 1 1 1 1 1", value.list)
  end)

  it("clients come and go on the same descriptors", function()
    local value = run [[
      local count, fds = 0, {}
      for i = 1, 20 do
        local client = new()
        fds[client:fileno()] = true
        assert(client:purge { tags = { "a" } })
        if i % 2 == 0 then client:start { tags = { "b" } } end
        client:close()
        count = count + 1
      end
      local different = 0
      for _ in pairs(fds) do different = different + 1 end
      return { count = count, different = different }
    ]]
    assert.equal(20, value.count)
    assert.is_true(value.different < 10)
  end)

  it("named as the loop, it says that no controller is running", function()
    local value = run([[
      local client = new { loop = "cqueues" }
      local _, err = client:purge { tags = { "a" } }
      local _, second = client:start { tags = { "a" } }
      return { first = err.kind, second = second.kind, text = second.message, left = client:in_flight() }
    ]], { main = true })
    assert.same({ "invalid_request", "invalid_request", 0 }, { value.first, value.second, value.left })
    assert.matches("controller", value.text)
  end)

  it("a client that nobody holds goes on", function()
    local value = run [[
      local done
      new():start({ tags = { "a" } }, nil, function(result) done = result end)
      host.wait_until(function() collectgarbage() return done end)
      return { accepted = done.accepted }
    ]]
    assert.equal(1, value.accepted)
  end)
end)
