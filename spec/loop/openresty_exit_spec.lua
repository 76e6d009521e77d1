-- Callbacks under nginx that never come back: ngx.exit and its like, and threads that are killed.
local elsewhere = require "spec.support.where"
if elsewhere "luajit" then return end

local edge = require "spec.support.edge"
local nginx = require "spec.hosts.nginx"

describe("nginx", function()
  local it_runs

  setup(function() it_runs = nginx.start() end)
  teardown(function() it_runs:stop "QUIT" end)

  -- `code` says what a callback does; nobody calls the client meanwhile, and all are told.
  local cases = {
    ["an on_done"] = [[
      for i = 1, 20 do start({ tags = { "t" .. i } }, nil, i % 5 == 0 and leave or nil) end
      return 20]],
    ["an on_progress"] = [[
      for i = 1, 3 do
        start({ tags = tags(250) }, { on_progress = leave, max_in_flight = 1 })
      end
      return 3]],
    ["an on_event"] = [[
      client = new { zone_id = args.zone, on_event = leave }
      for i = 1, 5 do start { tags = { "t" .. i } } end
      return 5]],
  }
  local leaves = {
    exit = "ngx.exit(0)", exec = "ngx.exec('/nowhere')", redirect = "ngx.redirect('/nowhere')",
  }
  for what, code in pairs(cases) do
    for how, leave in pairs(what == "an on_done" and leaves or { exit = leaves.exit }) do
      it(("goes on after %s that calls ngx.%s"):format(what, how), function()
        local zone = edge.zone()
        edge.script(zone, { { delay = 0.02, pass = true, times = 0 } })
        it_runs:run("content", "memory.client = new { zone_id = args.zone } memory.told = 0", { zone = zone })
        local count = it_runs:run("content", ([[
          local client = memory.client
          local function leave() %s end
          local function tags(count)
            local list = {}
            for i = 1, count do list[i] = "t" .. i end
            return list
          end
          local function start(params, options, after)
            assert(client:start(params, options, function()
              memory.told = memory.told + 1
              if after then after() end
            end))
          end
        ]]):format(leave) .. code, { zone = zone })
        for _ = 1, 100 do
          if it_runs:run("content", "ngx.sleep(0.05) return memory.told") == count then break end
        end
        assert.equal(count, it_runs:run("content", "return memory.told"))
        assert.equal(0, it_runs:run("content", "return memory.client:in_flight()"))
      end)
    end
  end

  it("ends a list whose iterator was killed, or has called ngx.exit", function()
    for _, how in ipairs { "ngx.exit(0)", "ngx.sleep(60)" } do
      local zone = edge.zone()
      it_runs:run("content", ([[
        memory.client, memory.told = new { zone_id = args.zone, max_items = 2 }, false
        local count = 0
        local thread = ngx.thread.spawn(function()
          memory.client:start({ tags = function()
            count = count + 1
            if count > args.last then %s end
            return "t" .. count
          end }, nil, function(_, err) memory.told = err.kind .. " " .. err.accepted .. ": " .. err.message end)
        end)
        ngx.sleep(0.05)
        ngx.thread.kill(thread)
      ]]):format(how), { zone = zone, last = how:find "exit" and 41 or 3 })
      local told
      for _ = 1, 60 do
        told = it_runs:run("content", "ngx.sleep(0.05) collectgarbage() return memory.told")
        if told then break end
      end
      assert.matches("the coroutine in which the iterator had yielded is gone", told)
      assert.equal(edge.counts(zone).items, tonumber(told:match " (%d+):"))
    end
  end)
end)
