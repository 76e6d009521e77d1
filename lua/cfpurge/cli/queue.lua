--- `cfpurge queue`: what the store holds, and what becomes of the refused. Sending is cli/work.lua's.
local clients = require "cfpurge.cli.client"
local stores = require "cfpurge.cli.store"
local text = require "cfpurge.cli.text"
local text_of = require "cfpurge.cli.items".text_of

local count_of, duration = text.count_of, text.duration

-- ---- status ----

-- A name and a value on each line.
local function tell_status(report, status)
  local function line(name, value)
    report:write(("%-10s"):format(name), text.printable(value), "\n")
  end
  line("store", report.store)
  line("waiting", count_of(status.waiting, "item")
    .. (status.oldest and (", the oldest for %s"):format(duration(status.oldest)) or ""))
  line("in flight", count_of(status.in_flight, "item"))
  line("failed", count_of(status.failed, "item") .. (status.failed > 0 and ": cfpurge queue failed" or ""))
  for _, zone in ipairs(status.paused) do
    line("rests", ("zone %s, for %s: %s"):format(zone.zone, duration(zone.seconds), zone.why or "no cause is known"))
  end
  for _, budget in ipairs(status.budgets) do
    local name = budget.name:gsub("^of ", "")
    if budget.held > 0 then
      line("held", ("%s of %s, for %s: the API said so"):format(budget.bucket, name, duration(budget.held)))
    elseif budget.rate > 0 then
      line("budget", ("%s of %s: %.0f left of %.0f"):format(budget.bucket, name, budget.left, budget.size))
    end
  end
  line("durable", status.durability)
end

local function status(report, queue, args)
  if args.prometheus then
    local page, err = queue:metrics()
    for line in (page or ""):gmatch "[^\n]+" do
      report:write(text.printable(line), "\n")
    end
    return page and 0, err
  end
  local found, err = queue:status()
  if found and args.json then
    -- It does not work itself, and `paused` has who rests.
    found.working, found.resting = nil, nil
    report:write(require "cfpurge.cli.json".encode(found), "\n")
  elseif found then
    tell_status(report, found)
  end
  return found and 0, err
end

-- ---- what was refused ----

local function filter_of(args)
  local filter = { zone = args.zone, kind = args.kind_of_purge, older_than = args.older_than, limit = args.limit }
  clients.environment_options(args, filter)
  return filter
end

local function line_of(failed)
  local zone = "zone " .. failed.zone
  local environment = failed.environment or failed.environment_id
  return ("%s: %s%s; %s%s%s, %s ago"):format(text.cut(failed.item and text_of(failed.item) or "everything", 100),
    failed.error.message, text.origin_of(failed.error), zone, environment and ", " .. environment or "",
    failed.invalidate and ", to invalidate" or "", duration(failed.age))
end

local function list_failed(report, queue, args)
  local list, err = queue:failed(filter_of(args))
  if list and args.json then
    report:write(require "cfpurge.cli.json".encode { failed = list }, "\n")
  else
    for _, failed in ipairs(list or {}) do
      report:write(text.printable(line_of(failed)), "\n")
    end
  end
  return list and 0, err
end

-- `retry` and `discard`.
local function changes(name, said)
  return function(report, queue, args)
    local count, err = queue[name](queue, filter_of(args))
    if count and args.json then
      report:write(('{"%s":%d}\n'):format(said, count))
    elseif count then
      report:write(said, ": ", count_of(count, "item"), "\n")
    end
    return count and 0, err
  end
end

local actions = { status = status, failed = list_failed, retry = changes("retry", "retried"),
  discard = changes("discard", "discarded") }

---@param report table cli/report.lua's
---@return integer status, boolean? has_rested by a signal, as it was asked to
return function(args, report)
  local store, problem = stores.of(args)
  if not store then
    return report:usage(problem) or clients.USAGE
  end
  report.store = stores.shown(store)
  if not actions[args.action] then
    return require "cfpurge.cli.work"(args, report, store)
  end
  local queue, err = stores.open(store, { loop = "blocking" }, true)
  local ended
  if queue then
    ended, err = actions[args.action](report, queue, args)
    queue:close()
  end
  if ended then
    return ended
  end
  report:failure(clients.in_our_words(err, args))
  return clients.status_for(err)
end
