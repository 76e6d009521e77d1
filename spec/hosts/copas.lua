-- copas: its threads. That of 1.2 has no sleep and no end, so the loop here steps it and looks.
local copas = require "copas"
local program = require "spec.hosts.program"

local waiting, finished = {}, false
local host = { copas = copas }

host.spawn = copas.addthread

function host.wait_until(fn)
  if not fn() then
    waiting[#waiting + 1] = { thread = coroutine.running(), fn = fn }
    coroutine.yield()
  end
end

if copas.pause then
  function host.wait_until(fn)
    while not fn() do
      copas.pause(0.005)
    end
  end
end

local function main()
  program.start(host)
  finished = true
end

if program.main then
  main()
elseif copas.pause then
  copas.loop(main)
else
  copas.addthread(main)
end

while not finished do
  -- Nobody looks: a purge alone has to wake the loop.
  copas.step(waiting[1] and 0.005 or nil)
  for i = #waiting, 1, -1 do
    local one = waiting[i]
    if one.fn() then
      table.remove(waiting, i)
      copas.addthread(one.thread)
    end
  end
end
