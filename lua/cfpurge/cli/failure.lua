--- How the command tells what was not accepted: the causes, the items, and what to do next.
local core = require "cfpurge.core"
local text = require "cfpurge.cli.text"

local duration, grouped, origin_of = text.duration, text.grouped, text.origin_of

-- Items shown on a terminal; causes told one by one; the bytes of an item, and of a message, that are shown.
local SHOWN, TOLD, ITEM, MESSAGE = 20, 10, 100, 400

-- ---- what to do next ----

local CREDENTIAL = "check the token: CLOUDFLARE_API_TOKEN or --token-file"
local ZONE = "check --zone and --environment"

local by_about = {
  credential = CREDENTIAL,
  zone = ZONE,
  plan = "the zone's plan has no such purge: purge the URLs, or everything",
  rate = "try again later, and give --plan to go no faster than the plan may",
}

local by_kind = {
  authentication = CREDENTIAL,
  permission_denied = "it was refused in front of the API, by a firewall or a proxy: it says nothing of the token",
  not_found = ZONE,
  rate_limited = by_about.rate,
  server = "try again later",
  api = "try again later",
  conflict = "try again later",
  connection = "check the network and CLOUDFLARE_BASE_URL",
  tls = "check the certificate: --ca-file names others to trust",
  timeout = "try again, or give it longer: --timeout",
  bad_response = "check what stands between: a proxy, CLOUDFLARE_BASE_URL",
  queue_full = "`cfpurge queue work` sends what waits",
}

local function advice(err, report)
  if err.kind == "store" then
    return "check the store: " .. report.store
  elseif err.kind == "rate_limited" and err.retry_after then
    return ("try again in %s, and give --plan to go no faster than the plan may"):format(duration(err.retry_after))
  elseif err.kind == "tls" and err.message:find "[Cc]ertificate" == nil then
    return "try again; something between may break TLS"
  elseif err.kind == "permission_denied" and err.about == "credential" then
    return "the token needs the permission Cache Purge for this zone"
  end
  return by_about[err.about] or by_kind[err.kind]
end

-- ---- the causes ----

local function facts_of(err)
  local facts = {}
  for _, name in ipairs { "kind", "about", "message", "status", "code", "ray_id", "retry_after", "retryable",
    "field" } do
    facts[name] = err[name]
  end
  return facts
end

local function replaced(whole, part, by)
  local at, last = whole:find(part, 1, true)
  return at and part ~= "" and whole:sub(1, at - 1) .. by .. whole:sub(last + 1) or whole
end

-- The message of one item: without its place in the list, which the file's line tells better, and with the item cut.
local function message_of(err, item, by)
  local message = err.message:gsub("^%a+%[%d+%]%.?:?%s*", "")
  if item and #item > 0 then
    message = replaced(message, item, by or text.cut(item, ITEM))
  end
  return text.cut(message, MESSAGE)
end

