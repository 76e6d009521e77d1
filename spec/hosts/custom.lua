local socket = require "socket"
local host, busy = {}, {} -- busy: the clients that have something in flight

function host.wait(_, request) -- goes on when the request has ended; a task of this host is a coroutine
  local task, main = coroutine.running()
  if main or not task then return false, "purge waits in a task: use start" end
  request.wake = function() assert(coroutine.resume(task)) end
  repeat coroutine.yield() until request:done()
end
function host.drive(client) -- when something begins, and when nothing is in flight any more
  busy[client] = client:active() or nil
end
function host.turn(timeout) -- one turn of the host's loop: waits for whatever it watches
  local watched = {}
  for client in pairs(busy) do
    watched[#watched + 1] = { client = client, getfd = function() return client:fileno() end }
  end
  for _, ready in ipairs(socket.select(watched, nil, timeout)) do ready.client:step(0) end
end
return host
