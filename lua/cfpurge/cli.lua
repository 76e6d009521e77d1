--- The command: from its arguments to its exit status. cli/items.lua is what it reads, cli/report.lua what it tells.
local core = require "cfpurge.core"

-- The command is to start as fast as curl: nothing is collected before the purge begins.
collectgarbage "stop"

-- 0: all was accepted.
local SOME_NOT, USAGE, CREDENTIALS, NO_ANSWER = 1, 2, 3, 4

local status_of = {
  authentication = CREDENTIALS, permission_denied = CREDENTIALS,
  connection = NO_ANSWER, tls = NO_ANSWER, timeout = NO_ANSWER, bad_response = NO_ANSWER, server = NO_ANSWER,
}

local commands = {
  { "files", "url", "Purge URLs." },
  { "tags", "tag", "Purge what was answered with one of these Cache-Tags." },
  { "hosts", "host", "Purge all of these hosts." },
  { "prefixes", "prefix", "Purge all below these host/path prefixes." },
  { "everything", nil, "Purge all that the zone, or the environment, has in the cache." },
}

local variants = {
  { "device", "CF-Device-Type", "mobile,desktop,tablet" },
  { "country", "CF-IPCountry", "CH,DE" },
  { "language", "Accept-Language", "de,fr" },
  { "origin", "Origin", "https://a.example,https://b.example" },
}

-- ---- the arguments ----

-- An option once: the last of two would be obeyed, and the first not.
local function add_option(command, name, value)
  return command:option(name):argname(value):overwrite(false)
end

local function add_source(command, kind, item)
  command:argument("items"):args "*":argname("<" .. item .. ">")
    :description "What to purge. Without any and without --from: the lines of standard input."
  local lines = kind == "files" and " A line is a URL, or {\"url\": ..., \"headers\": {...}}." or ""
  add_option(command, "--from", "<file>")
    :description("Reads them from a file, one a line; - is standard input." .. lines)
  add_option(command, "--remaining", "<file>")
    :description "Writes what was not accepted there, ready for --from. Else it goes to standard output."
  if kind == "files" then
    for _, axis in ipairs(variants) do
      add_option(command, "--" .. axis[1], "<list>")
        :description(("Purges each URL once for each %s, such as %s."):format(axis[2], axis[3]))
    end
  end
end

local function add_number(command, name, value)
  return add_option(command, name, value):convert(function(text)
    return tonumber(text), ("%s: '%s' is no number"):format(name, text)
  end)
end

local function add_options(command)
  add_option(command, "--zone", "<zone>"):description "Its name or its id (CLOUDFLARE_ZONE_ID)."
  add_option(command, "--environment", "<name>"):description "Of this environment only: its name or its id."
  command:flag "--invalidate":description "Makes it stale, to be revalidated, and drops nothing."
  command:option "--plan":overwrite(false):choices { "free", "pro", "business", "enterprise" }
    :description "Goes as fast as the zone's plan may, and no faster."
  command:flag "--dry-run":description "Shows the requests that would go out and sends none."
  command:flag "--json":description "Tells the outcome as one JSON object."
  command:flag "-q --quiet":description "Tells nothing but errors and what was not accepted."
  add_number(command, "--retries", "<n>"):description "Of one request (2)."
  add_number(command, "--timeout", "<seconds>"):description "Of one attempt (60)."
  add_number(command, "--in-flight", "<n>"):description "Requests at the same time (8)."
  add_option(command, "--token-file", "<file>"):description "Holds the API token (CLOUDFLARE_API_TOKEN)."
  add_option(command, "--ca-file", "<file>"):description "Certificates to trust beside the system's."
end

