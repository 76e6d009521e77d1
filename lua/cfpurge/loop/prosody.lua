--- Prosody: its loop watches the client's descriptor while something is in flight.
local server = require "net.server"
local async = require "util.async"
local log = require("util.logger").init "cfpurge"
local loops = require "cfpurge.loop"

-- client -> { fd, handle }
local watches = setmetatable({}, { __mode = "k" })

local function forget(client)
  local watch = watches[client]
  watches[client] = nil
  if watch and watch.handle.close then
    watch.handle:close()
  elseif watch then
    -- That of libevent has no close.
    watch.handle:setflags(false, false)
  end
end

-- Prosody's loop pauses for 0.2 s where a callback raises: we tell its log ourselves.
local function step(client)
  local ok, err = pcall(client.step, client, 0)
  if not ok then
    log("error", "%s", tostring(err))
  end
end

return {
  wait = function(_, request)
    if not async.ready() then
      return false, "purge waits in an async context of Prosody only: use start, or util.async"
    elseif loops.is_held() then
      return false, loops.HELD
    end
    local wait
    -- Somebody else may resume the coroutine before its time.
    while not request:done() do
      wait, request.wake = async.waiter()
      wait()
    end
    return true
  end,

  drive = function(client)
    local active = client:active()
    local fd = active and client:fileno()
    -- After a fork the descriptor is another one.
    if watches[client] and watches[client].fd ~= fd then
      forget(client)
    end
    if active and not watches[client] then
      if not fd then
        return false, "this system has no descriptor to watch"
      end
      watches[client] = { fd = fd, handle = server.watchfd(fd, function()
        step(client)
      end) }
    end
    return true
  end,
}
