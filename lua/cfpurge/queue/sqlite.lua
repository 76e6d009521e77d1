--- The queue's transitions as SQL: each function returns the commands of one unit, and what reads their results.
--
-- A lane holds the items that may go in one request: (zone, environment, op, kind). `count` is how many items it has,
-- `claimed` how many of them are in flight, `head` not later than the instant at which its first waiting item is due. A
-- lane that was superseded is dead, and is swept by and by. An item with a `claim` is in flight under that fence; `next`
-- is the instant of one more purge that was asked for, `again` the seconds after its acceptance of one more. `items` of
-- an add and keys come as JSON, so that one statement serves any number of them.
local json = require("cjson").new()

local M = {
  --- Items of one unit of an add.
  UNIT = 500,

  durability = "SQLite: an add is on the disk when it returns (WAL, synchronous = FULL)",
}

local VERSION = 1
-- How many items of a dead lane one claim removes, and how many claims whose lease is over it takes back.
local SWEPT, EXPIRED = 1000, 4
-- 1200 calls in 5 minutes, whatever they are (cloudflare-api.md), counted in slots of 10 seconds.
local OVERALL, SLOT, SLOTS = 1200, 10, 31

local schema = {
  "CREATE TABLE meta (version INTEGER NOT NULL, fence INTEGER NOT NULL, failed INTEGER NOT NULL)",
  [[CREATE TABLE lanes (id INTEGER PRIMARY KEY, zone TEXT NOT NULL, environment TEXT NOT NULL, op TEXT NOT NULL,
    kind TEXT NOT NULL, died REAL, count INTEGER NOT NULL DEFAULT 0, claimed INTEGER NOT NULL DEFAULT 0, head REAL,
    served INTEGER NOT NULL DEFAULT 0)]],
  "CREATE UNIQUE INDEX lanes_alive ON lanes (zone, environment, op, kind) WHERE died IS NULL",
  "CREATE INDEX lanes_dead ON lanes (died) WHERE died IS NOT NULL",
  "CREATE INDEX lanes_heads ON lanes (head) WHERE head IS NOT NULL",
  [[CREATE TABLE items (seq INTEGER PRIMARY KEY, lane INTEGER NOT NULL, key TEXT NOT NULL, item TEXT NOT NULL,
    added REAL NOT NULL, due REAL NOT NULL, next REAL, again REAL, tries INTEGER NOT NULL DEFAULT 0, claim INTEGER)]],
  "CREATE UNIQUE INDEX items_keys ON items (key, lane)",
  "CREATE INDEX items_waiting ON items (lane, due, seq) WHERE claim IS NULL",
  "CREATE INDEX items_claimed ON items (claim) WHERE claim IS NOT NULL",
  [[CREATE TABLE claims (fence INTEGER PRIMARY KEY, lane INTEGER NOT NULL, lease REAL NOT NULL, size INTEGER NOT NULL)]],
  "CREATE INDEX claims_leases ON claims (lease)",
  "CREATE INDEX claims_lanes ON claims (lane)",
  [[CREATE TABLE zones (zone TEXT PRIMARY KEY, rests REAL NOT NULL DEFAULT 0, refusals INTEGER NOT NULL DEFAULT 0,
    why TEXT, budget TEXT) WITHOUT ROWID]],
  [[CREATE TABLE budgets (name TEXT NOT NULL, bucket TEXT NOT NULL, rate REAL NOT NULL, size REAL NOT NULL,
    left REAL NOT NULL, filled REAL NOT NULL, held REAL NOT NULL DEFAULT 0, PRIMARY KEY (name, bucket)) WITHOUT ROWID]],
  "CREATE TABLE sent (slot INTEGER PRIMARY KEY, count INTEGER NOT NULL)",
  [[CREATE TABLE failed (seq INTEGER PRIMARY KEY, zone TEXT NOT NULL, environment TEXT NOT NULL, op TEXT NOT NULL,
    kind TEXT NOT NULL, key TEXT NOT NULL, item TEXT NOT NULL, error TEXT NOT NULL, at REAL NOT NULL)]],
  "CREATE UNIQUE INDEX failed_keys ON failed (zone, environment, op, kind, key)",
}

