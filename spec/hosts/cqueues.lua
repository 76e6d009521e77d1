-- cqueues: one controller; its tasks are its coroutines.
local cqueues = require "cqueues"
local program = require "spec.hosts.program"

local controller = cqueues.new()
local host = { controller = controller }

function host.spawn(fn)
  cqueues.running():wrap(fn)
end

function host.wait_until(fn)
  while not fn() do
    cqueues.sleep(0.002)
  end
end

-- What a controller's coroutines raise comes out of its step.
function host.loop(one)
  for err in one:errors() do
    io.stderr:write(tostring(err), "\n")
  end
end

if program.main then
  program.start(host)
else
  controller:wrap(program.start, host)
end
host.loop(controller)
io.stdout:write "the loop ended\n"
