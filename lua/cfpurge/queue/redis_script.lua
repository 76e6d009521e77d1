--- The queue's transitions as one script of Redis: it is given the name of one, and its arguments in JSON.
--
-- All keys begin with KEYS[1], which has a hash tag, so that they are on one node of a cluster:
--   meta      hash     fence, seq (of failed items), version
--   lanes     hash     zone NUL environment NUL op NUL kind -> the id of the lane that lives
--   lane:ID   hash     zone, environment, op, kind, count, claimed, served, died
--   of:ZONE   set      the ids of the zone's lanes that live
--   wait:ID   zset     key -> due: the items of a lane that wait
--   item:ID   hash     key -> { item, added, due, next, again, tries, claim }
--   heads     zset     lane -> when its first item is due, or when its zone has rested
--   dead      set      lanes that were superseded
--   claims    zset     fence -> lease;  claim:FENCE { lane, keys, size }
--   zones     hash     zone -> { rests, refusals, why, budget };  flying hash: zone -> claims
--   budgets   hash     name NUL bucket -> { rate, size, left, filled, held }
--   sent      hash     slot of 10 seconds -> requests
--   failed    zset     seq -> at;  failure hash: seq -> the item;  failures hash: its identity -> seq
return [==[
local P = KEYS[1]
local call = redis.call
local pack, unpack_ = cmsgpack.pack, cmsgpack.unpack
local time = call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local VERSION, SWEPT, EXPIRED, OVERALL, SLOT, SLOTS, PAGE = 1, 500, 4, 1200, 10, 31, 100


local function get(key, field)
  local text = call('HGET', P .. key, field)
  return text and unpack_(text) or nil
end
local function set(key, field, value) call('HSET', P .. key, field, pack(value)) end
local function score(value) return string.format('%.6f', value) end

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

local function total(n)
  if n ~= 0 then call('HINCRBY', P .. 'meta', 'total', n) end
end

-- The lane's head: its first item's instant, or the end of its zone's rest.
local function set_head(id)
  local first = call('ZRANGE', P .. 'wait:' .. id, 0, 0, 'WITHSCORES')
  if not first[1] or call('HEXISTS', P .. 'lane:' .. id, 'died') == 1 then
    call('ZREM', P .. 'heads', id)
    return
  end
  local zone = get('zones', call('HGET', P .. 'lane:' .. id, 'zone'))
  call('ZADD', P .. 'heads', score(math.max(tonumber(first[2]), zone and zone.rests or 0)), id)
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
    item.next = later(item.next or 0, due)
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

-- All that waits in the zone or the environment, and that this one empties.
local function supersede(group, own)
  for _, id in ipairs(call('SMEMBERS', P .. 'of:' .. group.zone)) do
    local other = lane(id)
    if id ~= own and other.count > 0 and (group.environment == '' or other.environment == group.environment)
      and (group.op == 'purge' or other.op == 'invalidate') then
      call('HSET', P .. 'lane:' .. id, 'died', score(now))
      call('HDEL', P .. 'lanes', lane_name(other.zone, other.environment, other.op, other.kind))
      call('SREM', P .. 'of:' .. group.zone, id)
      call('ZREM', P .. 'heads', id)
      call('SADD', P .. 'dead', id)
      total(-other.count)
    end
  end
end

local function waiting_item(id, key)
  local item = id and get('item:' .. id, key)
  return item and not item.claim and item or nil
end

local function add(groups, options)
  local delay, again = options.delay or 0, options.again
  local fresh, added, all = {}, 0, 0
  -- Nothing is written before it is known that all of it has room.
  for g, group in ipairs(groups) do
    local id = alive(group.zone, group.environment, group.op, group.kind)
    local purges = group.op == 'invalidate' and not again and alive(group.zone, group.environment, 'purge', group.kind)
    fresh[g] = {}
    for i, pair in ipairs(group.items) do
      all = all + 1
      local other = waiting_item(purges, pair[1])
      if not (id and call('HEXISTS', P .. 'item:' .. id, pair[1]) == 1) and not (other and other.due <= now + delay) then
        fresh[g][i] = true
        added = added + 1
      end
    end
  end
  if tonumber(call('HGET', P .. 'meta', 'total') or 0) + added > options.capacity then
    return redis.error_reply('queue_full')
  end
  for g, group in ipairs(groups) do
    local name = lane_name(group.zone, group.environment, group.op, group.kind)
    local id = alive(group.zone, group.environment, group.op, group.kind, true)
    local invalidates = group.op == 'purge' and alive(group.zone, group.environment, 'invalidate', group.kind)
    local n, less = 0, 0
    for i, pair in ipairs(group.items) do
      -- In the order in which they were given.
      local key, due = pair[1], now + delay + i * 1e-6
      local known = get('item:' .. id, key)
      if known then
        merge(id, key, known, due, again, pair[2])
      elseif fresh[g][i] then
        wait(id, key, { item = pair[2], added = now, due = due, again = again, tries = 0 })
        n = n + 1
      end
      local other = waiting_item(invalidates, key)
      if other and not other.next and not other.again and other.due <= due then
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
  return { added, all - added }
end

-- ---- claim ----

local function release(fence)
  local claim = get('claim', fence)
  call('HDEL', P .. 'claim', fence)
  call('ZREM', P .. 'claims', fence)
  if claim then
    local zone = call('HGET', P .. 'lane:' .. claim.lane, 'zone')
    if zone and call('HINCRBY', P .. 'flying', zone, -1) <= 0 then call('HDEL', P .. 'flying', zone) end
  end
  return claim
end

-- The leases of workers that died or slept: their items wait again.
local function take_back()
  for _, fence in ipairs(call('ZRANGEBYSCORE', P .. 'claims', '-inf', score(now), 'LIMIT', 0, EXPIRED)) do
    local claim = release(fence)
    for _, key in ipairs(claim.keys) do
      local item = get('item:' .. claim.lane, key)
      if item and item.claim == fence then
        item.tries = item.tries + 1
        wait(claim.lane, key, item)
      end
    end
    count(claim.lane, 'claimed', -claim.size)
    set_head(claim.lane)
  end
end

-- Items of a dead lane go, but for those that ask for a later purge than the one that killed it.
local function sweep()
  local id = call('SRANDMEMBER', P .. 'dead')
  if not id then return end
  local dead = lane(id)
  local keys = call('ZRANGE', P .. 'wait:' .. id, 0, SWEPT - 1)
  for _, key in ipairs(keys) do
    local item = get('item:' .. id, key)
    local last = later(item.due, item.next or 0)
    if last > dead.died then
      local heir = alive(dead.zone, dead.environment, dead.op, dead.kind, true)
      local known = get('item:' .. heir, key)
      if known then
        merge(heir, key, known, last, item.again, item.item)
      else
        item.due, item.next = last, nil
        wait(heir, key, item)
        count(heir, 'count', 1)
        total(1)
      end
      set_head(heir)
    end
    call('HDEL', P .. 'item:' .. id, key)
    call('ZREM', P .. 'wait:' .. id, key)
    count(id, 'count', -1)
  end
  if call('HLEN', P .. 'item:' .. id) == 0 then
    call('DEL', P .. 'lane:' .. id, P .. 'wait:' .. id)
    call('SREM', P .. 'dead', id)
  end
end

local function bucket_of(kind) return kind == 'files' and 'urls' or 'requests' end

local function budget_of(zone, kind, otherwise)
  local known = get('zones', zone)
  local name = (known and known.budget or otherwise) .. '\0' .. bucket_of(kind)
  return get('budgets', name), name
end

local function tokens(budget) return math.min(budget.size, budget.left + (now - budget.filled) * budget.rate) end

local function spend(budget, name, cost)
  budget.left, budget.filled = tokens(budget) - cost, now
  set('budgets', name, budget)
end

local function sent()
  local slot, all = math.floor(now / SLOT), 0
  local slots = call('HGETALL', P .. 'sent')
  for i = 1, #slots, 2 do
    if tonumber(slots[i]) <= slot - SLOTS then call('HDEL', P .. 'sent', slots[i]) else all = all + tonumber(slots[i + 1]) end
  end
  return all
end

-- The lane to serve: ready, and served least lately.
local function choose(o)
  local best, best_budget, best_name
  if sent() >= OVERALL then return nil end
  for page = 0, 9 do
    local ids = call('ZRANGEBYSCORE', P .. 'heads', '-inf', score(now), 'WITHSCORES', 'LIMIT', page * PAGE, PAGE)
    for i = 1, #ids, 2 do
      local one = lane(ids[i])
      local full = one.kind == 'files' and o.full.files or o.full.others
      local is_ready = tonumber(ids[i + 1]) + o.linger <= now or one.count - one.claimed >= full
      local zone = get('zones', one.zone)
      is_ready = is_ready and not (zone and zone.rests > now)
        and not (zone and zone.refusals > 0 and call('HEXISTS', P .. 'flying', one.zone) == 1)
      if is_ready and not (best and best.served <= one.served) then
        local budget, name = budget_of(one.zone, one.kind, o.budget)
        if not budget or (budget.held <= now and tokens(budget) >= 1) then
          best, best_budget, best_name = one, budget, name
        end
      end
    end
    if #ids < 2 * PAGE or best then break end
  end
  return best, best_budget, best_name
end

local function look(o)
  local head, lease = call('ZRANGE', P .. 'heads', 0, 0, 'WITHSCORES'), call('ZRANGE', P .. 'claims', 0, 0, 'WITHSCORES')
  if call('EXISTS', P .. 'dead') == 1 or (lease[2] and tonumber(lease[2]) <= now) or choose(o) then return '0' end
  local at = head[2] and tonumber(head[2]) + o.linger or lease[2]
  return at and tostring(math.max(tonumber(at) - now, 0.001)) or false
end

local function claim(o)
  take_back()
  sweep()
  local one, budget, name = choose(o)
  if not one then return false end
  local most = one.kind == 'files' and o.full.files or o.full.others
  if budget and one.kind == 'files' then most = math.min(most, math.floor(tokens(budget))) end
  local keys = call('ZRANGEBYSCORE', P .. 'wait:' .. one.id, '-inf', score(now), 'LIMIT', 0, most)
  if #keys == 0 then
    set_head(one.id)
    return false
  end
  local fence = tostring(call('HINCRBY', P .. 'meta', 'fence', 1))
  local reply = { fence, one.zone, one.environment, one.op, one.kind }
  for _, key in ipairs(keys) do
    local item = get('item:' .. one.id, key)
    item.claim = fence
    if item.next and item.next <= now then item.next = nil end
    set('item:' .. one.id, key, item)
    call('ZREM', P .. 'wait:' .. one.id, key)
    reply[#reply + 1] = key
    reply[#reply + 1] = item.item
    reply[#reply + 1] = item.tries
  end
  set('claim', fence, { lane = one.id, keys = keys, size = #keys })
  call('ZADD', P .. 'claims', score(now + o.lease), fence)
  call('HINCRBY', P .. 'flying', one.zone, 1)
  count(one.id, 'claimed', #keys)
  call('HSET', P .. 'lane:' .. one.id, 'served', fence)
  call('HINCRBY', P .. 'sent', math.floor(now / SLOT), 1)
  if budget then spend(budget, name, one.kind == 'files' and #keys or 1) end
  set_head(one.id)
  return reply
end

local function renew(fences, lease)
  local ours = {}
  for _, fence in ipairs(fences) do
    fence = tostring(fence)
    if call('ZSCORE', P .. 'claims', fence) then
      call('ZADD', P .. 'claims', score(now + lease), fence)
      ours[#ours + 1] = fence
    end
  end
  return ours
end

-- ---- settle ----

local function as_set(list)
  local found = {}
  for _, key in ipairs(type(list) == 'table' and list or {}) do found[key] = true end
  return found
end

local function fail(one, key, item, text)
  local seq = tostring(call('HINCRBY', P .. 'meta', 'seq', 1))
  local name = lane_name(one.zone, one.environment, one.op, one.kind) .. '\0' .. key
  call('HSET', P .. 'failures', name, seq)
  set('failure', seq, { zone = one.zone, environment = one.environment, op = one.op, kind = one.kind, key = key,
    item = item.item, error = text, at = now })
  call('ZADD', P .. 'failed', seq, seq)
end

local function set_rest(one, o)
  local zone = get('zones', one.zone)
  if o.rest then
    zone = zone or { rests = 0, refusals = 0 }
    zone.refusals, zone.why = zone.refusals + 1, o.rest.why
    zone.rests = now + math.min(o.rest.first * 2 ^ math.min(zone.refusals - 1, 20), o.rest.most)
  elseif o.accepted and zone and zone.refusals > 0 then
    zone.refusals, zone.rests, zone.why = 0, 0, nil
  else
    return
  end
  set('zones', one.zone, zone)
  for _, id in ipairs(call('SMEMBERS', P .. 'of:' .. one.zone)) do set_head(id) end
end

local function settle(fence, o)
  fence = tostring(fence)
  local claimed = release(fence)
  if not claimed then return 0 end
  local one, failed, waiting, gone = lane(claimed.lane), {}, as_set(o.waiting), 0
  for _, pair in ipairs(o.failed) do failed[pair[1]] = pair[2] end
  for _, key in ipairs(claimed.keys) do
    local item = get('item:' .. one.id, key)
    if item and item.claim == fence then
      local after = item.next or (not failed[key] and item.again and now + item.again)
      if o.waiting == 'all' or waiting[key] then
        item.tries = item.tries + 1
        wait(one.id, key, item)
      elseif after then
        -- It was added again meanwhile, or asks for one more.
        if not item.next then item.again = nil end
        item.due, item.next, item.tries = after, nil, 0
        wait(one.id, key, item)
      else
        if failed[key] then fail(one, key, item, failed[key]) end
        call('HDEL', P .. 'item:' .. one.id, key)
        gone = gone + 1
      end
    end
  end
  count(one.id, 'count', -gone)
  count(one.id, 'claimed', -claimed.size)
  if not one.died then total(-gone) end
  set_rest(one, o)
  set_head(one.id)
  local budget, name = budget_of(one.zone, one.kind, o.budget or '')
  if budget and (o.held or (o.extra or 0) > 0) then
    spend(budget, name, o.extra or 0)
    if o.held then budget.held, budget.left = math.max(budget.held, now + o.held), math.min(budget.left, 0) end
    set('budgets', name, budget)
  end
  return 1
end

-- ---- budgets, what there is, what failed ----

local function set_budget(name, buckets)
  for bucket, limits in pairs(buckets) do
    local field = name .. '\0' .. bucket
    local budget = get('budgets', field) or { left = limits[2], filled = now, held = 0 }
    budget.rate, budget.size = limits[1], limits[2]
    set('budgets', field, budget)
  end
end

local function set_zone(zone, budget)
  local known = get('zones', zone) or { rests = 0, refusals = 0 }
  known.budget = budget
  set('zones', zone, known)
end

local function status()
  local s = { waiting = 0, in_flight = 0, failed = call('ZCARD', P .. 'failed'), paused = {}, budgets = {} }
  local ids = call('HVALS', P .. 'lanes')
  for _, id in ipairs(ids) do
    local one = lane(id)
    s.waiting, s.in_flight = s.waiting + one.count - one.claimed, s.in_flight + one.claimed
    local first = call('ZRANGE', P .. 'wait:' .. id, 0, 0)[1]
    local item = first and get('item:' .. id, first)
    if item and item.due <= now then s.oldest = later(s.oldest or 0, now - item.added) end
  end
  local zones = call('HGETALL', P .. 'zones')
  for i = 1, #zones, 2 do
    local zone = unpack_(zones[i + 1])
    if zone.rests > now and #s.paused < 100 then
      s.paused[#s.paused + 1] = { zone = zones[i], seconds = zone.rests - now, why = zone.why }
    end
  end
  local budgets = call('HGETALL', P .. 'budgets')
  for i = 1, #budgets, 2 do
    local budget = unpack_(budgets[i + 1])
    local name, bucket = budgets[i]:match('^(.*)%z(.*)$')
    s.budgets[#s.budgets + 1] = { name = name, bucket = bucket, left = tokens(budget), size = budget.size,
      held = math.max(budget.held - now, 0) }
  end
  return cjson.encode(s)
end

local function fits(row, filter)
  return (not filter.zone or row.zone == filter.zone) and (not filter.environment or row.environment == filter.environment)
    and (not filter.kind or row.kind == filter.kind) and (not filter.older_than or row.at <= now - filter.older_than)
end

-- Visits what fits, PAGE by PAGE, after the place `after`; at most 20 pages a call.
local function each_failed(filter, limit, after, visit)
  local found, last = 0, after or 0
  for _ = 1, 20 do
    local seqs = call('ZRANGEBYSCORE', P .. 'failed', '(' .. last, '+inf', 'LIMIT', 0, PAGE)
    for _, seq in ipairs(seqs) do
      if found == limit then return found, last end
      last = tonumber(seq)
      local row = get('failure', seq)
      if fits(row, filter) then
        found = found + 1
        visit(row, seq)
      end
    end
    if #seqs < PAGE then return found, nil end
  end
  return found, last
end

local function list_failed(filter, limit, after)
  local rows = {}
  local _, last = each_failed(filter, limit, after, function(row)
    row.age = now - row.at
    rows[#rows + 1] = row
  end)
  return { cjson.encode(rows), last and tostring(last) or false }
end

local function drop_failed(filter, limit, goes_again)
  local found, last = each_failed(filter, limit, nil, function(row)
    forget_failed(lane_name(row.zone, row.environment, row.op, row.kind), row.key)
    if goes_again then
      local id = alive(row.zone, row.environment, row.op, row.kind, true)
      if call('HEXISTS', P .. 'item:' .. id, row.key) == 0 then
        wait(id, row.key, { item = row.item, added = row.at, due = now, tries = 0 })
        count(id, 'count', 1)
        total(1)
        set_head(id)
      end
    end
  end)
  return { found, last and 1 or 0 }
end

-- ---- the call ----

local version = tonumber(call('HGET', P .. 'meta', 'version') or 0)
if version > VERSION then return redis.error_reply('newer') end
local what, a = ARGV[1], cjson.decode(ARGV[2])
if version < VERSION and what ~= 'look' and what ~= 'status' and what ~= 'failed' then
  call('HSET', P .. 'meta', 'version', VERSION)
end
if what == 'add' then return add(a.groups, a.options)
elseif what == 'look' then return look(a)
elseif what == 'claim' then return claim(a)
elseif what == 'renew' then return renew(a.fences, a.lease)
elseif what == 'settle' then return settle(a.fence, a.o)
elseif what == 'set_budget' then set_budget(a.name, a.buckets)
elseif what == 'set_zone' then set_zone(a.zone, a.budget)
elseif what == 'status' then return status()
elseif what == 'failed' then return list_failed(a.filter, a.limit, a.after)
elseif what == 'retry' then return drop_failed(a.filter, a.limit, true)
elseif what == 'discard' then return drop_failed(a.filter, a.limit, false) end
return 1
]==]
