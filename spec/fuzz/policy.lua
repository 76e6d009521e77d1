-- A list is purged by a client whose core has no network: what it answers, and when, is the input (policy.c). Each item
-- must end once, accepted or remaining, and no list may cost more requests than halving it down to its items.
local bytes = require "spec.fuzz.bytes"
local cfpurge = require "cfpurge"
local cjson = require("cjson").new()
local job = require "cfpurge.bulk.job"
local state_of = require "cfpurge.client".state
local core = require "cfpurge.core"
local tables = require "cfpurge.tables"

local loop = { wait = function() return false end, drive = function() end }
local client = assert(cfpurge.new { api_token = "0123456789", zone_id = "zone", loop = loop })
local state = state_of(client)
local real = state.core

local ANSWERS = { { "bad_request", "item" }, { "bad_request", "request" }, { "api", "size" }, { "server" },
  { "rate_limited", "rate" }, { "authentication", "credential" }, { "not_found", "zone" },
  { "permission_denied", "plan" }, { "timeout" }, { "connection" }, { "tls" }, { "bad_response" } }

local byte -- the input's next byte, below a number; 0 behind its end

-- ---- the core ----

local flying, over, accepted, started, unsent, last_id, server

local Core = setmetatable({}, { __index = function(_, name)
  return function(_, ...) return real[name](real, ...) end
end })

local function refuse(entry, answer, attempts)
  entry.failure = core.error(answer[1], answer[1], { about = answer[2], attempts = attempts, retryable = byte(2) == 1,
    errors = {}, messages = {}, elapsed = 0, remaining = { zone_id = "zone", tags = entry.tags } })
end

