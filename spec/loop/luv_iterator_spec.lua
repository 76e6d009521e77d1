-- Iterators that yield under luv and Neovim, where the loop's callbacks cannot.
local elsewhere = require "spec.support.where"
local program = require "spec.hosts.program"
local edge = require "spec.support.edge"

local HELPERS = [[
  local uv = host.uv
  local function after(milliseconds, fn)
    local timer = uv.new_timer()
    timer:start(milliseconds, 0, function() timer:close() fn() end)
  end
  local function sleep(milliseconds)
    local thread = coroutine.running()
    after(milliseconds, function() assert(coroutine.resume(thread)) end)
    coroutine.yield()
  end
  local hours = {}
  local function sleep_for_an_hour()
    hours[#hours + 1] = uv.new_timer()
    hours[#hours]:start(3600 * 1000, 0, function() end)
    coroutine.yield()
  end
  -- Waits before each tenth item, and by `wait(i)` where that is given.
  local function slowly(count, wait)
    local i = 0
    return function()
      i = i + 1
      if wait then wait(i) elseif i % 10 == 0 then sleep(1) end
      return i <= count and "t" .. i or nil
    end
  end
]]

local function run(name, code, options)
  return program.run(name, HELPERS .. code, options)
end

for _, name in ipairs { "luv", "nvim" } do
  describe("an iterator that yields under " .. name, function()
    if elsewhere(name == "nvim" and "luajit" or name) then return end

    it("is read to its end, in a purge and in a start", function()
      local value, _, zone = run(name, [[
        local client, seen = new()
        local result = assert(client:purge { tags = slowly(1500) })
        client:start({ tags = slowly(1500) }, nil, function(...) seen = { ... } end)
        host.wait_until(function() return seen end)
        return { purged = result.accepted, started = assert(seen[1], seen[2]).accepted, left = client:in_flight() }
      ]])
      assert.same({ purged = 1500, started = 1500, left = 0 }, value)
      assert.equal(3000, edge.counts(zone).items)
    end)

    it("is read to its end outside a coroutine", function()
      local value = run(name, "return { accepted = assert(new():purge { tags = slowly(1500) }).accepted }",
        { main = true })
      assert.same({ accepted = 1500 }, value)
    end)

    it("may be resumed as the coroutine that purges", function()
      local value = run(name, [[
        local client, task = new(), coroutine.running()
        local result = assert(client:purge { tags = slowly(1500, function(i)
          if i % 10 ~= 0 then return end
          after(1, function() assert(coroutine.resume(task, i)) end)
          assert(coroutine.yield() == i)
        end) })
        return { accepted = result.accepted }
      ]])
      assert.same({ accepted = 1500 }, value)
    end)

    it("is refused at its first yield where it wants somebody to take a value", function()
      local value, _, zone = run(name, [[
        local client, other = new(), new { zone_id = args.other }
        local result, err = client:purge { tags = slowly(1500, function(i)
          if i == 150 then coroutine.yield "a promise" end
        end) }
        return { kind = err.kind, field = err.field, message = err.message, accepted = err.accepted,
          again = other:purge { tags = { "a" } } ~= nil }
      ]], { args = { other = edge.zone() } })
      assert.equal("tags", value.field)
      assert.matches("yields a value, which nobody takes here", value.message)
      assert.same({ 100, true }, { value.accepted, value.again })
      assert.equal(100, edge.counts(zone).items)
    end)

    it("holds up neither the others nor the end of its list", function()
      local value = run(name, [[
        local client, ended = new(), {}
        local request
        request = client:start({ tags = slowly(1500, function(i)
          if i == 450 then sleep_for_an_hour() end
        end) }, nil, function(_, err) table.insert(ended, err.kind .. err.accepted) end)
        assert(client:purge { tags = { "a" } })
        host.wait_until(function() return client:in_flight() == 0 end)
        local cancelled, before = request:cancel(), os.clock()
        local _, err = request:wait()
        local closed
        client:start({ tags = slowly(1500, function(i)
          if i == 450 then sleep_for_an_hour() end
        end) }, nil, function(_, failure) closed = failure.kind end)
        client:close()
        for _, timer in ipairs(hours) do timer:close() end
        return { ended = table.concat(ended, " "), cancelled = cancelled, waited = err.kind, closed = closed,
          cpu = os.clock() - before < 0.5 }
      ]])
      assert.same({ ended = "cancelled400", cancelled = true, waited = "cancelled", closed = "closed", cpu = true },
        value)
    end)
  end)
end
