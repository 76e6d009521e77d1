--- The queue's transitions in Redis: each function returns the commands of one unit, and what reads their replies.
--
-- The rules are one script, in four parts, which is told which transition it is.
local json = require "cfpurge.json"

local script = require "cfpurge.queue.redis_lanes" .. require "cfpurge.queue.redis_claims"
  .. require "cfpurge.queue.redis_migrations" .. require "cfpurge.queue.redis_account"

local M = {
  --- Items of one unit of an add: a script of so many holds Redis for some milliseconds.
  UNIT = 200,

  --- Where the server does not tell.
  durability = "Redis: an add is as durable as the server is set up to be (appendonly)",
}

local PREFIX = "{cfpurge}:"

-- What the server calls the script, once it has told us.
local sha

--- Loads the script. Decodes what it is called from then on.
function M.open()
  return { { "SCRIPT", "LOAD", script } }, function(results)
    sha = type(results[1]) == "string" and results[1] or sha
  end
end

--- What to do first where a unit failed for want of it: nothing more than open, where the script was flushed.
---@return table[]? commands nil where nothing helps
function M.remedy(err)
  return err.reason == "NOSCRIPT" and {} or nil
end

local function transition(name, arguments, decode)
  local text = json.encode(arguments)
  local command = sha and { "EVALSHA", sha } or { "EVAL", script }
  for _, word in ipairs { "1", PREFIX, name, text } do
    command[#command + 1] = word
  end
  return { command }, function(results)
    return decode(results[1])
  end
end

local function nothing() end

-- What a reply has in a place: it raises where the server is none of ours.
local function is(kind, value)
  if type(value) ~= kind then
    error(("%s expected, got %s"):format(kind, type(value)), 2)
  end
  return value
end

-- cjson reads every number as a float, which 5.3 and newer would show as 4.0.
local function whole(counts, ...)
  for _, name in ipairs { ... } do
    counts[name] = math.floor(counts[name])
  end
  return counts
end

local function left(reply)
  return whole(json.decode(is("string", reply)), "waiting", "in_flight", "failed")
end

-- Those of a failed item are all texts but for its age.
local function shaped(rows)
  for _, row in ipairs(rows) do
    for _, name in ipairs { "zone", "environment", "op", "kind", "item", "error" } do
      is("string", row[name])
    end
    is("number", row.age)
  end
  return rows
end

function M.add(groups, options)
  local lists = {}
  for i, group in ipairs(groups) do
    lists[i] = { zone = group.zone, environment = group.environment, op = group.op, kind = group.kind,
      items = group.items }
  end
  return transition("add", { groups = lists, options = options }, function(reply)
    local fresh = {}
    for i, group in ipairs(options.tells_each and groups or {}) do
      local keys, places = {}, reply[i + 2]
      local is_all = #places == #group.items
      for _, place in ipairs(is_all and {} or places) do
        keys[group.items[place][1]] = true
      end
      fresh[group] = is_all or keys
    end
    return { added = is("number", reply[1]), merged = is("number", reply[2]), fresh = fresh }
  end)
end

function M.look(o)
  return transition("look", o, function(reply)
    return reply and tonumber(reply) or nil
  end)
end

function M.claim(o)
  return transition("claim", o, function(reply)
    if not reply then
      return nil
    end
    local items = {}
    for i = 8, #is("table", reply), 3 do
      items[#items + 1] = { key = is("string", reply[i]), item = is("string", reply[i + 1]), tries = reply[i + 2] }
    end
    for i = 1, 6 do
      is("string", reply[i])
    end
    local fence = is("number", tonumber(reply[1]))
    return { fence = fence, zone = reply[2], environment = reply[3], op = reply[4], kind = reply[5],
      budget = reply[6] ~= "" and reply[6] or nil, is_stale = reply[7] == 1, items = items }
  end)
end

function M.renew(fences, lease)
  return transition("renew", { fences = fences, lease = lease }, function(reply)
    local ours = {}
    for _, fence in ipairs(reply) do
      ours[tonumber(fence)] = true
    end
    return ours
  end)
end

function M.settle(fence, o)
  return transition("settle", { fence = fence, o = o }, function(reply)
    return reply == 1
  end)
end

function M.set_budget(name, buckets)
  return transition("set_budget", { name = name, buckets = buckets }, nothing)
end

function M.set_zone(zone, budget)
  return transition("set_zone", { zone = zone, budget = budget }, nothing)
end

function M.wake()
  return transition("wake", {}, function(reply)
    return reply == 1
  end)
end

function M.left()
  return transition("left", {}, left)
end

function M.status()
  return transition("status", {}, function(reply)
    local status = whole(left(reply), "calls")
    for _, name in ipairs { "paused", "resting", "budgets" } do
      is("table", status[name])
    end
    for kind in pairs(status.resting) do
      whole(status.resting, kind)
    end
    for _, budget in ipairs(status.budgets) do
      is("string", budget.name)
    end
    return status
  end)
end

--- How durable an add is, in words, as the server is set up.
function M.durable()
  return { { "INFO", "persistence" }, { "INFO", "memory" } }, function(results)
    local words = "Redis: an add is in the server's append-only file, which goes to the disk as appendfsync says"
    if is("string", results[1]):find "aof_enabled:0" then
      words = "Redis: appendonly is off: what was added since its last snapshot is lost where the server dies"
    end
    -- Nothing of ours expires: no other policy drops it.
    local policy = results[2]:match "maxmemory_policy:(allkeys%S*)"
    return words .. (policy and (", and maxmemory-policy %s drops what waits: set noeviction"):format(policy) or "")
  end
end

function M.failed(filter, limit, after)
  return transition("failed", { filter = filter, limit = limit, after = after }, function(reply)
    return shaped(json.decode(reply[1])), reply[2] and tonumber(reply[2]) or nil
  end)
end

local function failed_were(name, filter, limit, after, before)
  local arguments = { filter = filter, limit = limit, after = after, before = before }
  return transition(name, arguments, function(reply)
    return { count = is("number", reply[1]), after = reply[2] and tonumber(reply[2]) or nil, now = tonumber(reply[3]) }
  end)
end

function M.retry(...)
  return failed_were("retry", ...)
end

function M.discard(...)
  return failed_were("discard", ...)
end

return M
