-- No loop at all: whoever waits, steps.
local program = require "spec.hosts.program"

local host = { waits = true }

function host.wait_until(fn, clients)
  while not fn() do
    for _, client in ipairs(clients) do
      -- With two clients neither may wait for ever.
      local ok, err = pcall(client.step, client, clients[2] and 0.01 or client:active() and 1 or 0)
      if not ok then
        io.stderr:write(tostring(err), "\n")
      end
    end
  end
end

program.start(host)
