--- What there is in a store in SQLite, and what failed: listed, retried, discarded.
local unit = require "cfpurge.queue.sqlite_unit"

local M = {}

-- What is left, in numbers: it looks at what is in flight, and at no other lane.
local function left(command)
  command [[SELECT total - (SELECT ifnull(sum(size), 0) FROM claims AS c JOIN lanes AS l ON l.id = c.lane
      WHERE l.died IS NULL), (SELECT ifnull(sum(size), 0) FROM claims), failed,
    EXISTS (SELECT 1 FROM lanes WHERE {TO_SWEEP}) FROM meta]]
  return function(results)
    local row = results[1].rows[1]
    return { waiting = row[1], in_flight = row[2], failed = row[3], sweeps = row[4] == 1 }
  end
end

--- What a drain asks for again and again. Decodes to { waiting, in_flight, failed, sweeps }.
function M.left()
  local commands, command = unit()
  return commands, left(command)
end

function M.status()
  local commands, command = unit()
  local numbers = left(command)
  command "SELECT {SENT}, max(held - now(), 0) FROM meta"
  command [[SELECT now() - min((SELECT min(due) FROM items WHERE lane = lanes.id AND claim IS NULL AND due < now()))
    FROM lanes WHERE head <= now()]]
  command "SELECT zone, rests - now(), why FROM zones WHERE rests > now() ORDER BY zone LIMIT 100"
  command [[SELECT b.name, b.bucket, {TOKENS}, b.size, max(b.held, (SELECT held FROM meta)) - now(), b.rate
    FROM budgets AS b]]
  command [[SELECT ifnull(substr(why, 1, instr(why, ':') - 1), 'unknown'), count(*) FROM zones WHERE rests > now()
    GROUP BY 1]]
  return commands, function(results)
    local status, of_all = numbers(results), results[2].rows[1]
    status.calls, status.held, status.oldest = of_all[1], of_all[2], results[3].rows[1][1] or nil
    status.paused, status.resting, status.budgets = {}, {}, {}
    for i, row in ipairs(results[4].rows) do
      status.paused[i] = { zone = row[1], seconds = row[2], why = row[3] or nil }
    end
    for i, row in ipairs(results[5].rows) do
      status.budgets[i] = {
        name = row[1], bucket = row[2], rate = row[6], left = row[3], size = row[4], held = math.max(row[5], 0),
      }
    end
    for _, row in ipairs(results[6].rows) do
      status.resting[row[1]] = row[2]
    end
    return status
  end
end

-- What failed, by a filter: zone, environment, kind, older_than; behind the place `after`, and no later than `before`.
local function filtered(command, filter, limit, after, before)
  return function(text)
    return command(text, after or 0, filter.zone or false, filter.environment or false, filter.kind or false,
      filter.older_than or false, limit, before or false)
  end
end

--- Decodes to a list, and the place to go on after; nil at the end.
function M.failed(filter, limit, after)
  local commands, command = unit()
  filtered(command, filter, limit, after) [[SELECT seq, zone, environment, op, kind, item, error, now() - at FROM failed
    WHERE {FITS} ORDER BY seq LIMIT ?6]]
  return commands, function(results)
    local list, last = {}, nil
    for i, row in ipairs(results[1].rows) do
      last = row[1]
      list[i] = { zone = row[2], environment = row[3], op = row[4], kind = row[5], item = row[6], error = row[7],
        age = row[8] }
    end
    return list, #list == limit and last or nil
  end
end

local function drop_failed(commands, command, here, limit)
  local last = here "SELECT max(seq), now() FROM {SOME_FAILED}"
  local deleted = here "DELETE FROM failed WHERE seq IN {SOME_FAILED}"
  command "UPDATE meta SET failed = failed - changes()"
  return commands, function(results)
    local count, row = results[deleted].changes, results[last].rows[1]
    return { count = count, after = count == limit and row[1] or nil, now = row[2] }
  end
end

--- Some failed items wait again, those that failed no later than `before`. Decodes to { count, now, after }: where
--- to go on; nil at the end.
function M.retry(filter, limit, after, before)
  local commands, command = unit()
  local here = filtered(command, filter, limit, after, before)
  here [[INSERT OR IGNORE INTO lanes (zone, environment, op, kind) SELECT DISTINCT zone, environment, op, kind
    FROM failed WHERE seq IN {SOME_FAILED}]]
  here [[UPDATE lanes SET head = min(ifnull(head, now()), now()), count = count + (SELECT count(*) FROM failed AS f
      WHERE f.seq IN {SOME_FAILED} AND f.zone = lanes.zone AND f.environment = lanes.environment AND f.op = lanes.op
      AND f.kind = lanes.kind AND NOT EXISTS (SELECT 1 FROM items AS k WHERE k.key = f.key AND k.lane = lanes.id))
    WHERE died IS NULL AND (zone, environment, op, kind) IN
      (SELECT zone, environment, op, kind FROM failed WHERE seq IN {SOME_FAILED})]]
  here [[INSERT INTO items (lane, key, item, due, again)
    SELECT l.id, f.key, f.item, now(), f.again FROM failed AS f JOIN lanes AS l
    ON l.zone = f.zone AND l.environment = f.environment AND l.op = f.op AND l.kind = f.kind
      AND l.died IS NULL
    WHERE f.seq IN {SOME_FAILED} ON CONFLICT (key, lane) {MERGED}]]
  return drop_failed(commands, command, here, limit)
end

--- Some failed items are forgotten. Decodes to the same.
function M.discard(filter, limit, after, before)
  local commands, command = unit()
  return drop_failed(commands, command, filtered(command, filter, limit, after, before), limit)
end

return M
