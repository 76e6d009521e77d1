-- A host of its own: the worked example of lua/README.md, spec/hosts/custom.lua.
local custom = require "spec.hosts.custom"
local program = require "spec.hosts.program"

local waiting, finished = {}, false
local host = { options = { loop = custom } }

function host.spawn(fn)
  assert(coroutine.resume(coroutine.create(fn)))
end

function host.wait_until(fn)
  waiting[#waiting + 1] = { thread = coroutine.running(), fn = fn }
  coroutine.yield()
end

host.spawn(function()
  program.start(host)
  finished = true
end)

while not finished do
  -- Nobody looks: a purge alone has to end the turn.
  local ok, err = pcall(custom.turn, waiting[1] and 0.005 or nil)
  if not ok then
    io.stderr:write(tostring(err), "\n")
  end
  for i = #waiting, 1, -1 do
    local one = waiting[i]
    if one.fn() then
      table.remove(waiting, i)
      assert(coroutine.resume(one.thread))
    end
  end
end
