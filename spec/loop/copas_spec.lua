-- copas, the real one, where there is one for this Lua (Debian 12 and 13 have 1.2 for 5.1, 5.2 and LuaJIT, sid has 4). It is
-- only asked for in a process of its own: it changes LuaSocket.
local program = require "spec.hosts.program"
local elsewhere = require "spec.support.where"

local run = function(code, options)
  return program.run("copas", code, options)
end

if elsewhere "copas" then return end

describe("copas", function()
  it("the contract holds", function()
    assert.same({}, program.contract "copas")
  end)

  it("a purge lets the sockets of the others go on", function()
    local value = run([[
      local socket = require "socket"
      local a, b = socket.udp(), socket.udp()
      a:setsockname("127.0.0.1", 0)
      b:setsockname("127.0.0.1", 0)
      a:settimeout(0)
      b:settimeout(0)
      local over, count, client = false, 0, new()
      local function bounce(mine, other)
        host.copas.addthread(function()
          while not over do
            host.copas.receivefrom(mine)
            count = count + 1
            mine:sendto("x", other:getsockname())
          end
        end)
      end
      bounce(a, b)
      bounce(b, a)
      a:sendto("x", b:getsockname())
      assert(client:purge { tags = { "a" } })
      over = true
      return { count = count }
    ]], { answers = { { delay = 0.3, pass = true } } })
    assert.is_true(value.count > 100, value.count .. " messages")
  end)

  it("descriptor 0 may be closed, and clients come and go", function()
    local value = run [[
      io.stdin:close()
      local count = 0
      for i = 1, 20 do
        local client = new()
        assert(client:purge { tags = { "a" } })
        if i % 2 == 0 then client:start { tags = { "b" } } end
        client:close()
        count = count + 1
      end
      return { count = count }
    ]]
    assert.equal(20, value.count)
  end)

  it("named as the loop, it carries what was started outside its threads, and purge there names them", function()
    local value = run([[
      local client, done = new { loop = "copas" }
      local _, err = client:purge { tags = { "a" } }
      assert(client:start({ tags = { "a" } }, nil, function(result) done = result end))
      while not done do host.copas.step() end
      return { accepted = done.accepted, kind = err.kind, text = err.message }
    ]], { main = true })
    assert.same({ 1, "invalid_request" }, { value.accepted, value.kind })
    assert.matches("thread", value.text)
  end)

  it("a fork with a purge in flight leaves parent and child a client that goes on", function()
    local value = run([[
      local system, client, told = require("spec.support.host").system(), new(), {}
      local function start(tag)
        assert(client:start({ tags = { tag } }, nil, function(result, err)
          told[tag] = result and "accepted" or err.kind
        end))
      end
      start "slow"
      for _ = 1, 3 do host.copas.step(0.05) end
      local child = system.fork()
      if child == 0 then
        start "own"
        local ends = os.time() + 20
        while not (told.slow and told.own) and os.time() < ends do host.copas.step(0.2) end
        system.exit(told.slow == "closed" and told.own == "accepted" and 7 or 8)
      end
      host.wait_until(function() return told.slow end)
      return { parent = told.slow, child = system.wait(child) }
    ]], { answers = { { match = "slow", delay = 1, pass = true, times = 0 } } })
    assert.same({ parent = "accepted", child = 7 }, value)
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
