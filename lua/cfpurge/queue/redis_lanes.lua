--- The first part of the queue's script for Redis: its lanes, and `add`. queue/redis.lua puts the parts together.
--
-- All keys begin with KEYS[1], which has a hash tag, so that they are on one node of a cluster:
--   meta      hash     fence, seq (of failed items), version, total, claimed, dying, held, clock, ahead
--   lanes     hash     zone NUL environment NUL op NUL kind -> the id of the lane that lives
--   lane:ID   hash     zone, environment, op, kind, count, claimed, served, died
--   of:ZONE   set      the ids of the zone's lanes that live
--   wait:ID   zset     key -> due: the items of a lane that wait
--   item:ID   hash     key -> { item, due, soon, next, again, tries, claim }
--   heads     zset     lane -> when its first item is due, or when its zone has rested
--   oldest    zset     the same lanes -> when their first item is due
--   dead      set      lanes that were superseded, and have something to sweep
--   claims    zset     fence -> lease;  claim:FENCE { lane, keys, size, budget, cost }
--   zones     hash     zone -> { rests, refusals, why, budget, learned }
--   rests     zset     zone -> until when it rests;  flying hash: zone -> claims
--   budgets   hash     name NUL bucket -> { rate, size, most, left, filled, held, pending }
--   sent      hash     slot of 10 seconds -> requests
--   failed    zset     seq -> at;  failure hash: seq -> the item;  failures hash: its identity -> seq
return [==[
local P = KEYS[1]
local call = redis.call
local pack, unpack_ = cmsgpack.pack, cmsgpack.unpack
local time = call('TIME')
-- The store's clock never goes back: where the server's is set back, the store's goes on from its last instant, so much
-- `ahead`. Otherwise all that waits would wait as much longer.
local wall = tonumber(time[1]) + tonumber(time[2]) / 1e6
local clocks = call('HMGET', P .. 'meta', 'clock', 'ahead')
local clock, ahead = tonumber(clocks[1] or 0), tonumber(clocks[2] or 0)
local now, is_set_back = math.max(wall + ahead, clock), clock - wall > ahead + 1
local VERSION, SWEPT, EXPIRED, SLOT, SLOTS, PAGE, LANES = 1, 500, 4, 10, 31, 100, 50
-- A zone's plan is read again after a day, and where a 429 does not fit it after an hour; in seconds.
local STALE, DOUBTFUL = 86400, 3600

local function get(key, field)
  local text = call('HGET', P .. key, field)
  return text and unpack_(text) or nil
end
local function set(key, field, value) call('HSET', P .. key, field, pack(value)) end
local function score(value) return string.format('%.6f', value) end
local function tick()
  call('HSET', P .. 'meta', 'clock', score(now), 'ahead', score(is_set_back and clock - wall or ahead))
end

-- ---- lanes ----

local function lane_name(zone, environment, op, kind) return table.concat({ zone, environment, op, kind }, '\0') end

local function lane(id)
  local t = call('HMGET', P .. 'lane:' .. id, 'zone', 'environment', 'op', 'kind', 'count', 'claimed', 'served', 'died')
  if not t[1] then return nil end
  return { id = id, zone = t[1], environment = t[2], op = t[3], kind = t[4], count = tonumber(t[5]),
    claimed = tonumber(t[6]), served = tonumber(t[7]), died = t[8] and tonumber(t[8]) }
end

local function alive(zone, environment, op, kind, makes)
  local name = lane_name(zone, environment, op, kind)
  local id = call('HGET', P .. 'lanes', name)
  if not id and makes then
    id = tostring(call('HINCRBY', P .. 'meta', 'lane', 1))
    call('HSET', P .. 'lanes', name, id)
    call('HSET', P .. 'lane:' .. id, 'zone', zone, 'environment', environment, 'op', op, 'kind', kind, 'count', 0,
      'claimed', 0, 'served', 0)
    call('SADD', P .. 'of:' .. zone, id)
  end
  return id
end

local function count(id, field, n)
  if n ~= 0 then call('HINCRBY', P .. 'lane:' .. id, field, n) end
end

-- `meta` has the sum, and how much of it is in lanes that were superseded.
local function count_claimed(id, n)
  count(id, 'claimed', n)
  call('HINCRBY', P .. 'meta', 'claimed', n)
  if call('HEXISTS', P .. 'lane:' .. id, 'died') == 1 then call('HINCRBY', P .. 'meta', 'dying', n) end
end

local function total(n)
  if n ~= 0 then call('HINCRBY', P .. 'meta', 'total', n) end
end

local function drop_head(id)
  call('ZREM', P .. 'heads', id)
  call('ZREM', P .. 'oldest', id)
end

-- The lane's head: its first item's instant, or the end of its zone's rest. A dead lane has none.
local function set_head(id)
  local first = call('ZRANGE', P .. 'wait:' .. id, 0, 0, 'WITHSCORES')
  local is_dead = call('HEXISTS', P .. 'lane:' .. id, 'died') == 1
  if is_dead then call('SADD', P .. 'dead', id) end
  if is_dead or not first[1] then return drop_head(id) end
  local zone = get('zones', call('HGET', P .. 'lane:' .. id, 'zone'))
  call('ZADD', P .. 'heads', score(math.max(tonumber(first[2]), zone and zone.rests or 0)), id)
  call('ZADD', P .. 'oldest', first[2], id)
end

local function wait(id, key, item)
  item.claim = nil
  set('item:' .. id, key, item)
  call('ZADD', P .. 'wait:' .. id, score(item.due), key)
end

local function later(...)
  local most
  for _, value in ipairs({ ... }) do
    if value and (not most or value > most) then most = value end
  end
  return most
end

-- ---- add ----

local function merge(id, key, item, due, again, json)
  item.item = json
  item.again = later(item.again or 0, again or 0)
  if item.again == 0 then item.again = nil end
  if item.claim then
    item.soon, item.next = math.min(item.soon or due, due), later(item.next or 0, due)
    set('item:' .. id, key, item)
  else
    local first, last = math.min(item.due, due), later(item.next or 0, item.due, due)
    item.due, item.next = first, last > first and last or nil
    wait(id, key, item)
  end
end

local function forget_failed(name, key)
  local seq = call('HGET', P .. 'failures', name .. '\0' .. key)
  if seq then
    call('HDEL', P .. 'failures', name .. '\0' .. key)
    call('HDEL', P .. 'failure', seq)
    call('ZREM', P .. 'failed', seq)
  end
end

-- The lanes of the zone or the environment that this one empties.
local function superseded(group, own)
  local all = {}
  for _, id in ipairs(call('SMEMBERS', P .. 'of:' .. group.zone)) do
    local other = lane(id)
    if id ~= own and other.count > 0 and (group.environment == '' or other.environment == group.environment)
      and (group.op == 'purge' or other.op == 'invalidate') then
      all[#all + 1] = other
    end
  end
  return all
end

local function supersede(group, own)
  for _, other in ipairs(superseded(group, own)) do
    call('HSET', P .. 'lane:' .. other.id, 'died', score(now))
    call('HDEL', P .. 'lanes', lane_name(other.zone, other.environment, other.op, other.kind))
    call('SREM', P .. 'of:' .. group.zone, other.id)
    drop_head(other.id)
    call('SADD', P .. 'dead', other.id)
    total(-other.count)
    call('HINCRBY', P .. 'meta', 'dying', other.claimed)
  end
end

local function waiting_item(id, key)
  local item = id and get('item:' .. id, key)
  return item and not item.claim and item or nil
end

-- The invalidate that goes where its purge is added, to go now.
local function invalidate_of(id, key)
  local item = waiting_item(id, key)
  return item and not item.next and not item.again and item.due <= now and item or nil
end

local function add(groups, options)
  local delay, again = options.delay or 0, options.again
  local fresh, seen, added, all, freed, is_over = {}, {}, 0, 0, 0, {}
  -- Nothing is written before it is known that all of it has room.
  for g, group in ipairs(groups) do
    local name = lane_name(group.zone, group.environment, group.op, group.kind)
    local id = alive(group.zone, group.environment, group.op, group.kind)
    local asks_now = group.op == 'invalidate' and not again and delay == 0
    local purges = asks_now and alive(group.zone, group.environment, 'purge', group.kind)
    local goes_now = group.op == 'purge' and delay == 0
    local invalidates = goes_now and alive(group.zone, group.environment, 'invalidate', group.kind)
    fresh[g] = {}
    for i, pair in ipairs(group.items) do
      all = all + 1
      local other = waiting_item(purges, pair[1])
      local identity = name .. '\0' .. pair[1]
      local is_known = seen[identity] or (id and call('HEXISTS', P .. 'item:' .. id, pair[1]) == 1)
      if not is_known and not (other and other.due <= now) then
        fresh[g][i] = true
        added = added + 1
      end
      if not seen[identity] and invalidate_of(invalidates, pair[1]) then freed = freed + 1 end
      seen[identity] = true
    end
    for _, other in ipairs(group.kind == 'everything' and delay == 0 and superseded(group, id) or {}) do
      if not is_over[other.id] then freed = freed + other.count end
      is_over[other.id] = true
    end
  end
  if tonumber(call('HGET', P .. 'meta', 'total') or 0) + added - freed > options.capacity then
    return redis.error_reply('queue_full')
  end
  tick()
  for g, group in ipairs(groups) do
    local name = lane_name(group.zone, group.environment, group.op, group.kind)
    local id = alive(group.zone, group.environment, group.op, group.kind, true)
    local goes_now = group.op == 'purge' and delay == 0
    local invalidates = goes_now and alive(group.zone, group.environment, 'invalidate', group.kind)
    local n, less = 0, 0
    for i, pair in ipairs(group.items) do
      -- In the order in which they were given.
      local key, due = pair[1], now + delay + i * 1e-6
      local known = get('item:' .. id, key)
      if known then
        merge(id, key, known, due, again, pair[2])
      elseif fresh[g][i] then
        wait(id, key, { item = pair[2], due = due, again = again, tries = 0 })
        n = n + 1
      end
      if invalidate_of(invalidates, key) then
        call('HDEL', P .. 'item:' .. invalidates, key)
        call('ZREM', P .. 'wait:' .. invalidates, key)
        less = less + 1
      end
      forget_failed(name, key)
    end
    count(id, 'count', n)
    set_head(id)
    if less > 0 then
      count(invalidates, 'count', -less)
      set_head(invalidates)
    end
    total(n - less)
    if group.kind == 'everything' and delay == 0 then supersede(group, id) end
  end
  local reply = { added, all - added }
  for g, group in ipairs(options.tells_each and groups or {}) do
    local places = {}
    for i = 1, #group.items do
      if fresh[g][i] then places[#places + 1] = i end
    end
    reply[g + 2] = places
  end
  return reply
end
]==]
