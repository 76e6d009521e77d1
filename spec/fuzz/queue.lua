-- Transitions of the queue in any order (queue.c), and what must hold after each. The model is what was asked for: an
-- `ask` is a purge of one item that is to begin at `at` or later. Until a claim that began no earlier was accepted for
-- it, or failed for good, something in the store must stand for it. And the store's counts must be those of its rows.
local bytes = require "spec.fuzz.bytes"
local cjson = require "cjson"
local store = require "cfpurge.queue.sqlite"
local schema = require "cfpurge.queue.sqlite_schema"
local make = require "cfpurge.queue.sqlite_unit"

local START = 1800000000
local STEPS = 40

local byte -- the input's next byte, below a number; 0 behind its end
local clock -- the machine's
local asks, flying
-- TRACE=1 build/fuzz/queue FILE shows what happened.
local trace = os.getenv "TRACE"

local function pick(...)
  return (select(1 + byte(select("#", ...)), ...))
end

-- ---- the store ----

local function carry_out(commands, decode)
  local results, problem = unit(clock, commands)
  if not results then return nil, problem end
  if decode then return decode(results) end
  return results
end

local function run(name, ...)
  if trace then print(clock - START, name, cjson.encode { ... }) end
  watch(true)
  local commands, decode = store[name](...)
  watch(false)
  return carry_out(commands, decode)
end

local function rows(text, ...)
  local commands, command = make()
  command(text, ...)
  return assert(carry_out(commands))[1].rows
end

local function now()
  return rows "SELECT now()"[1][1]
end

local function clear()
  local commands, command = make()
  for _, text in ipairs(schema) do
    local name = text:match "^CREATE TABLE IF NOT EXISTS (%w+)"
    if name then command("DELETE FROM " .. name) end
  end
  carry_out(commands)
  assert(carry_out(store.open()))
end

-- ---- what must hold ----

-- In one statement, which stays prepared: what is wrong.
local ACCOUNTS = [[
  SELECT 'a lane''s count' FROM lanes WHERE died IS NULL
    AND count <> (SELECT count(*) FROM items WHERE lane = lanes.id)
  UNION ALL SELECT 'what a lane has in flight' FROM lanes
    WHERE claimed <> (SELECT count(*) FROM items WHERE lane = lanes.id AND claim IS NOT NULL)
  UNION ALL SELECT 'a lane''s head' FROM lanes WHERE CASE WHEN died IS NOT NULL THEN head IS NOT NULL
    ELSE ifnull(head, 1e99) > ifnull((SELECT min(due) FROM items WHERE lane = lanes.id AND claim IS NULL), 1e99) END
  UNION ALL SELECT 'the total' FROM meta WHERE total <> (SELECT ifnull(sum(count), 0) FROM lanes WHERE died IS NULL)
  UNION ALL SELECT 'what failed' FROM meta WHERE failed <> (SELECT count(*) FROM failed)
  UNION ALL SELECT 'a claim''s size' FROM claims
    WHERE size = 0 OR size <> (SELECT count(*) FROM items WHERE claim = claims.fence)
  UNION ALL SELECT 'a claim of nobody' FROM items
    WHERE claim IS NOT NULL AND NOT EXISTS (SELECT 1 FROM claims WHERE fence = claim)
  UNION ALL SELECT 'an item of no lane' FROM items WHERE NOT EXISTS (SELECT 1 FROM lanes WHERE id = lane)
  UNION ALL SELECT 'two instants' FROM items WHERE claim IS NULL AND next < due
  UNION ALL SELECT 'a budget' FROM budgets WHERE left > size OR abs(pending - (SELECT ifnull(sum(cost), 0) FROM claims
    WHERE claims.budget = name AND claims.bucket = budgets.bucket)) > 1e-6]]

-- What an add without a delay leaves, if only in a lane that is dead: it may go, or when what is in flight has ended.
local GOES_NOW = [[SELECT 1 FROM items AS i JOIN lanes AS l ON l.id = i.lane WHERE l.zone = ?1
  AND l.environment = ?2 AND l.op IN (?3, 'purge') AND l.kind = ?4 AND i.key = ?5
  AND CASE WHEN i.claim IS NULL THEN i.due ELSE ifnull(i.soon, i.next) END <= now()]]
local SOON = "SELECT seq FROM items WHERE claim = ?1 AND ifnull(soon, next) <= now()"
local LATE = "SELECT 1 FROM items WHERE seq = ?1 AND due > now()"

