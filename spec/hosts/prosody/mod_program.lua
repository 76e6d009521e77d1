-- In Prosody: a task is a runner of util.async.
local async = require "util.async"
local timer = require "util.timer"
local program = require "spec.hosts.program"

local host = {}

function host.spawn(fn)
  async.runner(fn, { error = function(_, err) module:log("error", "%s", err) end }):run(true)
end

function host.wait_until(fn)
  while not fn() do
    async.sleep(0.002)
  end
end

timer.add_task(0, function()
  local function main()
    program.start(host)
    prosody.shutdown("the program has ended", 0)
  end
  if program.main then
    main()
  else
    host.spawn(main)
  end
end)
