--- The queue's transitions as SQL: each function returns the commands of one unit, and what reads their results.
--
-- Lists of items and of keys come as JSON, so that one statement serves any number of them. {NAME} in a statement is
-- one of the pieces in queue/sqlite_pieces. changes() is what the statement before it has changed.
local json = require "cfpurge.json"
local schema = require "cfpurge.queue.sqlite_schema"
local tables = require "cfpurge.tables"
local unit = require "cfpurge.queue.sqlite_unit"

local M = {
  --- Items of one unit of an add.
  UNIT = 500,

  durability = "SQLite: an add is on the disk when it returns (WAL, synchronous = FULL)",
}
for name, transition in tables.entries(require "cfpurge.queue.sqlite_account") do
  M[name] = transition
end

--- Makes what is not there; refuses a store of another version.
function M.open()
  local commands, command = unit()
  for i, text in ipairs(schema) do
    command(text)
    if i == 1 then
      command([[SELECT refuse(CASE WHEN version > ?1 THEN 'newer' ELSE 'version ' || version END) FROM meta
        WHERE version <> ?1]], schema.VERSION)
    end
  end
  command("INSERT INTO meta SELECT ?1, 0, 0, 0, 0, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM meta)", schema.VERSION)
  return commands
end

--- What to do first where a unit failed for want of it: open, where the store is empty, and migrations before that
--- where it is older. Another process may be quicker: then its version is another one.
---@return table[]? commands nil where nothing helps
function M.remedy(err)
  local version = tonumber(err.message:match "^version (%d+)$")
  if not version then
    return err.message:find("no such table", 1, true) and {} or nil
  end
  local commands, command = unit()
  command("SELECT refuse('version ' || version) FROM meta WHERE version <> ?1", version)
  for step = version, schema.VERSION - 1 do
    for _, text in ipairs(schema.migrations[step]) do
      command(text)
    end
  end
  command("UPDATE meta SET version = ?1", schema.VERSION)
  return commands
end

-- ---- add ----

local MERGE = [[UPDATE items SET item = j.value ->> 1,
  soon = CASE WHEN claim IS NOT NULL THEN min(ifnull(soon, now() + ?6), now() + ?6) END,
  next = CASE WHEN claim IS NOT NULL THEN max(ifnull(next, 0), now() + ?6)
    ELSE nullif(max(ifnull(next, 0), due, now() + ?6), min(due, now() + ?6)) END,
  due = CASE WHEN claim IS NOT NULL THEN due ELSE min(due, now() + ?6) END,
  again = nullif(max(ifnull(again, 0), ifnull(?7, 0)), 0)
  FROM json_each(?5) AS j WHERE items.lane = {LANE} AND items.key = j.value ->> 0]]

-- An invalidate says nothing new where a purge of the same item is to go now, as it is itself.
local INSERT = [[INSERT INTO items (lane, key, item, due, again)
  SELECT {LANE}, j.value ->> 0, j.value ->> 1, now() + ?6, ?7 FROM json_each(?5) AS j
  WHERE ?3 = 'purge' OR ?6 > 0 OR ?7 IS NOT NULL OR NOT EXISTS (SELECT 1 FROM items AS p WHERE p.lane = {PURGES}
    AND p.key = j.value ->> 0 AND p.claim IS NULL AND p.due <= now())
  ON CONFLICT DO NOTHING]]

-- Behind INSERT: the keys of what it has added where that is less than all ?1. What is added last has the highest seq.
local ADDED = "SELECT key FROM items ORDER BY seq DESC LIMIT CASE WHEN changes() < ?1 THEN changes() ELSE 0 END"

-- ?5 items, ?6 delay. A purge that goes later leaves the invalidate that goes now. Keys are looked up where one waits.
local SUPERSEDE = [[DELETE FROM items WHERE +lane = {INVALIDATES} AND +claim IS NULL AND next IS NULL AND again IS NULL
  AND ?6 = 0 AND due <= now() AND ?3 = 'purge' AND ?4 <> '' AND key IN (SELECT value ->> 0
    FROM json_each(CASE WHEN (SELECT count FROM lanes WHERE id = {INVALIDATES}) > 0 THEN ?5 ELSE '[]' END))]]

-- All that waits in the zone or the environment, and that this one empties.
local DIE = [[UPDATE lanes SET died = now(), head = NULL WHERE zone = ?1 AND (?2 = '' OR environment = ?2)
  AND died IS NULL AND (?3 = 'purge' OR op = 'invalidate')
  AND NOT (environment = ?2 AND op = ?3 AND kind = ?4) AND count > 0]]

