--- The command: from its arguments to its exit status. cli/arguments.lua is what it
--- is asked for, cli/items.lua what it reads, cli/report.lua what it tells.
local arguments = require "cfpurge.cli.arguments"
local core = require "cfpurge.core"

-- The command is to start as fast as curl: nothing is collected before the purge begins.
collectgarbage "stop"

-- 0: all was accepted.
local SOME_NOT, USAGE, CREDENTIALS, NO_ANSWER = 1, 2, 3, 4

-- How long the first signal waits for what is in flight.
local GRACE = 2

local status_of = {
  authentication = CREDENTIALS, connection = NO_ANSWER, tls = NO_ANSWER, timeout = NO_ANSWER,
  bad_response = NO_ANSWER, server = NO_ANSWER,
  -- Without anything that it is about it is no answer of the API.
  permission_denied = NO_ANSWER,
}

-- ---- the client ----

local option_of = {
  zone = "--zone", zone_id = "--zone", environment = "--environment", environment_id = "--environment",
  max_retries = "--retries", retry_for = "--retry-for", timeout = "--timeout", max_in_flight = "--in-flight",
  plan = "--plan",
  ca_file = "--ca-file", base_url = "CLOUDFLARE_BASE_URL", api_token = "CLOUDFLARE_API_TOKEN",
  api_key = "CLOUDFLARE_API_KEY", api_email = "CLOUDFLARE_EMAIL",
}

-- An error of an option, in the words of the command.
local function in_our_words(err, args)
  local option = err.kind == "invalid_request" and option_of[err.field]
  if err.field == "zone_id" and not args.zone then
    option = "CLOUDFLARE_ZONE_ID"
  elseif err.field == "api_token" and args.token_file then
    option = "--token-file"
  end
  if option then
    err.message = err.message:gsub("^" .. err.field .. "%f[%W]", option)
  end
  if err.field == "zone_id" and err.message:find "no zone_id" then
    err.message = "no zone: give --zone, or set CLOUDFLARE_ZONE_ID"
  elseif err.field == "api_token" and err.message:find "no credential: give" then
    err.message = "no credential: set CLOUDFLARE_API_TOKEN, or give --token-file"
  end
  return err
end

-- Without the space around it and a byte order mark. Whether it can be a token, the library says.
local function read_token(path)
  local file, problem = io.open(path)
  local token
  if file then
    token, problem = file:read "*l"
    file:close()
  end
  token = token and token:gsub("^\239\187\191", ""):match "^%s*(.-)%s*$"
  if token == "" or (not token and not problem) then
    return nil, path .. ": its first line is empty"
  end
  return token, problem and (problem:find(path, 1, true) and problem or path .. ": " .. problem)
end

local function zone_options(args, options)
  if args.zone then
    options[require "cfpurge.names".is_name(args.zone) and "zone" or "zone_id"] = args.zone
  end
end

local function client_options(args, report)
  local options = {
    max_retries = args.retries, retry_for = args.retry_for, timeout = args.timeout, max_in_flight = args.in_flight,
    plan = args.plan,
    ca_file = args.ca_file, user_agent = "cfpurge-cli/" .. core.version, loop = "blocking",
  }
  zone_options(args, options)
  if args.token_file then
    local problem = require "cfpurge.cli.config".check_rights(args.token_file, report)
    if not problem then
      options.api_token, problem = read_token(args.token_file)
    end
    if not options.api_token then
      return nil, core.error("invalid_request", "--token-file: " .. problem, { field = "api_token" })
    end
  end
  return options
end

local function call_options(args)
  local options = { invalidate = args.invalidate, dry_run = args.dry_run }
  if args.environment then
    local is_id = args.environment:find("^" .. ("%x"):rep(32) .. "$")
    options[is_id and "environment_id" or "environment"] = args.environment
  end
  return options
end

-- ---- the work ----

local function confirmed(args)
  if args.yes or args.dry_run then
    return true
  elseif not core.is_terminal(0) then
    return false, "everything: nobody is there to ask: give --yes"
  end
  io.stderr:write(("%s everything of %s%s? [y/N] "):format(args.invalidate and "Invalidate" or "Purge",
    args.zone or os.getenv "CLOUDFLARE_ZONE_ID" or "the zone", args.environment and ", " .. args.environment or ""))
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
    return nil, problem and core.error("invalid_request", problem) or error(request, 0)
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
      if name == "start" then
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

local function status_for(err)
  if err.accepted > 0 then
    return SOME_NOT
  elseif err.kind == "invalid_request" and err.attempts == 0 then
    return (err.field == "api_token" or err.field == "api_key" or err.field == "api_email") and CREDENTIALS or USAGE
  elseif err.about then
    return err.about == "credential" and CREDENTIALS or SOME_NOT
  end
  return status_of[err.kind] or SOME_NOT
end

-- `cfpurge zones`.
local function list_zones(args, report)
  local options, err = client_options(args, report)
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
  report:failure(in_our_words(err, args))
  return status_for(err)
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

local function purge(args, report)
  local options, err = client_options(args, report)
  if not options then
    return report:failure(err) or status_for(err)
  end
  if args.wait and not args.check then
    return report:usage "--wait: goes with --check" or USAGE
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
    local problem
    source, problem = require "cfpurge.cli.items".open(args, arguments.variants)
    if not source then
      return report:usage(problem) or USAGE
    end
    params = { [args.kind] = source.list }
    report.source = source
  end
  options.on_event = report:listener()
  local client, _, result
  local began = core.now()
  client, _, err = require "cfpurge.client".new(options)
  if client then
    local call = call_options(args)
    call.on_progress = report:progress()
    result, err = perform(client, report, "start", params, call)
    client:close()
  end
  if source and (result or err.attempts > 0) then
    report:note_star(source)
  end
  if result then
    -- What was not read may be in the old file, which stays then.
    local problem = source and (source.problem or source:empty_remaining())
    local checks = args.check and not result.dry_run and require "cfpurge.cli.check"
    local found = checks and report.json and checks.look_at(source.first_items, args, began)
    report:success(result, found)
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
  report:failure(in_our_words(err, args), source, params)
  return status_for(err)
end

local function run(args, report)
  local problem = args.profile and require "cfpurge.cli.config".apply(args, report)
  if problem then
    return report:usage(problem) or USAGE
  elseif args.kind == "zones" or args.kind == "check" then
    core.interrupted()
    return (args.kind == "zones" and list_zones or check)(args, report)
  end
  return purge(args, report)
end

---@param argv string[]
---@return integer status
return function(argv)
  local args, problem, kind = arguments.parse(argv)
  local is_json = false
  for _, word in ipairs(argv) do
    is_json = is_json or word == "--json"
  end
  local report = require "cfpurge.cli.report".new(args or { kind = kind, json = is_json })
  local status = report:finish(args and run(args, report) or report:usage(problem) or USAGE)
  -- A shell's loop goes on where a signal's status is only an exit status like others.
  local signals, last = core.interrupted()
  if signals > 0 then
    core.end_by(last)
  end
  return status
end