function Core.start(_, params, options, environment_id, is_part)
  if server.is_closed then return nil, core.error("closed", "the client is closed", { attempts = 0 }) end
  local path, body, items = real:check(params, options, environment_id, is_part)
  if not path then return nil, body end
  if #flying >= server.room then
    return nil, core.error("queue_full", "full", { attempts = 0, retryable = true, remaining = params })
  end
  last_id, started = last_id + 1, started + 1
  flying[#flying + 1] = { id = last_id, tags = cjson.decode(body).tags, is_sent = byte(4) > 0,
    asked = #params.tags }
  assert(items == #flying[#flying].tags and items <= server.max_items)
  return last_id, items < #params.tags or nil
end

local function accept(entry)
  for _, tag in ipairs(entry.tags) do
    assert(not accepted[tag], "accepted twice")
    accepted[tag] = true
  end
  entry.value = { id = "x", ids = { "x" }, accepted = entry.asked, requests = 1, attempts = 1, elapsed = 0,
    messages = {} }
end

-- A server that keeps to its rules refuses bad items and long lists; another one answers anything.
local function answer(entry)
  if server.is_strict then
    local is_bad = false
    for _, tag in ipairs(entry.tags) do is_bad = is_bad or server.bad[tag] end
    local wrong = #entry.tags > server.most and (server.is_vague and ANSWERS[2] or ANSWERS[3])
      or is_bad and (server.is_vague and ANSWERS[2] or ANSWERS[1])
    if wrong then refuse(entry, wrong, 1) else accept(entry) end
  else
    local which = byte(#ANSWERS + 6)
    if ANSWERS[which] then refuse(entry, ANSWERS[which], 1) else accept(entry) end
  end
end

local function ends(entry, how, ...)
  for i, other in ipairs(flying) do
    if other == entry then table.remove(flying, i) end
  end
  over[#over + 1] = entry
  how(entry, ...)
end

function Core.step()
  for _ = 1, math.min(#flying, 1 + byte(3)) do ends(flying[1 + byte(#flying)], answer) end
  return #flying, #over
end
Core.wait = Core.step

function Core.take(_, id)
  for i, entry in ipairs(over) do
    if not id or entry.id == id then
      table.remove(over, i)
      return entry.id, entry.value, entry.failure
    end
  end
end

function Core.cancel(_, id, is_unsent)
  for _, entry in ipairs(flying) do
    if entry.id == id and not (is_unsent and entry.is_sent) then
      unsent = unsent + (entry.is_sent and 0 or 1)
      ends(entry, refuse, { "cancelled" }, entry.is_sent and 1 or 0)
      return true
    end
  end
  return false
end

function Core.close()
  server.is_closed = true
  while flying[1] do ends(flying[1], refuse, { "closed" }, 1) end
end

function Core.timeout() return flying[1] and 0 or nil end
function Core.wake() end

state.core = Core

-- ---- the list ----

-- The items, what is given to the client, and whether equal ones are one.
local function make_list()
  local items, wrong, odd = {}, byte(6) == 1 and 1 + byte(8) or 0, byte(6) == 1 and 1 + byte(8) or 0
  for i = 1, 1 + byte(4) * 40 + byte(40) do
    items[i] = wrong > 0 and i % (2 * wrong + 1) == 0 and "" or "t" .. i
    if odd > 0 and i % (odd + 2) == 0 and byte(2) == 1 then items[i] = "t" .. 1 + byte(i) end
    if byte(32) == 31 then server.bad[items[i]] = true end
  end
  if byte(3) > 0 then return items, items, true end
  local at, seen, once = 0, {}, {}
  for _, item in ipairs(items) do
    if not seen[item] then once[#once + 1] = item end
    seen[item] = item ~= ""
  end
  -- It may raise at its end.
  local raises = byte(8) == 1
  return once, function()
    at = at + 1
    if raises and at > #once then error("raised", 0) end
    return once[at]
  end, false
end

local function entries(remaining)
  local list = {}
  local next_item = tables.each(remaining)
  while true do
    local ok, item = pcall(next_item)
    if not ok or item == nil then return list end
    list[#list + 1] = item
    assert(#list <= 1000, "remaining has no end")
  end
end

local function check_end(items, is_table, result, err)
  local most, least, wrongs, times = 0, 0, 0, {}
  for _, item in ipairs(items) do
    times[item] = (times[item] or 0) + 1
    most, wrongs = most + (accepted[item] and 1 or 0), wrongs + (item == "" and 1 or 0)
    least = least + (accepted[item] and times[item] == 1 and 1 or 0)
  end
  local of = result or err
  assert((result == nil) ~= (err == nil))
  -- An equal one that was not read yet remains, and does not count.
  assert(of.accepted >= least and of.accepted <= most,
    ("%s accepted, not %d to %d"):format(tostring(of.accepted), least, most))
  assert(#flying == 0 or err, "in flight, and nobody waits")
  if result then
    return assert(result.accepted == #items and result.requests == started, "a result, and not all was accepted")
  end
  local remaining, seen, empty = err.remaining and entries(err.remaining.tags) or {}, {}, 0
  for _, item in ipairs(remaining) do
    assert(not accepted[item] or times[item] > 1, "accepted, and remains")
    assert(is_table or not seen[item] or item == "", "remains twice")
    seen[item], empty = true, empty + (item == "" and 1 or 0)
  end
  assert(empty == wrongs, "a wrong item was lost")
  for _, item in ipairs(items) do assert(accepted[item] or seen[item], "an item was lost") end
  local failed, last = {}, 0
  for _, failure in ipairs(err.failures or {}) do
    assert(failure.at >= last and failure.error.kind, "failures out of order")
    last = failure.at
    for i, item in ipairs(failure.items) do
      assert(seen[item] and (item == "" or not failed[item]), "failed twice, or does not remain")
      failed[item] = true
      assert(items[failure.places and failure.places[i] or failure.at + i - 1] == item, "another place")
    end
  end
  -- What was taken back before it was sent may count as none.
  assert(not err.requests or err.requests <= started and err.requests >= started - unsent, "another number of requests")
end

return function(text)
  byte = bytes(text)
  flying, over, accepted, started, unsent, last_id = {}, {}, {}, 0, 0, 0
  server = { is_strict = byte(3) == 1, is_vague = byte(2) == 1, most = 1 + byte(20), bad = {}, is_closed = false,
    max_items = 1 + byte(24), room = byte(8) == 1 and 1 + byte(4) or 100 }
  state.open, state.sizes = true, {}
  local items, list, is_table = make_list()
  local told, result, err = 0, nil, nil
  watch(true)
  local request, refused = client:start({ tags = list }, { max_items = server.max_items, max_in_flight = 1 + byte(5),
    isolate = byte(3) > 0, on_progress = byte(4) == 1 and function() end or nil }, function(...)
    told, result, err = told + 1, ...
  end)
  if not request then
    assert(told == 0 and started == 0 and refused.remaining.tags == list, "refused, and something was done")
    return
  end
  local steps, idle = 0, 0
  while not request:done() do
    local what = byte(64)
    if what == 63 then request:cancel()
    elseif what == 62 then client:close()
    elseif what == 61 then job.stop(request)
    else client:step(0) end
    steps, idle = steps + 1, flying[1] and 0 or idle + 1
    assert(idle < 10, "hangs")
    assert(started <= 3 * #items + 50, "too many requests")
  end
  if flying[1] and not server.is_closed then client:cancel() end
  watch(false)
  assert(told == 1 and request:done() and state.count == 0 and next(state.jobs) == nil)
  check_end(items, is_table, result, err)
end