-- Every item, and the last instant for which it will have been purged when all of it was accepted.
local function standing(instant)
  local all = {}
  for _, row in ipairs(rows [[SELECT l.zone, l.environment, l.op, l.kind, i.key, i.due, i.next, i.again, l.died,
    i.claim FROM items AS i JOIN lanes AS l ON l.id = i.lane]]) do
    local due, next, again, died, claim = row[6], row[7] or nil, row[8] or nil, row[9] or nil, row[10] or nil
    local last = math.max(due, next or 0)
    if claim then
      local began = flying[claim] and flying[claim].began or instant
      last = math.max(began, next and next + (again or 0) or again and instant + again or 0)
    elseif not died then
      last = math.max(last, instant) + (again or 0)
    elseif last > died then
      last = last + (again or 0)
    else
      last = again and died + again or 0
    end
    all[#all + 1] = { zone = row[1], environment = row[2], op = row[3], kind = row[4], key = row[5], last = last }
  end
  return all
end

-- Does a purge of the one purge all that the other asks for?
local function covers(one, ask)
  return (one.zone == ask.zone or one.zone == ask.also) and (one.op == "purge" or ask.op == "invalidate")
    and (one.environment == ask.environment or one.kind == "everything" and one.environment == "")
    and (one.kind == "everything" or one.kind == ask.kind and one.key == ask.key)
end

local function is_same(one, ask)
  return one.op == ask.op and one.kind == ask.kind and one.environment == ask.environment and one.key == ask.key
    and (one.zone == ask.zone or one.zone == ask.also)
end

local function failed_rows()
  local all = {}
  for i, row in ipairs(rows "SELECT zone, environment, op, kind, key, at, seq FROM failed") do
    all[i] = { zone = row[1], environment = row[2], op = row[3], kind = row[4], key = row[5], at = row[6],
      seq = row[7] }
  end
  return all
end

local function check()
  local wrong = rows(ACCOUNTS)[1]
  assert(not wrong, wrong and wrong[1])
  local items, failed = standing(now()), failed_rows()
  for i = #asks, 1, -1 do
    local ask, is_there, has_failed = asks[i], false, false
    for _, item in ipairs(items) do is_there = is_there or item.last >= ask.at and covers(item, ask) end
    for _, row in ipairs(is_there and {} or failed) do
      has_failed = has_failed or is_same(row, ask) or row.at >= ask.at and covers(row, ask)
    end
    if has_failed then table.remove(asks, i)
    elseif not is_there then
      error(("lost: %s %s %s %s '%s' at %d"):format(ask.op, ask.zone, ask.environment, ask.kind, ask.key,
        ask.at - START))
    end
  end
end

-- ---- the transitions ----

-- A later one of the same item says all that an earlier one says.
local function ask(group, key, at)
  for _, one in ipairs(asks) do
    if key == one.key and group.kind == one.kind and group.op == one.op and group.zone == one.zone
      and group.environment == one.environment and not one.also then
      one.at = math.max(one.at, at)
      return
    end
  end
  asks[#asks + 1] = { zone = group.zone, environment = group.environment, op = group.op, kind = group.kind, key = key,
    at = at }
end

local function add()
  local groups, known, op = {}, {}, pick("purge", "purge", "invalidate")
  for i = 1, 1 + byte(2) do
    local group = { zone = pick("z", "y"), environment = pick("", "", "e"), op = op,
      kind = pick("tags", "tags", "files", "everything"), items = {} }
    local keys = group.kind == "everything" and 1 or byte(15) + 1
    for bit = 0, 3 do
      if group.kind == "everything" then group.items = { { "", "" } }
      elseif keys >> bit & 1 == 1 then group.items[#group.items + 1] = { "k" .. bit, "1" } end
    end
    local lane = group.zone .. group.environment .. group.kind
    if not known[lane] then groups[#groups + 1] = group end
    known[lane] = i
  end
  local options = { delay = pick(0, 0, 0, 10, 100), again = pick(false, false, 50) or nil,
    capacity = pick(1000, 1000, 1000, 6), tells_each = byte(2) == 1 }
  local added, problem = run("add", groups, options)
  if not added then return assert(problem == "queue_full", problem) end
  local instant = now()
  for _, group in ipairs(groups) do
    for _, item in ipairs(group.items) do
      assert(options.delay > 0 or rows(GOES_NOW, group.zone, group.environment, group.op, group.kind, item[1])[1],
        "an item that was added to go now goes later")
      ask(group, item[1], instant + options.delay)
      if options.again then ask(group, item[1], instant + options.delay + options.again) end
    end
  end
end

local function claim(terms)
  terms = terms or { full = { files = 3, others = 2 }, linger = pick(0, 0, 5), lease = 60, budget = pick("", "b"),
    overall = pick(0, 0, 4), buckets = { requests = { 1, 3 }, urls = { pick(1, 0), 4, pick(false, 2) } } }
  if terms.budget == "" then terms.buckets = nil end
  local got, problem = run("claim", terms)
  assert(not problem, problem)
  if got then
    assert(#got.items > 0 and not flying[got.fence], "a claim of nothing, or a fence twice")
    got.began = now()
    flying[got.fence], flying[#flying + 1] = got, got
  end
  return got
end

local function outcome(of)
  local o, which = { failed = {}, waiting = {}, accepted = true }, byte(7)
  local waiting, failed, moved = {}, {}, {}
  for _, item in ipairs(of.items) do
    local to = which == 6 and byte(4) or which
    if to == 1 then waiting[#waiting + 1] = item.key
    elseif to == 2 then failed[#failed + 1] = { item.key, '{"kind":"x"}' }
    elseif to == 3 and of.kind ~= "everything" then moved[#moved + 1] = item.key end
  end
  o.waiting, o.failed = which == 4 and "all" or waiting, failed
  if moved[1] and of.zone ~= "x" then o.moved = { { "x", moved } } end
  if which == 4 or which == 1 then
    o.accepted, o.rest = false, pick(nil, { first = 10, most = 60, why = "tls: x" })
    o.held, o.held_all, o.is_drained, o.is_unsent = pick(nil, 5), pick(nil, 5), byte(2) == 1, byte(2) == 1
  end
  o.extra = byte(3)
  return o
end

local function settle(of, o)
  local moved, waits, failed = {}, {}, {}
  for _, group in ipairs(o.moved or {}) do
    for _, key in ipairs(group[2]) do moved[key] = true end
  end
  for _, key in ipairs(o.waiting ~= "all" and o.waiting or {}) do waits[key] = true end
  for _, pair in ipairs(o.failed) do failed[pair[1]] = true end
  local soon = rows(SOON, of.fence)
  local was_ours = run("settle", of.fence, o)
  for _, row in ipairs(soon) do assert(not rows(LATE, row[1])[1], "what was added to go now goes later") end
  flying[of.fence] = nil
  if not was_ours then return end
  for i = #asks, 1, -1 do
    local one = asks[i]
    for _, item in ipairs(of.items) do
      local its = { zone = of.zone, environment = of.environment, op = of.op, kind = of.kind, key = item.key }
      local is_accepted = not (o.waiting == "all" or moved[item.key] or waits[item.key] or failed[item.key])
      if is_accepted and one.at <= of.began and covers(its, one) then
        table.remove(asks, i)
        break
      elseif moved[item.key] and covers(its, one) then
        -- It is the other zone's now, if nothing else of this one covers it.
        one.also = "x"
      end
    end
  end
end

local function retry()
  local before = failed_rows()
  run("retry", pick({}, { zone = "z" }, { kind = "tags" }, { older_than = 20 }), 1 + byte(4), byte(2),
    pick(nil, now() - 5))
  local left, instant = {}, now()
  for _, row in ipairs(failed_rows()) do left[row.seq] = true end
  for _, row in ipairs(before) do
    if not left[row.seq] then ask(row, row.key, instant) end
  end
end

local TRANSITIONS = {
  add, add, add, add, claim, claim, claim,
  settle = function()
    local of = table.remove(flying, 1 + byte(#flying))
    settle(of, outcome(of))
  end,
  function() clock = clock + pick(1, 5, 20, 61, 200, 4000) end,
  function() clock = clock - pick(2, 50, 2000) end,
  function()
    local fences = {}
    for i, of in ipairs(flying) do fences[i] = of.fence end
    run("renew", fences, 60)
  end,
  retry,
  function() run("discard", { zone = pick("z", "y") }, 1 + byte(4)) end,
  function() run("set_zone", pick("z", "y", "x"), pick("b", "c")) end,
  function() run("set_budget", "c", { requests = { pick(1, 2), 2 }, urls = { 1, 2 } }) end,
  function() run "wake" end,
  function()
    local status, at = run "status", run("look", { full = { files = 3, others = 2 }, linger = 0, budget = "" })
    local there = rows "SELECT count(*) - count(claim), count(claim) FROM items"[1]
    assert(status.waiting <= there[1] and status.in_flight == there[2], "another status")
    assert(at or there[1] + there[2] == 0, "nothing to look for, and something is there")
    assert(#run("failed", {}, 500) == status.failed)
  end,
}

-- All that is there can be claimed, and is then gone.
local function drain()
  local terms = { full = { files = 100, others = 100 }, linger = 0, lease = 60, budget = "" }
  local misses, count = 0, 0
  while misses < 4 do
    clock, count = clock + 5000, count + 1
    assert(count < 400, "no end")
    local got = claim(terms)
    misses = got and 0 or misses + 1
    if got then
      settle(got, { failed = {}, waiting = {}, accepted = true })
    end
  end
  check()
  assert(not rows "SELECT 1 FROM items"[1], "something is never claimed")
  assert(not asks[1], "something was never purged")
end

return function(text)
  local is_over
  byte, is_over = bytes(text)
  clock, asks, flying = START, {}, {}
  clear()
  for _ = 1, STEPS do
    if is_over() then break end
    local which = byte(#TRANSITIONS + 6)
    local transition = TRANSITIONS[which + 1]
    if not transition and flying[1] then transition = TRANSITIONS.settle end
    if transition then
      transition()
      check()
    end
  end
  drain()
end