-- The parser. Options cost time to make: where `named` is a command, only that one has them.
local function parser_for(named)
  local parser = require "argparse"("cfpurge", "Purges the cache of Cloudflare.")
    :epilog("The credential is CLOUDFLARE_API_TOKEN, or CLOUDFLARE_EMAIL with CLOUDFLARE_API_KEY, of the environment. "
      .. "Exit status: 0 all was accepted, 1 some was not, 2 usage, 3 credentials, 4 no usable answer.")
  parser:require_command(true):command_target "kind"
  parser:flag "--version":description "Tells the version.":action(function()
    print("cfpurge " .. core.version)
    os.exit(0)
  end)
  local is_known = false
  for _, entry in ipairs(commands) do
    is_known = is_known or entry[1] == named
  end
  for _, entry in ipairs(commands) do
    local kind, item, description = entry[1], entry[2], entry[3]
    local command = parser:command(kind):description(description)
    if kind == named or not is_known then
      if item then
        add_source(command, kind, item)
      else
        command:flag "-y --yes":description "Does not ask."
      end
      add_options(command)
    end
  end
  return parser:add_complete_command "completion"
end

-- ---- the client ----

local option_of = {
  zone = "--zone", zone_id = "--zone", environment = "--environment", environment_id = "--environment",
  max_retries = "--retries", timeout = "--timeout", max_in_flight = "--in-flight", plan = "--plan",
  ca_file = "--ca-file", base_url = "CLOUDFLARE_BASE_URL",
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
  elseif err.field == "api_token" and err.message:find "no credential" then
    err.message = "no credential: set CLOUDFLARE_API_TOKEN, or give --token-file"
  end
  return err
end

local function read_token(path)
  local file, problem = io.open(path)
  local token = file and file:read "*l"
  if file then
    file:close()
  end
  token = token and token:match "^%s*(%S+)%s*$"
  return token, problem or path .. ": its first line is no token"
end

local function zone_options(args, options)
  if args.zone then
    options[args.zone:find(".", 1, true) and "zone" or "zone_id"] = args.zone
  end
end

local function client_options(args)
  local options = {
    max_retries = args.retries, timeout = args.timeout, max_in_flight = args.in_flight, plan = args.plan,
    ca_file = args.ca_file, user_agent = "cfpurge-cli/" .. core.version, loop = "blocking",
  }
  zone_options(args, options)
  if args.token_file then
    local problem
    options.api_token, problem = read_token(args.token_file)
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

-- Returns the same as `client:purge`; a signal cancels it.
local function perform(client, params, options, report)
  collectgarbage "restart"
  options.on_progress = report:progress()
  local ok, request, err = pcall(client.start, client, params, options)
  if not ok then
    -- A JSON item of a wrong type: no fault of the program, as the library has it.
    local problem = tostring(request):match "bad argument #1 to 'start' %((.*)%)$"
    return nil, problem and core.error("invalid_request", problem) or error(request, 0)
  elseif not request then
    return nil, err
  end
  while not request:done() do
    if core.interrupted() then
      request:cancel()
    else
      client:step(report.interval)
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
  end
  return status_of[err.kind] or SOME_NOT
end

local function run(args, report)
  local options, err = client_options(args)
  if not options then
    return report:failure(err) or status_for(err)
  end
  core.interrupted()
  if args.kind == "everything" then
    local is_meant, why = confirmed(args)
    if not is_meant then
      return report:line(why) or USAGE
    end
  end
  local params, source = { purge_everything = true }, nil
  if args.kind ~= "everything" then
    local problem
    source, problem = require "cfpurge.cli.items".open(args, variants)
    if not source then
      return report:usage(problem) or USAGE
    end
    params = { [args.kind] = source.list }
    report.source = source
  end
  local client, _, result
  client, _, err = require "cfpurge.client".new(options)
  if client then
    result, err = perform(client, params, call_options(args), report)
    client:close()
  end
  if result then
    local problem
    if source then
      problem = select(2, source:save {}) or source.problem
    end
    report:success(result)
    return problem and (report:line(problem) or SOME_NOT) or 0
  end
  if source and source.problem and source.first + source.given == 0 then
    -- The library knows only that there was nothing.
    err.message = source.problem
  end
  report:failure(in_our_words(err, args), source, params)
  return status_for(err)
end

---@param argv string[]
---@return integer status
return function(argv)
  local parser = parser_for(argv[1])
  local ok, args = parser:pparse(argv)
  local report = require "cfpurge.cli.report".new(ok and args or { kind = argv[1] })
  if not ok then
    return report:usage(args) or USAGE
  end
  return report:finish(run(args, report))
end
