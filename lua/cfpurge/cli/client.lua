--- The command's client: its options, its errors in the words of the command, and the exit status of an error.
local core = require "cfpurge.core"

-- 0: all was accepted.
local M = { SOME_NOT = 1, USAGE = 2, CREDENTIALS = 3, NO_ANSWER = 4 }

-- ---- options ----

local option_of = {
  zone = "--zone", zone_id = "--zone", environment = "--environment", environment_id = "--environment",
  max_retries = "--retries", retry_for = "--retry-for", timeout = "--timeout", max_in_flight = "--in-flight",
  plan = "--plan", delay = "--delay", again = "--again", limit = "--limit", lease = "--lease",
  older_than = "--older-than",
  ca_file = "--ca-file", base_url = "CLOUDFLARE_BASE_URL", api_token = "CLOUDFLARE_API_TOKEN",
  api_key = "CLOUDFLARE_API_KEY", api_email = "CLOUDFLARE_EMAIL",
}

--- An error of an option, in the words of the command.
---@return cfpurge.Error
function M.in_our_words(err, args)
  local option = err.kind == "invalid_request" and option_of[err.field]
  if err.field == "zone_id" and not args.zone then
    option = "CLOUDFLARE_ZONE_ID"
  elseif err.field == "api_token" and args.token_file then
    option = "--token-file"
  end
  if option then
    err.message = err.message:gsub("^" .. err.field .. "%f[%W]", option)
      :gsub("given as zone or environment$", "given by --zone"):gsub(", or set allow_http$", "")
      :gsub("max_retries", "--retries")
  end
  if err.field == "zone_id" and err.message:find "no zone_id" then
    err.message = "no zone: give --zone, or set CLOUDFLARE_ZONE_ID"
  elseif err.field == "api_token" and err.message:find "no credential" then
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

--- The zone of the arguments, as an option.
function M.zone_options(args, options)
  if args.zone then
    options[require "cfpurge.names".is_name(args.zone) and "zone" or "zone_id"] = args.zone
  end
end

--- What the command gives to cfpurge.new.
---@return table? options, cfpurge.Error?
function M.options(args, report)
  local options = {
    max_retries = args.retries, retry_for = args.retry_for, timeout = args.timeout, max_in_flight = args.in_flight,
    plan = args.plan,
    ca_file = args.ca_file, user_agent = "cfpurge-cli/" .. core.version, loop = "blocking",
  }
  M.zone_options(args, options)
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

--- The environment of the arguments, as an option.
function M.environment_options(args, options)
  if args.environment then
    local is_id = args.environment:find("^" .. ("%x"):rep(32) .. "$")
    options[is_id and "environment_id" or "environment"] = args.environment
  end
end

--- What the command gives to a purge. A dry run is the API's, and not the queue's.
---@return table
function M.call_options(args)
  local options = { invalidate = args.invalidate, dry_run = args.dry_run }
  if not args.dry_run then
    options.delay, options.again = args.delay, args.again
  end
  M.environment_options(args, options)
  return options
end

-- ---- the exit status ----

local status_of = {
  authentication = M.CREDENTIALS, connection = M.NO_ANSWER, tls = M.NO_ANSWER, timeout = M.NO_ANSWER,
  bad_response = M.NO_ANSWER, server = M.NO_ANSWER, store = M.NO_ANSWER,
  -- Without anything that it is about it is no answer of the API.
  permission_denied = M.NO_ANSWER,
}

--- The exit status.
---@param err cfpurge.Error
function M.status_for(err)
  if err.accepted > 0 then
    return M.SOME_NOT
  elseif err.kind == "invalid_request" and err.attempts == 0 then
    return (err.field == "api_token" or err.field == "api_key" or err.field == "api_email") and M.CREDENTIALS or M.USAGE
  elseif err.about then
    return err.about == "credential" and M.CREDENTIALS or M.SOME_NOT
  end
  return status_of[err.kind] or M.SOME_NOT
end

return M
