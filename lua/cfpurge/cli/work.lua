--- `cfpurge queue work` and `drain`: sends what waits, and tells on standard error what goes wrong, a line each.
local clients = require "cfpurge.cli.client"
local core = require "cfpurge.core"
local logs = require "cfpurge.cli.log"
local stores = require "cfpurge.cli.store"
local text = require "cfpurge.cli.text"

-- Seconds of one step at most, which a signal may have to wait for.
local STEP = 0.2

-- ---- the work ----

-- Sends until a signal comes, or `is_over()`; then what is in flight ends. The second signal does not wait for that.
local function send(queue, log, is_over)
  queue:work()
  local rests
  while true do
    local signals = core.interrupted()
    if signals > 1 or (rests and not queue:active()) then
      return signals < 2
    elseif not rests and (signals > 0 or is_over()) then
      rests = true
      queue:rest()
      if signals > 0 and queue:active() then
        log:say "rests; what is in flight ends first"
      end
    else
      queue:step(STEP)
    end
  end
end

-- What is left, as far as the store tells it; one that fails ends it.
local function left(queue, seconds)
  local state, ends = { waiting = nil, err = nil }, seconds and core.now() + seconds or math.huge
  return state, function()
    local drained, err = queue:drain { deadline = math.max(math.min(STEP, ends - core.now()), 0) }
    local is_late = core.now() >= ends
    state.waiting = drained and 0 or err.waiting or state.waiting
    state.err = not drained and (err.kind ~= "timeout" or (is_late and not state.waiting)) and err or nil
    return drained or state.err or is_late
  end
end

local function work(queue, log)
  -- What no other try would mend ends it before it begins.
  local _, err = queue:status()
  if err and not err.retryable then
    return nil, err
  end
  log:say("sends what waits in " .. log.report.store)
  local has_rested = send(queue, log, function()
    return false
  end)
  return 0, nil, has_rested
end

local function drain(queue, log, args)
  local report, began = log.report, core.now()
  local state, is_over = left(queue, args.timeout)
  local has_rested = send(queue, log, is_over)
  if state.err then
    return nil, state.err
  end
  -- A signal may come before the store has told.
  local waiting = state.waiting or 0
  local status = (state.waiting == 0 and log.failed == 0) and 0 or clients.SOME_NOT
  if waiting > 0 then
    report:line(("%s still %s"):format(text.count_of(waiting, "item"), waiting == 1 and "waits" or "wait"))
  end
  local seconds = core.now() - began
  if report.json then
    report:write(require "cfpurge.cli.json".encode { accepted = log.accepted, failed = log.failed,
      waiting = state.waiting, seconds = text.rounded(seconds) }, "\n")
  elseif not report.quiet then
    report:write(("accepted: %s, %s\n"):format(text.count_of(log.accepted, "item"), text.duration(seconds)))
  end
  return status, nil, has_rested and core.interrupted() == 0
end

---@param report table cli/report.lua's
---@return integer status, boolean? has_rested by a signal, as it was asked to
return function(args, report, store)
  local timeout = args.timeout
  if args.action == "drain" then
    -- The whole drain's, and not an attempt's.
    args.timeout = nil
  end
  core.interrupted()
  local options, err = clients.options(args, report)
  local client, queue, status, has_rested, _
  if options then
    client, _, err = require "cfpurge.client".new(options)
  end
  local log = logs(report)
  if client then
    queue, err = stores.open(store, {
      client = client, max_in_flight = args.in_flight, lease = args.lease, on_event = function(event)
        log:note(event)
      end,
    })
  end
  if queue then
    collectgarbage "restart"
    args.timeout = timeout
    status, err, has_rested = (args.action == "drain" and drain or work)(queue, log, args)
    queue:close()
  end
  if client then
    client:close()
  end
  if status then
    return status, has_rested
  end
  report:failure(clients.in_our_words(err, args))
  return clients.status_for(err)
end
