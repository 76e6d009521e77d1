--- The command: from its arguments to its exit status. cli/arguments.lua is what it
--- is asked for, cli/items.lua what it reads, cli/client.lua what it sends by, cli/report.lua what it tells.
local arguments = require "cfpurge.cli.arguments"
local clients = require "cfpurge.cli.client"
local core = require "cfpurge.core"

-- The command is to start as fast as curl: nothing is collected before the purge begins.
collectgarbage "stop"

local USAGE, SOME_NOT = clients.USAGE, clients.SOME_NOT

-- How long the first signal waits for what is in flight.
local GRACE = 2

-- ---- the work ----

local function confirmed(args)
  if args.yes or args.dry_run then
    return true
  elseif not core.is_terminal(0) then
    return false, "everything: nobody is there to ask: give --yes"
  end
  local question = ("%s everything of %s%s?"):format(args.invalidate and "Invalidate" or "Purge",
    args.zone or os.getenv "CLOUDFLARE_ZONE_ID" or "the zone", args.environment and ", " .. args.environment or "")
  io.stderr:write(require "cfpurge.cli.text".printable(question), " [y/N] ")
  local answer = io.read "*l"
  if not answer then
    io.stderr:write "\n"
  end
  return answer and answer:lower():find "^%s*ye?s?%s*$" ~= nil, "nothing was purged"
end

-- Waits for what `client[name]` begins, and returns what that ends with. The first signal begins nothing more and waits
-- for what is in flight, the second does not wait.
local function perform(client, report, name, ...)
  collectgarbage "restart"
  local ok, request, err = pcall(client[name], client, ...)
  if not ok then
    -- A JSON item of a wrong type: no fault of the program, as the library has it.
    local problem = tostring(request):match "bad argument #1 to 'start' %((.*)%)$"
    local fields = { field = problem and problem:match "^[^:]*" }
    return nil, problem and core.error("invalid_request", problem, fields) or error(request, 0)
  elseif not request then
    return nil, err
  end
  if core.interrupted() > 0 then
    -- It came while the list was read: nothing was sent yet.
    request:cancel()
  end
  local ends
  while not request:done() do
    local signals = core.interrupted()
    if signals > 0 and not ends then
      ends = core.now() + GRACE
      if name == "start" and not report.is_queued then
        require "cfpurge.bulk.job".stop(request)
      else
        request:cancel()
      end
    elseif signals > 1 or (ends and core.now() >= ends) then
      request:cancel()
    else
      client:step(ends and 0.1 or report.interval)
      report:draw(client)
    end
  end
  report:clear()
  return request:result()
end

-- `cfpurge zones`.
local function list_zones(args, report)
  local options, err = clients.options(args, report)
  local client, _, zones
  if options then
    client, _, err = require "cfpurge.client".new(options)
  end
  if client then
    zones, err = perform(client, report, "start_zones")
    client:close()
  end
  if zones then
    require "cfpurge.cli.zones"(report, zones)
    return 0
  end
  report:failure(clients.in_our_words(err, args))
  return clients.status_for(err)
end

