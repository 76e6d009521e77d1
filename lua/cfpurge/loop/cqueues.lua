--- cqueues: one coroutine of the running controller steps the client, a condition wakes each one that waits.
local cqueues = require "cqueues"
local condition = require "cqueues.condition"
local loops = require "cfpurge.loop"

-- client -> controller -> what its pump polls. A controller that nobody runs any more must not keep the others from
-- stepping, nor be kept itself: nothing here refers to a key (Lua 5.1 has no ephemerons).
local pumps = setmetatable({}, { __mode = "k" })
-- coroutine of a pump -> {client, controller}
local running = setmetatable({}, { __mode = "k" })

local function pump(client, controller, polled)
  local mine = pumps[client]
  running[coroutine.running()] = setmetatable({ client, controller }, { __mode = "v" })
  while mine[controller] == polled and client:active() and client:fileno() == polled.pollfd do
    cqueues.poll(polled)
    polled.is_stepping = true
    local ok, err = pcall(client.step, client, 0)
    polled.is_stepping = false
    -- Another one may have come and gone meanwhile.
    mine[controller] = mine[controller] or polled
    if not ok then
      -- It ends a coroutine of its own, as any error under cqueues; this one goes on for the others.
      controller:wrap(error, err, 0)
    end
  end
  if mine[controller] == polled then
    mine[controller] = nil
  end
end

local function drive(client)
  local mine, fd = pumps[client] or setmetatable({}, { __mode = "k" }), client:fileno()
  pumps[client] = mine
  if not client:active() then
    if fd and next(mine) then
      -- Wakes the pumps, which see that nothing is left to do.
      cqueues.cancel(fd)
    end
    return true
  end
  if not fd then
    return false, "this system has no descriptor to watch"
  end
  local controller = cqueues.running()
  local current = controller and mine[controller]
  -- An on_done or an iterator may wait for something of its own, with the pump: then another one steps.
  local own = running[coroutine.running()]
  local is_stuck = current and current.is_stepping and not (own and own[1] == client and own[2] == controller)
  if controller and (not current or is_stuck) then
    mine[controller] = { pollfd = fd, events = "r" }
    controller:wrap(pump, client, controller, mine[controller])
  end
  return next(mine) ~= nil, "no controller of cqueues is running"
end

return {
  -- A coroutine of the host's own steps.
  yields = true,

  wait = function(_, request)
    local controller, own = cqueues.running(), running[coroutine.running()]
    if not controller then
      return false, "purge waits in a coroutine of a cqueues controller only"
    elseif loops.is_held() then
      return false, loops.HELD
    end
    if own and not loops.yields_over_pcall then
      return false, "an on_done cannot wait under Lua 5.1: use start"
    elseif own then
      -- An on_done waits: another coroutine has to step meanwhile.
      pumps[own[1]][own[2]] = nil
      drive(own[1])
    end
    local ended = condition.new()
    request.wake = function()
      ended:signal()
    end
    while not request:done() do
      ended:wait()
    end
    return true
  end,

  drive = drive,
}
