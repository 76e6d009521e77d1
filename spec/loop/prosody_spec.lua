-- Prosody, the real one, whose Lua is 5.4.
local elsewhere = require "spec.support.where"
local edge = require "spec.support.edge"
local asked = require "spec.support.asked"
local program = require "spec.hosts.program"
local recipe = require "spec.support.recipe"

if elsewhere "lua5.4 unwatched" then return end

local SLOW = { { delay = 0.3, pass = true, times = 0 } }

describe("Prosody", function()
  it("the contract holds", function()
    assert.same({}, program.contract "prosody")
  end)

  for backend, name in pairs { epoll = "epoll", select = "select", event = "libevent" } do
    it("a purge lets the others go on and costs nothing, and no descriptor is watched afterwards: " .. backend, function()
      local value = program.run("prosody", [[
        local server, timer = require "net.server", require "util.timer"
        local watched, ticks, turns, watch = 0, 0, 0, server.watchfd
        function server.watchfd(fd, on_readable, ...)
          watched = watched + 1
          local handle = watch(fd, function(...) turns = turns + 1 return on_readable(...) end, ...)
          -- That of libevent has no close.
          local name = handle.close and "close" or "setflags"
          local close = handle[name]
          handle[name] = function(...) watched = watched - 1 return close(...) end
          return handle
        end
        timer.add_task(0.01, function() ticks = ticks + 1 return 0.01 end)
        local client = new()
        local result = assert(client:purge { tags = { "a" } })
        host.wait_until(function() return watched == 0 end)
        return { accepted = result.accepted, ticks = ticks, turns = turns, watched = watched,
          backend = server.get_backend():match "%w+" }
      ]], { answers = SLOW, env = "CFPURGE_BACKEND=" .. backend })
      assert.same({ 1, 0, name }, { value.accepted, value.watched, value.backend })
      assert.is_true(value.ticks >= 5, value.ticks .. " ticks")
      assert.is_true(value.turns <= 40, value.turns .. " turns")
    end)
  end

  it("others are answered within 10 ms while a purge waits, or 1,000 are under way", function()
    local port = recipe.port()
    local function check(code, answers)
      asked(("http://127.0.0.1:%d/"):format(port), function()
        program.run("prosody", [[
          require("net.server").addserver("127.0.0.1", args.port, {
            onincoming = function(conn) conn:write "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" end,
          }, "*a")
        ]] .. code, { answers = answers, args = { port = port } })
      end)
    end
    check("assert(new():purge { tags = { 'a' } })", SLOW)
    check [[
      local client, list, accepted = new(), {}, 0
      for i = 1, 1000 do list[i] = "many" .. i end
      assert(client:start({ tags = list }, { max_items = 1 }, function(result) accepted = result.accepted end))
      host.wait_until(function() return accepted == 1000 end)
    ]]
  end)

  it("outside its async contexts purge names start, which works there", function()
    local value, _, zone = program.run("prosody", [[
      local timer, client, problem, done = require "util.timer", new(), nil, nil
      timer.add_task(0, function()
        problem = select(2, client:purge { tags = { "a" } }).message
        assert(client:start({ tags = { "b" } }, nil, function(result) done = result end))
      end)
      host.wait_until(function() return done end)
      return { problem = problem, accepted = done.accepted }
    ]])
    assert.same({ problem = "purge waits in an async context of Prosody only: use start, or util.async", accepted = 1 }, value)
    assert.equal(1, edge.counts(zone).requests)
  end)
end)