-- `cfpurge check`.
local function check(args, report)
  local began = core.now()
  local source, problem = require "cfpurge.cli.items".open(args, arguments.variants)
  if not source then
    return report:usage(problem) or USAGE
  end
  local items = {}
  for item in require "cfpurge.tables".each(source.list) do
    items[#items + 1] = item
  end
  if source.problem or not items[1] then
    return report:refused(source.problem or "check: nothing to ask for") or USAGE
  end
  local checks = require "cfpurge.cli.check"
  local found = checks.look_at(items, args, began)
  if report.json then
    report:write(require "cfpurge.cli.json".encode { pages = found }, "\n")
  end
  return checks.tell(report, found, args)
end

-- What a purge goes to: the store of a queue, or the API.
local function open_target(options, report, store)
  if store then
    return require "cfpurge.cli.store".open(store, options)
  end
  options.on_event = report:listener()
  local client, _, err = require "cfpurge.client".new(options)
  return client, err
end

-- The store, where the purge is to be queued; nil and what is wrong. A dry run shows what the API would get.
local function store_of(args)
  local store, problem
  if args.queue or os.getenv "CFPURGE_QUEUE" then
    store, problem = require "cfpurge.cli.store".of(args)
  end
  if not store and (args.delay or args.again) then
    problem = problem or "--delay, --again: go with --queue"
  elseif args.wait and not args.check then
    problem = problem or "--wait: goes with --check"
  elseif store and args.check then
    problem = "--check: goes without a queue (--queue, CFPURGE_QUEUE), which purges later"
  end
  return not args.dry_run and store or nil, problem
end

local function purge(args, report)
  local store, problem = store_of(args)
  if problem then
    return report:usage(problem) or USAGE
  end
  local options, err = {}, nil
  if store then
    report:queues(store)
    clients.zone_options(args, options)
    options.loop = "blocking"
  else
    options, err = clients.options(args, report)
  end
  if not options then
    return report:failure(err) or clients.status_for(err)
  end
  core.interrupted()
  if args.kind == "everything" then
    local is_meant, why = confirmed(args)
    if not is_meant then
      return report:refused(why) or USAGE
    end
  end
  local params, source = { purge_everything = true }, nil
  if args.kind ~= "everything" then
    source, problem = require "cfpurge.cli.items".open(args, arguments.variants)
    if not source then
      return report:usage(problem) or USAGE
    end
    params = { [args.kind] = source.list }
    report.source = source
  end
  local began = core.now()
  local target, result
  target, err = open_target(options, report, store)
  if target then
    local call = clients.call_options(args)
    call.on_progress = report:progress()
    result, err = perform(target, report, "start", params, call)
    target:close()
  end
  if source and (result or err.attempts > 0 or err.accepted > 0) then
    report:note_star(source)
  end
  if result then
    -- What was not read may be in the old file, which stays then.
    problem = source and (source.problem or source:empty_remaining())
    local checks = args.check and not result.dry_run and require "cfpurge.cli.check"
    local found = checks and report.json and checks.look_at(source.first_items, args, began)
    if store then
      report:queued(result, core.now() - began)
    else
      report:success(result, found)
    end
    local status = problem and (report:line(problem) or SOME_NOT) or 0
    if checks then
      local checked = checks.tell(report, found or checks.look_at(source.first_items, args, began), args)
      status = status == 0 and checked or status
    end
    return status
  end
  if source and source.problem and source:is_empty() then
    -- The library knows only that there was nothing.
    err.message = source.problem
  end
  report:failure(clients.in_our_words(err, args), source, params)
  return clients.status_for(err)
end

local function run(args, report)
  local problem = args.profile and require "cfpurge.cli.config".apply(args, report)
  if problem then
    return report:usage(problem) or USAGE
  elseif args.kind == "queue" then
    return require "cfpurge.cli.queue"(args, report)
  elseif args.kind == "zones" or args.kind == "check" then
    core.interrupted()
    return (args.kind == "zones" and list_zones or check)(args, report)
  end
  return purge(args, report)
end

---@param argv string[]
---@return integer status
return function(argv)
  local args, problem, kind, action = arguments.parse(argv)
  local is_json = false
  for _, word in ipairs(argv) do
    is_json = is_json or word == "--json"
  end
  local report = require "cfpurge.cli.report".new(args or { kind = kind, action = action, json = is_json })
  local status, has_rested = USAGE, nil
  if args then
    status, has_rested = run(args, report)
  else
    report:usage(problem)
  end
  status = report:finish(status)
  -- A shell's loop goes on where a signal's status is only an exit status like others.
  local signals, last = core.interrupted()
  if signals > 0 and not has_rested then
    core.end_by(last)
  end
  return status
end
