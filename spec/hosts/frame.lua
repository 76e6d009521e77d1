-- A frame loop: step(0) in each frame, nothing ever waits.
local socket = require "socket"
local program = require "spec.hosts.program"

local host = {}

function host.pause()
  socket.sleep(1 / 240)
end

function host.wait_until(fn, clients)
  while not fn() do
    for _, client in ipairs(clients) do
      local ok, err = pcall(client.step, client, 0)
      if not ok then
        io.stderr:write(tostring(err), "\n")
      end
    end
    host.pause()
  end
end

program.start(host)
