--- copas: one of its threads steps the client. A thing that copas waits for has to look like a socket, and two that
--- show the same descriptor would hide each other in select: so only the pump shows it, and one that waits shows
--- nothing until it is "dirty", LuaSocket's word for having data without the system's help.
local copas = require "copas"
local loops = require "cfpurge.loop"

local pumps = setmetatable({}, { __mode = "k" })
-- coroutine -> the client that it steps
local running = setmetatable({}, { __mode = "k" })

local NOTHING = -1

local Fake = {}
Fake.__index = Fake

function Fake:getfd()
  -- A dirty one is only looked at where it has a descriptor; which one does not matter.
  return self.ready and 0 or self.fd
end

function Fake:dirty()
  return self.ready
end

-- copas calls it before it waits and when it was told that there is something to read.
function Fake:receive()
  self.asked = not self.asked
  if self.asked and not self.ready then
    return nil, "timeout"
  end
  self.asked = false
  return true
end

function Fake.close() end

local function fake(fd)
  return setmetatable({ fd = fd, ready = false, asked = false }, Fake)
end

local function pump(client, socket)
  running[coroutine.running()] = client
  while client:active() and not socket.ready do
    copas.receive(socket)
    if not socket.ready then
      socket.is_stepping = true
      local ok, err = pcall(client.step, client, 0)
      socket.is_stepping = false
      if not ok then
        copas.addthread(function()
          error(err, 0)
        end)
      end
    end
  end
end

local function stop(client)
  if pumps[client] then
    pumps[client].ready = true
    pumps[client] = nil
  end
end

local function drive(client)
  local current, active = pumps[client], client:active()
  local fd = active and client:fileno()
  -- An on_done or an iterator may wait for something of its own, with the pump: then another one steps.
  local is_stuck = current and current.is_stepping and running[coroutine.running() or NOTHING] ~= client
  -- After a fork the descriptor is another one.
  if current and (is_stuck or current.fd ~= fd) then
    stop(client)
  end
  if active and not pumps[client] then
    if not fd then
      return false, "this system has no descriptor to watch"
    end
    local socket = fake(fd)
    pumps[client] = socket
    copas.addthread(function()
      pump(client, socket)
      -- Another one may have come and gone while it was held up.
      drive(client)
    end)
  end
  return true
end

return {
  -- A coroutine of the host's own steps.
  yields = true,

  wait = function(_, request)
    local thread, is_main = coroutine.running()
    if not thread or is_main then
      return false, "purge waits in a thread of copas only"
    elseif loops.is_held() then
      return false, loops.HELD
    end
    local own = running[thread]
    if own and not loops.yields_over_pcall then
      return false, "an on_done cannot wait under Lua 5.1: use start"
    elseif own then
      -- An on_done waits: another thread has to step meanwhile.
      stop(own)
      drive(own)
    end
    local socket = fake(NOTHING)
    request.wake = function()
      socket.ready = true
    end
    while not request:done() do
      copas.receive(socket)
    end
    return true
  end,

  drive = drive,
}
