--- How the command tells what was not accepted: the items, the causes, and what to do next.
local core = require "cfpurge.core"
local reports = require "cfpurge.cli.report"

local duration, grouped = reports.duration, reports.grouped

-- Items shown on a terminal; causes told one by one.
local SHOWN, TOLD = 20, 10

local next_step = {
  authentication = "check the token: CLOUDFLARE_API_TOKEN or --token-file",
  permission_denied = "the token needs the permission Cache Purge for this zone",
  not_found = "check --zone and --environment",
  rate_limited = "try again later, and give --plan to go no faster than the plan may",
  server = "try again later",
  api = "try again later",
  conflict = "try again later",
  connection = "check the network and CLOUDFLARE_BASE_URL",
  tls = "check the certificate: --ca-file names others to trust",
  timeout = "try again, or give it longer: --timeout",
  bad_response = "check what stands between: a proxy, CLOUDFLARE_BASE_URL",
}

local function facts_of(err)
  local facts = {}
  for _, name in ipairs { "kind", "message", "status", "code", "ray_id", "retry_after", "retryable", "field" } do
    facts[name] = err[name]
  end
  return facts
end

-- One JSON object, written as what remains is read.
local function tell_json(report, err, next_item)
  local json = require "cfpurge.cli.json"
  local outcome = {
    accepted = err.accepted, requests = err.requests, attempts = err.attempts, error = facts_of(err),
  }
  for _, failure in ipairs(err.failures or {}) do
    outcome.failures = outcome.failures or {}
    table.insert(outcome.failures, { error = facts_of(failure.error), items = failure.items })
  end
  report:write((json.encode(outcome):gsub("}$", "")))
  local count = 0
  if next_item then
    for item in next_item do
      report:write(count == 0 and ',"remaining":[' or ",", json.encode(item))
      count = count + 1
    end
    report:write(count == 0 and ',"remaining":[' or "", "]")
  end
  report:write "}\n"
  return next_item and count
end

-- The items on standard output; on a terminal the first ones.
local function listed(report, next_item, text_of)
  local most, count = core.is_terminal(1) and SHOWN or math.huge, 0
  for item in next_item do
    count = count + 1
    if count <= most then
      report:write(text_of(item), "\n")
    end
  end
  report:wrote(io.flush())
  return count, count > most and count - most
end

-- One line for each cause -> how many.
local function tell_causes(report, failures, text_of)
  local causes, by_message = {}, {}
  for _, failure in ipairs(failures) do
    local cause = by_message[failure.error.message]
    if not cause and failure.error.kind ~= "cancelled" then
      cause = { message = failure.error.message, first = failure.items[1], items = 0 }
      by_message[cause.message] = cause
      causes[#causes + 1] = cause
    end
    if cause then
      cause.items = cause.items + #failure.items
    end
  end
  for i, cause in ipairs(causes) do
    if i > TOLD then
      report:line(("and %s causes more"):format(grouped(#causes - TOLD)))
      break
    end
    local more = cause.items > 1 and (" and %s more"):format(grouped(cause.items - 1)) or ""
    report:line(("%s%s: %s"):format(text_of(cause.first), more, cause.message))
  end
  return #causes
end

local function advice(err)
  if err.kind == "rate_limited" and err.retry_after then
    return ("try again in %s, and give --plan to go no faster than the plan may"):format(duration(err.retry_after))
  elseif err.kind == "tls" and err.message:find "[Cc]ertificate" == nil then
    return "try again; something between may break TLS"
  end
  return next_step[err.kind]
end

---@param report table cli/report.lua's
---@param err cfpurge.Error
---@param source table? where the items came from
---@param params table? what was asked for
return function(report, err, source, params)
  local was_cancelled = err.kind == "cancelled"
  -- Where nothing was sent, all that was given remains.
  local was_sent = err.attempts > 0 or err.accepted > 0 or err.kind ~= "invalid_request"
  local count, hidden, unsaved = nil, nil, nil
  local next_item, text_of
  if source then
    local items = require "cfpurge.cli.items"
    local remaining = err.remaining and err.remaining[report.kind] or params[report.kind]
    text_of = items.text_of
    if source.out then
      count, unsaved = source:save(remaining)
    else
      next_item = was_sent and require "cfpurge.tables".each(remaining)
    end
  end
  if report.json then
    count = tell_json(report, err, next_item) or count
  elseif next_item then
    count, hidden = listed(report, next_item, text_of)
  end
  -- A refusal of one request as a whole is not about its items.
  local is_whole = err.requests == 1 and err.accepted == 0
  local told = text_of and not is_whole and tell_causes(report, err.failures or {}, text_of) or 0
  local parts = { was_cancelled and "interrupted" or told == 0 and err.message or nil }
  if was_sent and source and count then
    parts[#parts + 1] = ("%s accepted, %s not"):format(grouped(err.accepted), grouped(count))
  end
  if source and source.problem ~= err.message then
    parts[#parts + 1] = source.problem
  end
  if source and source.out then
    parts[#parts + 1] = unsaved or ("go on with --from %s"):format(source.out.path)
  elseif hidden then
    parts[#parts + 1] = ("%s more not shown, --remaining FILE keeps them"):format(grouped(hidden))
  end
  parts[#parts + 1] = advice(err)
  if parts[1] then
    report:line(table.concat(parts, "; "))
  end
end
