-- In HAProxy: its tasks. Where each thread has a state of its own, that of the first one runs the program.
local program = require "spec.hosts.program"
-- What is not loaded now may be out of reach of its tasks.
require "spec.hosts.contract"
require "cfpurge"

local host = { spawn = core.register_task, polls = true }

-- Others, who are to be answered meanwhile.
core.register_service("answer", "http", function(applet)
  applet:set_status(200)
  applet:add_header("content-length", "0")
  applet:start_response()
end)

if os.getenv "CFPURGE_JAIL" then
  host.client = program.new(host, { allow_http = true, max_retries = 0 })
  local store = os.getenv "CFPURGE_STORE"
  host.queue = store and assert(require("cfpurge").queue { client = host.client, store = store })
end

function host.wait_until(fn)
  while not fn() do
    core.msleep(2)
  end
end

local function main()
  program.start(host)
  os.exit(0)
end

if program.main then
  main()
elseif core.thread <= 1 then
  core.register_task(main)
end
