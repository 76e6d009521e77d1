-- How long the longest list holds its host at a time.
local clients = require "spec.support.client"
local core = require "cfpurge.core"
local elsewhere = require "spec.support.where"
local edge = require "spec.support.edge"
local host = require "spec.support.host"

describe("a table of 1,000,000 URLs", function()
  teardown(clients.close)

  it("holds its host for no more than 5 ms at a time, in start, in each step and in cancel", function()
    if elsewhere "unwatched uncounted" then return end
    local zone, about = edge.zone { blind = true }
    local list = {}
    for i = 1, 1000000 do list[i] = ("https://%s/%d"):format(about.name, i) end
    -- Nobody asks it, and nobody copies the list to be rid of it.
    setmetatable(list, { __index = error, __len = error })
    -- glibc puts in order what Lua has freed when the next large block is asked for: that is the list's maker's.
    for i = 1, 30 do assert(#("x"):rep(4000 * i) > 0) end
    host.tries(function()
      local client = clients.new { zone_id = zone }
      local longest, where = 0, nil
      local function timed(what, call, ...)
        -- Of the processor: others than the host may have the machine meanwhile.
        local begun = os.clock()
        local value = call(...)
        local took = os.clock() - begun
        if took > longest then longest, where = took, what end
        return value
      end
      local request = assert(timed("start", client.start, client, { files = list }))
      local ends, steps = core.now() + 20, 0
      repeat
        client:fileno()
        timed("step", client.step, client, 0)
        steps = steps + 1
      until (steps >= 500 and client:stats().finished > 0) or core.now() > ends
      assert(client:stats().finished > 0)
      timed("cancel", request.cancel, request)
      assert.is_true(request:done())
      client:close()
      return longest <= 0.005, ("%.1f ms in %s"):format(longest * 1e3, tostring(where))
    end)
  end)
end)
