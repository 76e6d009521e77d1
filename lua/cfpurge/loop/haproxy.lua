--- HAProxy: a task steps each client while something is in flight, and who waits looks whether his request has ended.
local core = rawget(_G, "core")
local now = require("cfpurge.core").now
local loops = require "cfpurge.loop"

-- HAProxy watches no foreign descriptor, so all look: often while a handshake or an answer is likely, less often for
-- one that takes its time. Seconds since something last changed, and how many milliseconds to sleep then.
local PACE = { { 0.1, 1 }, { 1, 2 }, { 10, 4 }, { math.huge, 10 } }

-- A pump that has not looked for so long, in seconds, is gone: HAProxy has ended its task.
local LOST = 1

-- client -> its pump: { looked, changed, is_stepping }
local pumps = setmetatable({}, { __mode = "k" })
-- coroutine of a pump -> its client
local running = setmetatable({}, { __mode = "kv" })

-- A coroutine of the host's own, in a task too, and a file that is being loaded have no place among HAProxy's tasks:
-- core.msleep does nothing there, core.register_task ends the process. This alone tells.
local function in_task()
  return core.httpclient() ~= nil
end

local function nap(changed)
  local age, i = now() - changed, 1
  while age > PACE[i][1] do
    i = i + 1
  end
  core.msleep(PACE[i][2])
  loops.hold()
end

local function run(client, me)
  local in_flight
  running[coroutine.running()] = client
  while pumps[client] == me and client:active() do
    me.looked, me.is_stepping = now(), true
    local ok, err = pcall(client.step, client, 0)
    me.is_stepping = false
    if not ok then
      core.Alert("cfpurge: " .. tostring(err))
    end
    local count = client:in_flight()
    if count ~= in_flight then
      in_flight, me.changed = count, now()
    end
    if pumps[client] == me and client:active() then
      nap(me.changed)
    end
  end
  if pumps[client] == me then
    pumps[client] = nil
  end
end

local function drive(client)
  local pump = pumps[client]
  if not client:active() then
    return true
  end
  -- An on_done may wait for something of its own, with the pump: then another one steps.
  local is_stuck = pump and pump.is_stepping and running[coroutine.running()] ~= client
  if pump and not is_stuck and now() - pump.looked <= LOST then
    pump.changed = now()
    return true
  elseif not in_task() then
    return false, "begin in a task, an action or a service of HAProxy, in no coroutine of your own"
  end
  local me = { looked = now(), changed = now() }
  pumps[client] = me
  core.register_task(function()
    run(client, me)
  end)
  return true
end

return {
  wait = function(client, request)
    local began, own = now(), running[coroutine.running()]
    if not in_task() then
      return false, "purge waits in a task, an action or a service of HAProxy: use start"
    elseif loops.is_held() then
      return false, loops.HELD
    elseif own then
      -- An on_done waits: another task has to step meanwhile.
      pumps[own] = nil
      drive(own)
    end
    while not request:done() do
      nap(began)
      local pump = pumps[client]
      if not pump or now() - pump.looked > LOST then
        drive(client)
      end
    end
    return true
  end,

  drive = drive,
}