-- One line for each cause: where the first item stands, the item, how many more there are, and what is wrong.
---@param failures {error: cfpurge.Error, items: table, at?: integer}[]
---@return cfpurge.Error[] errors one of each cause
local function tell_causes(report, failures, source)
  local causes, by_key, errors = {}, {}, {}
  for _, failure in ipairs(failures) do
    local err, item = failure.error, source.text_of(failure.items[1])
    local key = ("%s %d %d %s"):format(err.kind, err.status or 0, err.code or 0, message_of(err, item, "*"))
    local cause = by_key[key]
    if not cause and err.kind ~= "cancelled" then
      cause = { err = err, item = item, at = failure.at, items = 0 }
      by_key[key] = cause
      causes[#causes + 1], errors[#errors + 1] = cause, err
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
    local place = cause.at and source:place(cause.at)
    report:line(("%s%s%s: %s%s"):format(place and place .. ": " or "", text.cut(cause.item, ITEM),
      cause.items > 1 and (" and %s more"):format(grouped(cause.items - 1)) or "",
      message_of(cause.err, cause.item), origin_of(cause.err)))
  end
  return errors
end

-- Nothing was sent because of one item: what the library calls files[2] is that item.
local function tell_whole(report, err, source, params)
  local at = source and tonumber(err.message:match "^%a+%[(%d+)%]")
  local place, list = at and source:place(at), source and params[report.kind]
  local item = at and type(list) == "table" and list[at] ~= nil and source.text_of(list[at])
  if place or item then
    report:line(("%s: %s"):format(place or text.cut(item, ITEM), message_of(err, item)))
  else
    report:line(text.cut(err.message, MESSAGE) .. origin_of(err))
  end
end

-- ---- the items ----

-- The items on standard output; on a terminal the first ones, and as text alone.
local function listed(report, next_item, text_of)
  local is_terminal, count = core.is_terminal(1), 0
  for item in next_item do
    count = count + 1
    if not is_terminal then
      report:write(text_of(item), "\n")
    elseif count <= SHOWN then
      report:write(text.cut(text.printable(text_of(item)), ITEM), "\n")
    end
  end
  report:wrote(io.flush())
  return count, is_terminal and count > SHOWN and count - SHOWN
end

-- To the file, or to standard output where there is none or it cannot be written.
local function tell_items(report, err, source, params, was_sent)
  local told = { written = 0 }
  local remaining = err.remaining and err.remaining[report.kind] or params[report.kind]
  local next_item = (source.remaining or was_sent) and require "cfpurge.tables".each(remaining)
  if source.remaining and not (source.problem and source:is_empty()) then
    local count, path, rest, written = require "cfpurge.cli.remaining".save(source.remaining, next_item, source)
    if count then
      told.count, told.path = count, path
      return told
    end
    told.problem, told.written, next_item = "--remaining: " .. path, written, rest
  end
  told.next_item = next_item
  return told
end

local function as_json(report, err, told)
  local failures = {}
  for i, failure in ipairs(err.failures or {}) do
    failures[i] = { error = facts_of(failure.error), items = failure.items }
  end
  return report:outcome({
    [report.is_queued and "queued" or "accepted"] = err.accepted,
    requests = err.requests or math.min(err.attempts, 1), attempts = err.attempts, ids = err.ids,
    messages = err.messages, ray_id = err.ray_id, seconds = err.elapsed, error = facts_of(err), failures = failures,
    remaining_file = told.path,
  }, told.next_item)
end

-- What was typed a moment ago still stands on the terminal.
local function is_seen(report, err, source)
  return not report.json and source:is_typed() and err.accepted == 0 and not source.remaining and core.is_terminal(1)
end

---@param report table cli/report.lua's
---@param err cfpurge.Error
---@param source table? where the items came from
---@param params table? what was asked for
return function(report, err, source, params)
  local parts, errors = {}, {}
  -- Where nothing was sent, all that was given remains.
  local was_sent = err.attempts > 0 or err.accepted > 0 or err.kind ~= "invalid_request"
  -- A refusal of one request as a whole is not about its items.
  local is_whole = err.requests == 1 and err.accepted == 0
  -- The causes first: who reads standard output may go away.
  if source and not is_whole then
    errors = tell_causes(report, err.failures or {}, source)
  end
  if err.kind == "cancelled" then
    parts[1] = "interrupted"
  elseif not errors[1] then
    tell_whole(report, err, source, params)
  elseif err.field == report.kind then
    -- Too many wrong ones ended the list, which may have right ones further on.
    local in_a_row = err.message:match "(%d+ items in a row[^:]*):"
    parts[1] = in_a_row and in_a_row .. ": nothing behind them was read"
  end
  local told, hidden = { written = 0 }, nil
  if source then
    told = tell_items(report, err, source, params, was_sent)
  end
  if report.json then
    local count = as_json(report, err, told)
    told.count = told.next_item and count or told.count
  elseif told.next_item and is_seen(report, err, source) then
    told.count = #params[report.kind]
  elseif told.next_item then
    told.count, hidden = listed(report, told.next_item, source.text_of)
  end
  if was_sent and source and told.count then
    parts[#parts + 1] = ("%s %s, %s not"):format(grouped(err.accepted), report.is_queued and "queued" or "accepted",
      grouped(told.count + told.written))
  end
  if source and source.problem ~= err.message then
    parts[#parts + 1] = source.problem
  end
  parts[#parts + 1] = told.problem
  if told.path then
    parts[#parts + 1] = "go on with --from " .. told.path
  elseif hidden then
    parts[#parts + 1] = ("%s more not shown, --remaining FILE keeps them"):format(grouped(hidden))
  end
  local said = {}
  for _, cause in ipairs(errors[1] and errors or { err }) do
    local next_step = advice(cause, report)
    if next_step and not said[next_step] then
      said[next_step] = true
      parts[#parts + 1] = next_step
    end
  end
  if parts[1] then
    report:line(table.concat(parts, "; "))
  end
end