local function add_group(command, group, options)
  local zone, environment, op, kind = group.zone, group.environment, group.op, group.kind
  local items, delay, again = json.encode(group.items), options.delay or 0, options.again or false
  local function here(text, ...)
    return command(text, zone, environment, op, kind, ...)
  end
  here "INSERT OR IGNORE INTO lanes (zone, environment, op, kind) VALUES (?1, ?2, ?3, ?4)"
  here(MERGE, items, delay, again)
  local added = here(INSERT, items, delay, again)
  if options.tells_each then
    command(ADDED, #group.items)
  end
  here([[UPDATE lanes SET count = count + changes(), head = min(ifnull(head, now() + ?5), now() + ?5)
    WHERE id = {LANE}]], delay)
  if op == "purge" then
    here(SUPERSEDE, items, delay)
    here "UPDATE lanes SET count = count - changes() WHERE ?3 = 'purge' AND id = {INVALIDATES}"
  end
  here([[DELETE FROM failed WHERE zone = ?1 AND environment = ?2 AND op = ?3 AND kind = ?4
    AND key IN (SELECT value ->> 0 FROM json_each(CASE WHEN EXISTS (SELECT 1 FROM failed) THEN ?5 ELSE '[]' END))]],
    items)
  command "UPDATE meta SET failed = failed - changes() WHERE changes() > 0"
  if kind == "everything" and delay == 0 then
    here(DIE)
  end
  return added
end

--- Adds the items of all groups, or none. Decodes to { added, merged }, and with `tells_each` to `fresh`: by group the
--- set of the keys that were added, or true for all.
---@param groups {zone: string, environment: string, op: string, kind: string, items: string[][]}[] { key, JSON }
---@param options {delay: number?, again: number?, capacity: integer, tells_each: boolean?}
function M.add(groups, options)
  local commands, command = unit()
  command "{TICK}"
  local places, all = {}, 0
  for i, group in ipairs(groups) do
    places[i], all = add_group(command, group, options), all + #group.items
  end
  command("SELECT refuse('queue_full') FROM meta WHERE total > ?1", options.capacity)
  return commands, function(results)
    local added, fresh = 0, {}
    for i, place in ipairs(places) do
      local changes, keys = results[place].changes, {}
      for _, row in ipairs(options.tells_each and results[place + 1].rows or {}) do
        keys[row[1]] = true
      end
      added, fresh[groups[i]] = added + changes, changes == #groups[i].items or keys
    end
    return { added = added, merged = all - added, fresh = fresh }
  end
end

-- ---- claim ----

--- Is there something to claim? Reads alone. Decodes to how many seconds off it may be: 0 for now, nil for nothing.
function M.look(o)
  local commands, command = unit()
  local function here(text)
    command(text, o.linger, o.full.files, o.full.others, o.budget, o.overall or 0)
  end
  here "SELECT 1 FROM {JOINED} WHERE {READY} LIMIT 1"
  here [[SELECT min({READY_IN}) FROM (SELECT * FROM lanes WHERE head IS NOT NULL ORDER BY head LIMIT 100) AS l {JOINS}]]
  command "SELECT min(lease) - now() FROM claims"
  command "SELECT 1 FROM meta WHERE {IS_SET_BACK} OR EXISTS (SELECT 1 FROM lanes WHERE {TO_SWEEP})"
  return commands, function(results)
    local head, lease = results[2].rows[1][1], results[3].rows[1][1]
    if results[1].rows[1] or results[4].rows[1] or (lease and lease <= 0) then
      return 0
    end
    return head and math.max(head, 0.001) or lease or nil
  end
end

-- Items of a dead lane go, but for those that ask for later purges than the one that killed it, which stands for the
-- first purge of those with `again`: these move to the lane that lives, and are merged there as an add would be.
local function sweep(command)
  command [[INSERT OR IGNORE INTO lanes (zone, environment, op, kind)
    SELECT zone, environment, op, kind FROM lanes WHERE id = {DEAD}]]
  command [[UPDATE lanes SET count = count + (SELECT count(*) FROM items AS i JOIN lanes AS d ON d.id = i.lane
      WHERE i.seq IN {SOME_DEAD} AND {SURVIVES}
      AND NOT EXISTS (SELECT 1 FROM items AS k WHERE k.key = i.key AND k.lane = lanes.id))
    WHERE died IS NULL AND (zone, environment, op, kind) IN
      (SELECT zone, environment, op, kind FROM lanes WHERE id = {DEAD})]]
  command [[INSERT INTO items (lane, key, item, due, next, again)
    SELECT a.id, i.key, i.item,
      CASE WHEN i.due > d.died THEN i.due WHEN i.next > d.died THEN i.next ELSE d.died + i.again END,
      CASE WHEN i.due > d.died THEN i.next END, CASE WHEN max(i.due, ifnull(i.next, 0)) > d.died THEN i.again END
    FROM items AS i JOIN lanes AS d ON d.id = i.lane JOIN lanes AS a ON a.zone = d.zone
      AND a.environment = d.environment AND a.op = d.op AND a.kind = d.kind AND a.died IS NULL
    WHERE i.seq IN {SOME_DEAD} AND {SURVIVES}
    ON CONFLICT (key, lane) {MERGED}]]
  command [[UPDATE lanes SET head = {HEAD} WHERE changes() > 0 AND died IS NULL
    AND (zone, environment, op, kind) IN (SELECT zone, environment, op, kind FROM lanes WHERE id = {DEAD})]]
  command "DELETE FROM items WHERE seq IN {SOME_DEAD}"
  command "DELETE FROM lanes WHERE id = {DEAD} AND NOT EXISTS (SELECT 1 FROM items WHERE lane = lanes.id)"
end

-- The leases of workers that died or slept: their items wait again.
local function take_back(command)
  command "UPDATE items SET claim = NULL, tries = tries + 1 WHERE claim IN {OVER}"
  command [[UPDATE lanes SET claimed = claimed - (SELECT sum(size) FROM claims WHERE lane = lanes.id
    AND fence IN {OVER}), head = {LIVING_HEAD} WHERE id IN (SELECT lane FROM claims WHERE fence IN {OVER})]]
  command [[UPDATE budgets SET left = {FILLED} - {OVER_COST}, filled = now(), pending = max(pending - {OVER_COST}, 0)
    WHERE (name, bucket) IN (SELECT budget, bucket FROM claims WHERE fence IN {OVER})]]
  command "DELETE FROM claims WHERE fence IN {OVER}"
end

local function make_budget(command, name, buckets)
  for bucket, limits in pairs(buckets) do
    command([[INSERT INTO budgets (name, bucket, rate, size, most, left, filled) VALUES (?1, ?2, ?3, ?4, ?5, ?4, now())
      ON CONFLICT (name, bucket) DO UPDATE SET rate = excluded.rate, size = excluded.size, most = excluded.most
      WHERE rate <> excluded.rate OR size <> excluded.size OR most IS NOT excluded.most]],
      name, bucket, limits[1], limits[2], limits[3] or false)
  end
end

--- Claims one request's worth of the lane that is ready and was served least lately. Decodes to the claim, or nil.
---@param o {full: {files: integer, others: integer}, linger: number, lease: number, budget: string, buckets: table?,
--- overall: integer?}
function M.claim(o)
  local commands, command = unit()
  command "{TICK}"
  take_back(command)
  sweep(command)
  if o.buckets then
    make_budget(command, o.budget, o.buckets)
  end
  -- By the clock: a store whose file was deleted, or comes from a backup, hands out no fence that a worker still has.
  command "UPDATE meta SET fence = max(fence + 1, CAST(now() * 1e4 AS INTEGER))"
  command([[INSERT INTO claims (fence, lane, lease, size, budget, bucket) SELECT {FENCE}, l.id, now() + ?6, 0,
    b.name, b.bucket FROM {JOINED} WHERE {READY} ORDER BY l.served LIMIT 1]],
    o.linger, o.full.files, o.full.others, o.budget, o.overall or 0, o.lease)
  -- Of a bucket that counts URLs no more than it has tokens for.
  command([[UPDATE items SET claim = {FENCE}, soon = NULL, next = CASE WHEN next > now() THEN next END
    WHERE seq IN (SELECT seq FROM items WHERE lane = {ITS_LANE} AND claim IS NULL AND due <= now() + 0 * ?1
    ORDER BY due, seq LIMIT ifnull((SELECT CASE WHEN l.kind = 'files' AND b.rate > 0
      THEN min({FULL}, max(CAST({TOKENS} AS INTEGER), 1)) ELSE {FULL} END FROM {JOINED} WHERE l.id = {ITS_LANE}), 0))]],
    o.linger, o.full.files, o.full.others, o.budget)
  command [[UPDATE claims SET size = changes(), cost = CASE bucket WHEN 'urls' THEN changes() ELSE 1 END
    WHERE fence = {FENCE}]]
  command [[UPDATE budgets SET pending = pending + (SELECT cost FROM claims WHERE fence = {FENCE})
    WHERE (name, bucket) IN (SELECT budget, bucket FROM claims WHERE fence = {FENCE} AND size > 0)]]
  command [[UPDATE lanes SET claimed = claimed + {ITS_SIZE}, served = {FENCE}, head = {HEAD} WHERE id = {ITS_LANE}]]
  command "DELETE FROM claims WHERE fence = {FENCE} AND size = 0"
  command [[INSERT INTO sent (slot, count) SELECT {NOW_SLOT}, 1 FROM claims WHERE fence = {FENCE}
    ON CONFLICT (slot) DO UPDATE SET count = count + 1]]
  command "DELETE FROM sent WHERE slot <= {NOW_SLOT} - {SLOTS}"
  local at = command [[SELECT c.fence, l.zone, l.environment, l.op, l.kind, c.budget, z.learned <= now() - {STALE}
    FROM claims AS c JOIN lanes AS l ON l.id = c.lane LEFT JOIN zones AS z ON z.zone = l.zone
    WHERE c.fence = {FENCE}]]
  command "SELECT key, item, tries FROM items WHERE claim = {FENCE} ORDER BY due, seq"
  return commands, function(results)
    local row = results[at].rows[1]
    if not row then
      return nil
    end
    local items = {}
    for i, one in ipairs(results[at + 1].rows) do
      items[i] = { key = one[1], item = one[2], tries = one[3] }
    end
    return { fence = row[1], zone = row[2], environment = row[3], op = row[4], kind = row[5], items = items,
      budget = row[6] or nil, is_stale = row[7] == 1 }
  end
end

--- Keeps claims for another `lease` seconds. Decodes to a set of those that are still ours.
function M.renew(fences, lease)
  local commands, command = unit()
  command("UPDATE claims SET lease = now() + ?2 WHERE fence IN (SELECT value FROM json_each(?1)) RETURNING fence",
    json.encode(fences), lease)
  return commands, function(results)
    local ours = {}
    for _, row in ipairs(results[1].rows) do
      ours[row[1]] = true
    end
    return ours
  end
end

-- ---- settle ----

local function settle_failed(here, failed)
  here([[DELETE FROM failed WHERE key IN {KEYS} AND (zone, environment, op, kind) =
    (SELECT zone, environment, op, kind FROM lanes WHERE id = {CLAIMED})]], failed)
  here "UPDATE meta SET failed = failed - changes() WHERE ?1 > 0"
  here([[INSERT INTO failed (zone, environment, op, kind, key, item, error, at, again)
    SELECT l.zone, l.environment, l.op, l.kind, i.key, i.item, j.value ->> 1, now(), i.again FROM json_each(?2) AS j
    JOIN items AS i ON i.key = j.value ->> 0 AND i.lane = {CLAIMED} JOIN lanes AS l ON l.id = i.lane
    WHERE i.claim = ?1 AND i.next IS NULL]], failed)
  here "UPDATE meta SET failed = failed + changes() WHERE ?1 > 0"
  here("DELETE FROM items WHERE claim = ?1 AND next IS NULL AND key IN {KEYS}", failed)
  here "UPDATE lanes SET count = count - changes() WHERE id = {CLAIMED}"
  -- It was added again meanwhile.
  here("UPDATE items SET claim = NULL, due = {SOON}, next = {BEHIND}, tries = 0 WHERE claim = ?1 AND key IN {KEYS}",
    failed)
end

-- Items go to the lane of another zone, and are merged there as an add would be.
local function settle_moved(here, zone, keys)
  here([[INSERT OR IGNORE INTO lanes (zone, environment, op, kind)
    SELECT ?2, environment, op, kind FROM lanes WHERE id = {CLAIMED}]], zone)
  here([[UPDATE items SET item = i.item, again = nullif(max(ifnull(items.again, 0), ifnull(i.again, 0)), 0),
    soon = CASE WHEN items.claim IS NOT NULL THEN min(ifnull(items.soon, i.due), i.due) END,
    next = CASE WHEN items.claim IS NOT NULL THEN max(ifnull(items.next, 0), i.due, ifnull(i.next, 0))
      ELSE nullif(max(items.due, ifnull(items.next, 0), i.due, ifnull(i.next, 0)), min(items.due, i.due)) END,
    due = CASE WHEN items.claim IS NOT NULL THEN items.due ELSE min(items.due, i.due) END
    FROM items AS i WHERE items.lane = {HEIR} AND i.key = items.key AND {MOVES}]], zone, keys)
  here([[INSERT INTO items (lane, key, item, due, next, again)
    SELECT {HEIR}, i.key, i.item, i.due, i.next, i.again FROM items AS i WHERE {MOVES}
    ON CONFLICT DO NOTHING]], zone, keys)
  here([[UPDATE lanes SET count = count + changes(), head = {HEAD} WHERE id = {HEIR}]], zone)
  here("DELETE FROM items AS i WHERE {MOVES}", zone, keys)
  here("UPDATE lanes SET count = count - changes() WHERE id = {CLAIMED}")
end

local function settle_zone(here, o)
  if o.rest then
    here "INSERT OR IGNORE INTO zones (zone) SELECT zone FROM lanes WHERE id = {CLAIMED}"
    here([[UPDATE zones SET refusals = refusals + 1, why = ?4,
      rests = now() + min(?2 * (1 << min(refusals, 20)), ?3) WHERE zone = {ITS_ZONE}]],
      o.rest.first, o.rest.most, o.rest.why)
  elseif o.accepted then
    here "UPDATE zones SET refusals = 0, rests = 0, why = NULL WHERE refusals > 0 AND zone = {ITS_ZONE}"
  end
  if o.is_drained then
    here "UPDATE zones SET learned = 0 WHERE learned <= now() - {DOUBTFUL} AND zone = {ITS_ZONE}"
  end
end

--- What became of a claim: `failed` [[key, error], …] for good, `waiting` keys that wait again or "all", all others
--- accepted; `moved` [[zone, keys], …] to lanes of these zones. Nothing changes where the claim is no longer ours.
--- Decodes to whether it was.
---@param fence integer
---@param o table queue/outcome has made it
function M.settle(fence, o)
  local commands, command = unit()
  local function here(text, ...)
    return command(text, fence, ...)
  end
  for _, group in ipairs(o.moved or {}) do
    settle_moved(here, group[1], json.encode(group[2]))
  end
  if o.failed[1] then
    settle_failed(here, json.encode(o.failed))
  end
  if o.waiting == "all" then
    here "UPDATE items SET claim = NULL, tries = tries + 1 WHERE claim = ?1"
  elseif o.waiting[1] then
    here([[UPDATE items SET claim = NULL, tries = tries + 1 WHERE claim = ?1
      AND key IN (SELECT value FROM json_each(?2))]], json.encode(o.waiting))
  end
  here "DELETE FROM items WHERE claim = ?1 AND next IS NULL AND again IS NULL"
  here "UPDATE lanes SET count = count - changes() WHERE id = {CLAIMED}"
  here [[UPDATE items SET claim = NULL, due = ifnull({SOON}, now() + again),
    again = CASE WHEN next IS NOT NULL THEN again END, next = {BEHIND}, tries = 0 WHERE claim = ?1]]
  here [[UPDATE lanes SET claimed = claimed - (SELECT size FROM claims WHERE fence = ?1), head = {LIVING_HEAD}
    WHERE id = {CLAIMED}]]
  settle_zone(here, o)
  here([[UPDATE budgets SET left = CASE WHEN ?4 THEN 0 ELSE {FILLED} - CASE bucket WHEN 'urls' THEN 0 ELSE ?2 END
    - CASE WHEN ?5 THEN 0 ELSE (SELECT cost FROM claims WHERE fence = ?1) END END,
    filled = now(), held = max(held, now() + ?3),
    pending = max(pending - (SELECT cost FROM claims WHERE fence = ?1), 0)
    WHERE (name, bucket) IN (SELECT budget, bucket FROM claims WHERE fence = ?1)]], o.extra or 0, o.held or 0,
    o.is_drained or false, o.is_unsent or false)
  if o.held_all then
    here("UPDATE meta SET held = max(held, now() + ?2) WHERE {CLAIMED} IS NOT NULL", o.held_all)
  end
  local last = here "DELETE FROM claims WHERE fence = ?1"
  return commands, function(results)
    return results[last].changes > 0
  end
end

-- ---- budgets and zones ----

--- Makes the buckets of a budget, full at first; later ones only change its rates.
---@param buckets {requests: number[]?, urls: number[]?} { rate a second, size, items a request }
function M.set_budget(name, buckets)
  local commands, command = unit()
  make_budget(command, name, buckets)
  return commands, function() end
end

--- Zones that rest are tried once more: the credential may be another one now. Decodes to whether there are more.
function M.wake()
  local commands, command = unit()
  command "UPDATE zones SET rests = 0 WHERE rests > now()"
  return commands, function() end
end

--- From now on the zone draws from this budget, until it is to be read again.
function M.set_zone(zone, budget)
  local commands, command = unit()
  command([[INSERT INTO zones (zone, budget, learned) VALUES (?1, ?2, now())
    ON CONFLICT (zone) DO UPDATE SET budget = excluded.budget, learned = excluded.learned]], zone, budget)
  return commands, function() end
end

return M
