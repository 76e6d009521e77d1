--- OpenResty: one pump in a timer steps all clients of a worker, a semaphore wakes each purge that waits.
local ngx = ngx
local now = require("resty.core.time").monotonic_time
local new_semaphore = require("ngx.semaphore").new
local ffi = require "ffi"
local has_exdata, exdata = pcall(require, "thread.exdata")

-- OpenResty cannot wait for a foreign descriptor, so the pump looks: often while a handshake or an answer is likely,
-- less often for one that takes its time. Seconds since something last changed, and how long to sleep then.
local PACE = { { 0.1, 0.001 }, { 1, 0.002 }, { 10, 0.004 }, { math.huge, 0.02 } }

-- How long a worker that shuts down has, in seconds, until all is told: Debian's unit kills nginx after 5. It waits for
-- answers, and then cancels what is in flight, which takes so long for one.
local GRACE, CANCEL = 4, 50e-6

-- A pump that has not looked for so long stands in an on_done that sleeps, or is gone because one called ngx.exit: its
-- watch sees that. Or nginx dropped its timer (lua_max_running_timers): the next call sees that. In seconds.
local STUCK, LOST = 0.05, 1

local clients, listed = {}, {} -- those with something in flight: in order, and as a set
local pump -- the one that may step; nil while nothing is in flight
local cancelling = false

local function step(client)
  local ok, err = pcall(client.step, client, 0)
  if not ok then
    ngx.log(ngx.ERR, "cfpurge: ", tostring(err))
  end
end

-- How many requests are in flight afterwards. An on_done may yield, and another pump may have taken over then.
local function step_all(me)
  local in_flight, i = 0, 1
  while pump == me and clients[i] do
    local client = clients[i]
    step(client)
    if client:active() then
      in_flight, i = in_flight + client:in_flight(), i + 1
    elseif clients[i] == client then
      listed[client] = nil
      table.remove(clients, i)
    end
  end
  return in_flight
end

-- Calls a method of those that have it.
local function call_all(name)
  for _, client in ipairs { unpack(clients) } do
    local ok, err = pcall(client[name] or type, client)
    if not ok then
      ngx.log(ngx.ERR, "cfpurge: ", tostring(err))
    end
  end
end

local function cancel_all()
  cancelling = true -- or an on_done that tries again would keep the worker for ever
  call_all "cancel"
  cancelling = false
end

local start_pump

-- Runs beside the pump, in a timer of its own: an on_done that calls ngx.exit ends all of the pump's.
local function watch(_, me)
  while not me.over:wait(STUCK) and pump == me do
    if now() - me.looked > STUCK then
      start_pump()
    end
  end
end

local function sleep(me, changed)
  local i = 1
  while me.looked - changed > PACE[i][1] do
    i = i + 1
  end
  me.asleep = true
  me.bell:wait(PACE[i][2])
  me.asleep = false
end

local function run(_, me)
  local in_flight, changed, exiting = nil, now(), nil
  me.began = true
  if not ngx.timer.at(0, watch, me) then
    ngx.thread.spawn(watch, nil, me)
  end
  while pump == me do
    me.looked = now()
    local count = step_all(me)
    if count ~= in_flight then
      in_flight, changed = count, me.looked
    end
    if ngx.worker.exiting() then
      exiting = exiting or me.looked
      call_all "rest" -- a queue's: what waits is for the others
      if me.looked - exiting > GRACE - in_flight * CANCEL then
        cancel_all()
      end
    end
    if pump == me and clients[1] then
      sleep(me, changed)
    elseif pump == me then
      pump = nil
    end
  end
  me.over:post(1)
end

-- Where it cannot, what there was goes on.
function start_pump()
  local me = { looked = now(), bell = new_semaphore(), over = new_semaphore() }
  local called, ok, err = pcall(ngx.timer.at, 0, run, me)
  if called and ok then
    pump = me
    return true
  end
  return false, "no timer carries it: " .. tostring(called and err or ok)
end

-- Sees that there is a pump, and that it looks soon.
local function keep_pumping()
  if not pump or now() - pump.looked > LOST then
    return start_pump()
  elseif pump.asleep then
    pump.asleep = false
    pump.bell:post(1)
  end
  return true
end

-- A function of its own: nginx clears the stack of a coroutine that it ends, and with it what a closure still has
-- there.
local function waker(semaphore)
  return function()
    semaphore:post(1)
  end
end

return {
  -- A coroutine of the host's own steps.
  yields = true,

  wait = function(client, request)
    local semaphore, interval = new_semaphore(), LOST
    request.wake = waker(semaphore)
    while not request:done() do
      -- nginx itself knows where a wait is possible; it raises inside a function of C (require, table.sort).
      local called, woken, problem = pcall(semaphore.wait, semaphore, interval)
      if called and problem == "timeout" then
        keep_pumping()
        -- Where nginx lets no timer run, the one who waits steps.
        interval = pump and pump.began and LOST or 0.01
        if interval < LOST then
          step(client)
        end
      elseif not (called and woken) then
        return false, ("purge cannot wait here (%s): use start"):format(called and problem or woken)
      end
    end
    return true
  end,

  drive = function(client)
    if not client:active() then
      return true
    elseif cancelling then
      return false, "nginx is shutting down"
    elseif ngx.get_phase() == "init" then
      return false, "nginx does not run yet in init_by_lua: use start in init_worker_by_lua"
    end
    local ok, problem = keep_pumping()
    if ok and not listed[client] then
      listed[client] = true
      clients[#clients + 1] = client
    end
    return ok, problem
  end,

  --- The state closes with purges in flight (nginx -s stop). An on_done's calls would find the last request, which
  --- was freed long ago: without one, nginx's functions refuse, and ngx.log writes to the main log.
  closing = has_exdata and function()
    exdata(ffi.cast("void *", 0))
  end or nil,
}