--- Makes what is not there; refuses a store of a later version.
function M.open()
  local commands = {}
  for _, text in ipairs(schema) do
    commands[#commands + 1] = { (text:gsub("^CREATE (%u* ?)(%u+) ", "CREATE %1%2 IF NOT EXISTS ")) }
  end
  commands[#commands + 1] = { "INSERT INTO meta SELECT ?1, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM meta)", VERSION }
  commands[#commands + 1] = { "SELECT refuse('newer') FROM meta WHERE version > ?1", VERSION }
  return commands
end

--- Did a unit fail because the store is empty?
function M.is_bare(err)
  return err.message:find("no such table", 1, true) ~= nil
end

-- ---- add ----

local LANE = "(SELECT id FROM lanes WHERE zone = ?1 AND environment = ?2 AND op = ?3 AND kind = ?4 AND died IS NULL)"
local PURGES = LANE:gsub("op = %?3", "op = 'purge'")
local INVALIDATES = LANE:gsub("op = %?3", "op = 'invalidate'")

-- ?5 the items as [[key, item], …], ?6 the delay, ?7 `again` or NULL.
local MERGE = [[UPDATE items SET item = j.value ->> 1,
  next = CASE WHEN claim IS NOT NULL THEN max(ifnull(next, 0), now() + ?6)
    ELSE nullif(max(ifnull(next, 0), due, now() + ?6), min(due, now() + ?6)) END,
  due = CASE WHEN claim IS NOT NULL THEN due ELSE min(due, now() + ?6) END,
  again = nullif(max(ifnull(again, 0), ifnull(?7, 0)), 0)
  FROM json_each(?5) AS j WHERE items.lane = ]] .. LANE .. " AND items.key = j.value ->> 0"
local INSERT = "INSERT INTO items (lane, key, item, added, due, again) SELECT " .. LANE .. [[,
  j.value ->> 0, j.value ->> 1, now(), now() + ?6, ?7 FROM json_each(?5) AS j WHERE true ON CONFLICT DO NOTHING]]
-- An invalidate says nothing new where a purge of the same item waits that goes no later.
local INSERT_INVALIDATE = INSERT:gsub("WHERE true", [[WHERE ?7 IS NOT NULL OR NOT EXISTS (SELECT 1 FROM items AS p
  WHERE p.lane = ]] .. PURGES .. [[ AND p.key = j.value ->> 0 AND p.claim IS NULL AND p.due <= now() + ?6)]])
local SUPERSEDE = "DELETE FROM items WHERE +lane = " .. INVALIDATES ..
  " AND +claim IS NULL AND next IS NULL AND again IS NULL AND due >= now() + ?6 AND key IN (SELECT value ->> 0 FROM json_each(?5))"
local FORGET_FAILED = [[DELETE FROM failed WHERE zone = ?1 AND environment = ?2 AND op = ?3 AND kind = ?4
  AND key IN (SELECT value ->> 0 FROM json_each(?5))]]
-- All that waits in the zone or the environment, and that this one empties.
local DIE = [[UPDATE lanes SET died = now(), head = NULL WHERE zone = ?1 AND (?2 = '' OR environment = ?2) AND died IS NULL
  AND (?3 = 'purge' OR op = 'invalidate') AND NOT (environment = ?2 AND op = ?3 AND kind = ?4) AND count > 0]]

local function add_group(commands, group, options)
  local where = { group.zone, group.environment, group.op, group.kind }
  local function command(text, ...)
    commands[#commands + 1] = { text, where[1], where[2], where[3], where[4], ... }
    return #commands
  end
  local items, delay, again = json.encode(group.items), options.delay or 0, options.again or false
  command "INSERT OR IGNORE INTO lanes (zone, environment, op, kind) VALUES (?1, ?2, ?3, ?4)"
  local merged = command(MERGE, items, delay, again)
  local added = command(group.op == "invalidate" and INSERT_INVALIDATE or INSERT, items, delay, again)
  command("UPDATE lanes SET count = count + changes(), head = min(ifnull(head, now() + ?5), now() + ?5) WHERE id = " .. LANE,
    delay)
  if group.op == "purge" then
    command(SUPERSEDE, items, delay)
    command("UPDATE lanes SET count = count - changes() WHERE id = " .. INVALIDATES)
  end
  command(FORGET_FAILED, items)
  commands[#commands + 1] = { "UPDATE meta SET failed = failed - changes()" }
  if group.kind == "everything" and delay == 0 then
    command(DIE)
  end
  return { added = added, merged = merged, count = #group.items }
end

--- Adds the items of all groups, or none.
---@param groups {zone: string, environment: string, op: string, kind: string, items: string[][]}[] items: { key, JSON }
---@param options {delay: number?, again: number?, capacity: integer}
function M.add(groups, options)
  local commands, places = {}, {}
  for i, group in ipairs(groups) do
    places[i] = add_group(commands, group, options)
  end
  commands[#commands + 1] = {
    "SELECT refuse('queue_full') WHERE (SELECT sum(count) FROM lanes WHERE died IS NULL) > ?1", options.capacity,
  }
  return commands, function(results)
    local added, all = 0, 0
    for _, place in ipairs(places) do
      added, all = added + results[place.added].changes, all + place.count
    end
    return { added = added, merged = all - added }
  end
end

-- ---- claim ----

local READY = [[l.head IS NOT NULL AND (l.head + ?1 <= now()
    OR (l.head <= now() AND l.count - l.claimed >= CASE l.kind WHEN 'files' THEN ?2 ELSE ?3 END))
  AND ifnull(z.rests, 0) <= now()
  AND (ifnull(z.refusals, 0) = 0 OR NOT EXISTS (SELECT 1 FROM claims AS c JOIN lanes AS m ON m.id = c.lane
    WHERE m.zone = l.zone))
  AND (b.name IS NULL OR (b.held <= now() AND min(b.size, b.left + (now() - b.filled) * b.rate) >= 1))]]
local JOINED = [[lanes AS l LEFT JOIN zones AS z ON z.zone = l.zone LEFT JOIN budgets AS b
  ON b.name = ifnull(z.budget, ?4) AND b.bucket = CASE l.kind WHEN 'files' THEN 'urls' ELSE 'requests' END]]
local SENT = "(SELECT ifnull(sum(count), 0) FROM sent WHERE slot > CAST(now() / " .. SLOT .. " AS INTEGER) - " .. SLOTS .. ")"
local FENCE = "(SELECT fence FROM meta)"
local ITS_LANE = "(SELECT lane FROM claims WHERE fence = " .. FENCE .. ")"
local HEAD = "(SELECT min(due) FROM items WHERE lane = lanes.id AND claim IS NULL)"

local function ready_arguments(o, text)
  return { text, o.linger, o.full.files, o.full.others, o.budget }
end

--- Is there something to claim? Reads alone. Decodes to how many seconds off it may be: 0 for now, nil for nothing.
function M.look(o)
  return {
    ready_arguments(o, "SELECT 1 FROM " .. JOINED .. " WHERE " .. READY .. " AND " .. SENT .. " < " .. OVERALL .. " LIMIT 1"),
    { "SELECT min(head) + ?1 - now() FROM lanes WHERE head IS NOT NULL", o.linger },
    { "SELECT min(lease) - now() FROM claims" },
    { "SELECT 1 FROM lanes WHERE died IS NOT NULL LIMIT 1" },
  }, function(results)
    local head, lease = results[2].rows[1][1], results[3].rows[1][1]
    if results[1].rows[1] or results[4].rows[1] or (lease and lease <= 0) then
      return 0
    end
    return head and math.max(head, 0.001) or lease or nil
  end
end

-- Items of a dead lane go, but for those that ask for a later purge than the one that killed it: these move to the
-- lane that lives.
local function sweep(commands)
  local dead = "(SELECT id FROM lanes WHERE died IS NOT NULL LIMIT 1)"
  local later = "claim IS NULL AND max(due, ifnull(next, 0)) > (SELECT died FROM lanes WHERE id = items.lane)"
  local some = ("SELECT seq FROM items WHERE lane = %s AND claim IS NULL ORDER BY due, seq LIMIT %d"):format(dead, SWEPT)
  for _, text in ipairs {
    [[INSERT OR IGNORE INTO lanes (zone, environment, op, kind) SELECT zone, environment, op, kind FROM lanes
      WHERE died IS NOT NULL LIMIT 1]],
    [[INSERT INTO items (lane, key, item, added, due, again)
      SELECT (SELECT a.id FROM lanes AS a JOIN lanes AS d ON d.id = items.lane WHERE a.died IS NULL AND a.zone = d.zone
        AND a.environment = d.environment AND a.op = d.op AND a.kind = d.kind),
        key, item, added, max(due, ifnull(next, 0)), again FROM items WHERE seq IN (]] .. some .. ") AND " .. later ..
      " ON CONFLICT (key, lane) DO UPDATE SET next = max(ifnull(next, 0), excluded.due)",
    [[UPDATE lanes SET count = (SELECT count(*) FROM items WHERE lane = lanes.id), head = ]] .. HEAD .. [[ WHERE changes() > 0
      AND died IS NULL AND (zone, environment, op, kind) IN (SELECT zone, environment, op, kind FROM lanes
      WHERE died IS NOT NULL LIMIT 1)]],
    "DELETE FROM items WHERE seq IN (" .. some .. ")",
    "DELETE FROM lanes WHERE id = " .. dead .. " AND NOT EXISTS (SELECT 1 FROM items WHERE lane = lanes.id)",
  } do
    commands[#commands + 1] = { text }
  end
end

-- The leases of workers that died or slept: their items wait again.
local function take_back(commands)
  local over = "(SELECT fence FROM claims WHERE lease < now() ORDER BY lease LIMIT " .. EXPIRED .. ")"
  for _, text in ipairs {
    "UPDATE items SET claim = NULL, tries = tries + 1 WHERE claim IN " .. over,
    "UPDATE lanes SET claimed = claimed - (SELECT sum(size) FROM claims WHERE lane = lanes.id AND fence IN " .. over ..
      "), head = CASE WHEN died IS NULL THEN " .. HEAD .. " END WHERE id IN (SELECT lane FROM claims WHERE fence IN " .. over .. ")",
    "DELETE FROM claims WHERE fence IN " .. over,
  } do
    commands[#commands + 1] = { text }
  end
end

local function decode_claim(results, at)
  local row = results[at].rows[1]
  if not row then
    return nil
  end
  local items = {}
  for i, pair in ipairs(results[at + 1].rows) do
    items[i] = { key = pair[1], item = pair[2], tries = pair[3] }
  end
  return { fence = row[1], zone = row[2], environment = row[3], op = row[4], kind = row[5], items = items }
end

--- Claims one request's worth of the lane that is ready and was served least lately. Decodes to the claim, or nil.
---@param o {full: {files: integer, others: integer}, linger: number, lease: number, budget: string}
function M.claim(o)
  local commands = {}
  local function command(...)
    commands[#commands + 1] = { ... }
  end
  take_back(commands)
  sweep(commands)
  command "UPDATE meta SET fence = fence + 1"
  commands[#commands + 1] = ready_arguments(o, "INSERT INTO claims (fence, lane, lease, size) SELECT " .. FENCE ..
    ", l.id, now() + ?5, 0 FROM " .. JOINED .. " WHERE " .. READY .. " AND " .. SENT .. " < " .. OVERALL ..
    " ORDER BY l.served LIMIT 1")
  local claim = commands[#commands]
  claim[6] = o.lease
  -- Of a bucket that counts URLs no more than it has tokens for.
  command([[UPDATE items SET claim = ]] .. FENCE .. [[, next = CASE WHEN next > now() THEN next END
    WHERE seq IN (SELECT seq FROM items WHERE lane = ]] .. ITS_LANE .. [[ AND claim IS NULL AND due <= now()
    ORDER BY due, seq LIMIT ifnull((SELECT CASE l.kind WHEN 'files' THEN min(?1, ifnull(CAST(min(b.size, b.left
    + (now() - b.filled) * b.rate) AS INTEGER), ?1)) ELSE ?2 END FROM ]] .. JOINED:gsub("%?4", "?3") .. [[
    WHERE l.id = ]] .. ITS_LANE .. "), 0))", o.full.files, o.full.others, o.budget)
  command("UPDATE claims SET size = changes() WHERE fence = " .. FENCE)
  command([[UPDATE budgets SET left = min(size, left + (now() - filled) * rate) - CASE bucket WHEN 'urls'
    THEN (SELECT size FROM claims WHERE fence = ]] .. FENCE .. [[) ELSE 1 END, filled = now()
    WHERE (name, bucket) IN (SELECT ifnull(z.budget, ?1), CASE l.kind WHEN 'files' THEN 'urls' ELSE 'requests' END
    FROM lanes AS l LEFT JOIN zones AS z ON z.zone = l.zone WHERE l.id = ]] .. ITS_LANE .. [[)
    AND (SELECT size FROM claims WHERE fence = ]] .. FENCE .. ") > 0", o.budget)
  command("UPDATE lanes SET claimed = claimed + (SELECT size FROM claims WHERE fence = " .. FENCE .. "), served = " .. FENCE ..
    ", head = " .. HEAD .. " WHERE id = " .. ITS_LANE)
  command("DELETE FROM claims WHERE fence = " .. FENCE .. " AND size = 0")
  command("INSERT INTO sent (slot, count) SELECT CAST(now() / " .. SLOT .. [[ AS INTEGER), 1 FROM claims WHERE fence = ]] ..
    FENCE .. " ON CONFLICT (slot) DO UPDATE SET count = count + 1")
  command("DELETE FROM sent WHERE slot <= CAST(now() / " .. SLOT .. " AS INTEGER) - " .. SLOTS)
  command("SELECT c.fence, l.zone, l.environment, l.op, l.kind FROM claims AS c JOIN lanes AS l ON l.id = c.lane WHERE c.fence = "
    .. FENCE)
  local at = #commands
  command("SELECT key, item, tries FROM items WHERE claim = " .. FENCE .. " ORDER BY due, seq")
  return commands, function(results)
    return decode_claim(results, at)
  end
end

--- Keeps claims for another `lease` seconds. Decodes to a set of those that are still ours.
function M.renew(fences, lease)
  return { { "UPDATE claims SET lease = now() + ?2 WHERE fence IN (SELECT value FROM json_each(?1)) RETURNING fence",
    json.encode(fences), lease } }, function(results)
    local ours = {}
    for _, row in ipairs(results[1].rows) do
      ours[row[1]] = true
    end
    return ours
  end
end

-- ---- settle ----

--- What became of a claim: `failed` [[key, error], …] for good, `waiting` keys that wait again, all others accepted.
--- Nothing changes where the claim is no longer ours. Decodes to whether it was.
---@param fence integer
---@param o {failed: string[][], waiting: string[], accepted: boolean, rest: {seconds: number, refusals: integer, why: string}?, held: number?, extra: integer?}
function M.settle(fence, o)
  local commands = {}
  local function command(text, ...)
    commands[#commands + 1] = { text, fence, ... }
  end
  local lane = "(SELECT lane FROM claims WHERE fence = ?1)"
  local function left()
    command("UPDATE lanes SET count = count - changes() WHERE id = " .. lane)
  end
  if o.failed[1] then
    local failed = json.encode(o.failed)
    command([[INSERT OR REPLACE INTO failed (zone, environment, op, kind, key, item, error, at)
      SELECT l.zone, l.environment, l.op, l.kind, i.key, i.item, j.value ->> 1, now() FROM json_each(?2) AS j
      JOIN items AS i ON i.key = j.value ->> 0 AND i.lane = ]] .. lane .. [[ JOIN lanes AS l ON l.id = i.lane
      WHERE i.claim = ?1 AND i.next IS NULL]], failed)
    commands[#commands + 1] = { "UPDATE meta SET failed = failed + changes()" }
    command("DELETE FROM items WHERE claim = ?1 AND next IS NULL AND key IN (SELECT value ->> 0 FROM json_each(?2))", failed)
    left()
    -- It was added again meanwhile.
    command("UPDATE items SET claim = NULL, due = next, next = NULL, tries = 0 WHERE claim = ?1 AND key IN " ..
      "(SELECT value ->> 0 FROM json_each(?2))", failed)
  end
  if o.waiting == "all" then
    command "UPDATE items SET claim = NULL, tries = tries + 1 WHERE claim = ?1"
  elseif o.waiting[1] then
    command("UPDATE items SET claim = NULL, tries = tries + 1 WHERE claim = ?1 AND key IN (SELECT value FROM json_each(?2))",
      json.encode(o.waiting))
  end
  command "DELETE FROM items WHERE claim = ?1 AND next IS NULL AND again IS NULL"
  left()
  command [[UPDATE items SET claim = NULL, due = ifnull(next, now() + again),
    again = CASE WHEN next IS NOT NULL THEN again END, next = NULL, tries = 0 WHERE claim = ?1]]
  command("UPDATE lanes SET claimed = claimed - (SELECT size FROM claims WHERE fence = ?1), head = CASE WHEN died IS NULL THEN "
    .. HEAD .. " END WHERE id = " .. lane)
  local zone = "(SELECT zone FROM lanes WHERE id = " .. lane .. ")"
  if o.rest then
    command("INSERT OR IGNORE INTO zones (zone) SELECT zone FROM lanes WHERE id = " .. lane)
    command("UPDATE zones SET refusals = refusals + 1, rests = now() + min(?2 * (1 << min(refusals, 20)), ?3), why = ?4 WHERE zone = "
      .. zone, o.rest.first, o.rest.most, o.rest.why)
  elseif o.accepted then
    command("UPDATE zones SET refusals = 0, rests = 0, why = NULL WHERE refusals > 0 AND zone = " .. zone)
  end
  local budget = [[(name, bucket) IN (SELECT ifnull((SELECT budget FROM zones WHERE zone = l.zone), ?3),
    CASE l.kind WHEN 'files' THEN 'urls' ELSE 'requests' END FROM lanes AS l WHERE l.id = ]] .. lane .. ")"
  if o.held then
    command("UPDATE budgets SET held = max(held, now() + ?2), left = min(left, 0) WHERE " .. budget, o.held, o.budget)
  end
  if (o.extra or 0) > 0 then
    command("UPDATE budgets SET left = left - ?2 WHERE " .. budget, o.extra, o.budget)
  end
  command "DELETE FROM claims WHERE fence = ?1"
  local last = #commands
  return commands, function(results)
    return results[last].changes > 0
  end
end

-- ---- budgets and zones ----

--- Makes the buckets of a budget, full at first; later ones only change its rates.
---@param buckets {requests: number[]?, urls: number[]?} { rate a second, size }
function M.set_budget(name, buckets)
  local commands = {}
  for bucket, limits in pairs(buckets) do
    commands[#commands + 1] = {
      [[INSERT INTO budgets (name, bucket, rate, size, left, filled) VALUES (?1, ?2, ?3, ?4, ?4, now())
        ON CONFLICT (name, bucket) DO UPDATE SET rate = excluded.rate, size = excluded.size
        WHERE rate <> excluded.rate OR size <> excluded.size]],
      name, bucket, limits[1], limits[2],
    }
  end
  return commands, function() end
end

--- From now on the zone draws from this budget.
function M.set_zone(zone, budget)
  return { { "INSERT INTO zones (zone, budget) VALUES (?1, ?2) ON CONFLICT (zone) DO UPDATE SET budget = excluded.budget",
    zone, budget } }, function() end
end

-- ---- what there is ----

function M.status()
  return {
    { "SELECT ifnull(sum(count), 0), ifnull(sum(claimed), 0) FROM lanes WHERE died IS NULL" },
    { "SELECT failed FROM meta" },
    { [[SELECT max(now() - (SELECT min(added) FROM items WHERE lane = lanes.id AND seq = (SELECT seq FROM items AS i
        WHERE i.lane = lanes.id AND i.claim IS NULL ORDER BY due, seq LIMIT 1))) FROM lanes WHERE head IS NOT NULL]] },
    { "SELECT zone, rests - now(), why FROM zones WHERE rests > now() ORDER BY zone LIMIT 100" },
    { "SELECT name, bucket, min(size, left + (now() - filled) * rate), size, held - now() FROM budgets" },
  }, function(results)
    local counts = results[1].rows[1]
    local status = {
      waiting = counts[1] - counts[2], in_flight = counts[2], failed = results[2].rows[1][1],
      oldest = results[3].rows[1][1] or nil, paused = {}, budgets = {},
    }
    for i, row in ipairs(results[4].rows) do
      status.paused[i] = { zone = row[1], seconds = row[2], why = row[3] or nil }
    end
    for i, row in ipairs(results[5].rows) do
      status.budgets[i] = { name = row[1], bucket = row[2], left = row[3], size = row[4], held = math.max(row[5], 0) }
    end
    return status
  end
end

-- The filter as SQL: zone, environment, kind, older_than.
local FILTER = [[seq > ?1 AND (?2 IS NULL OR zone = ?2) AND (?3 IS NULL OR environment = ?3) AND (?4 IS NULL OR kind = ?4)
  AND (?5 IS NULL OR at <= now() - ?5)]]

local function filtered(text, filter, after)
  return { text, after or 0, filter.zone or false, filter.environment or false, filter.kind or false,
    filter.older_than or false }
end

--- Decodes to a list, and the place to go on after; nil at the end.
function M.failed(filter, limit, after)
  local command = filtered("SELECT seq, zone, environment, op, kind, item, error, at, now() - at FROM failed WHERE " .. FILTER ..
    " ORDER BY seq LIMIT ?6", filter, after)
  command[7] = limit
  return { command }, function(results)
    local list, last = {}, nil
    for i, row in ipairs(results[1].rows) do
      last = row[1]
      list[i] = { zone = row[2], environment = row[3], op = row[4], kind = row[5], item = row[6], error = row[7],
        at = row[8], age = row[9] }
    end
    return list, #list == limit and last or nil
  end
end

-- Some failed items go, after the commands that `before` makes of their list as a subquery.
local function drop_failed(filter, limit, make)
  local some = "(SELECT seq FROM failed WHERE " .. FILTER .. " ORDER BY seq LIMIT ?6)"
  local commands = make and make(some) or {}
  commands[#commands + 1] = { "DELETE FROM failed WHERE seq IN " .. some }
  for _, command in ipairs(commands) do
    local arguments = filtered(command[1], filter)
    for i = 2, 6 do
      command[i] = arguments[i]
    end
    command[7] = limit
  end
  local deleted = #commands
  commands[#commands + 1] = { "UPDATE meta SET failed = failed - changes()" }
  return commands, function(results)
    return results[deleted].changes, results[deleted].changes == limit
  end
end

--- Some failed items wait again. Decodes to how many, and whether there may be more.
function M.retry(filter, limit)
  return drop_failed(filter, limit, function(some)
    return {
      { [[INSERT OR IGNORE INTO lanes (zone, environment, op, kind) SELECT DISTINCT zone, environment, op, kind FROM failed
        WHERE seq IN ]] .. some },
      { [[INSERT INTO items (lane, key, item, added, due) SELECT l.id, f.key, f.item, f.at, now() FROM failed AS f
        JOIN lanes AS l ON l.zone = f.zone AND l.environment = f.environment AND l.op = f.op AND l.kind = f.kind
        AND l.died IS NULL WHERE f.seq IN ]] .. some .. " ON CONFLICT DO NOTHING" },
      { [[UPDATE lanes SET count = (SELECT count(*) FROM items WHERE lane = lanes.id), head = ]] .. HEAD .. [[
        WHERE died IS NULL AND (zone, environment, op, kind) IN (SELECT zone, environment, op, kind FROM failed
        WHERE seq IN ]] .. some .. ")" },
    }
  end)
end

--- Some failed items are forgotten. Decodes to the same.
function M.discard(filter, limit)
  return drop_failed(filter, limit)
end

return M
