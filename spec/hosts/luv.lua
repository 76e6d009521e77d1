-- Plain luv: tasks are coroutines, the loop is uv.run.
local uv = require "luv"
local program = require "spec.hosts.program"

-- luv ends the process where a callback raises.
local host = { uv = uv, fatal = true }

function host.spawn(fn)
  local ok, err = coroutine.resume(coroutine.create(fn))
  if not ok then
    io.stderr:write(tostring(err), "\n")
  end
end

function host.wait_until(fn)
  local thread = coroutine.running()
  local timer = uv.new_timer()
  timer:start(0, 2, function()
    if fn() then
      timer:close()
      assert(coroutine.resume(thread))
    end
  end)
  coroutine.yield()
end

if program.main then
  program.start(host)
else
  host.spawn(function()
    program.start(host)
  end)
end
uv.run()
io.stdout:write "the loop ended\n"
