--- The second part of the queue's script for Redis: claims, from their making to what became of them.
return [==[
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

-- ---- budgets: `left` as of `filled`, less `pending`, which is drawn when its answer is there; rate 0 is no limit ----

local function filled(budget)
  return math.min(budget.size, budget.left + math.max(now - budget.filled, 0) * budget.rate)
end

local function tokens(budget) return filled(budget) - budget.pending end

local function set_budget(name, buckets)
  for bucket, limits in pairs(buckets) do
    local field = name .. '\0' .. bucket
    local budget = get('budgets', field)
    if not budget or budget.rate ~= limits[1] or budget.size ~= limits[2] or budget.most ~= limits[3] then
      budget = budget or { left = limits[2], filled = now, held = 0, pending = 0 }
      budget.rate, budget.size, budget.most = limits[1], limits[2], limits[3]
      set('budgets', field, budget)
    end
  end
end

-- Until when the server wants no request at all.
local function held_all() return tonumber(call('HGET', P .. 'meta', 'held') or 0) end

-- A claim is over: its tokens are drawn, and those of the `extra` requests that it took.
local function draw(claim, extra, held, is_drained, is_unsent)
  local budget = claim.budget and get('budgets', claim.budget)
  if not budget then return end
  budget.left = is_drained and 0
    or filled(budget) - (is_unsent and 0 or claim.cost) - (claim.budget:find('%zurls$') and 0 or extra)
  budget.filled, budget.pending = now, math.max(budget.pending - claim.cost, 0)
  if held then budget.held = math.max(budget.held, now + held) end
  set('budgets', claim.budget, budget)
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
    count_claimed(claim.lane, -claim.size)
    draw(claim, 0)
    set_head(claim.lane)
  end
end

-- An item of a dead lane that asks for later purges than the one that killed it goes to the lane that lives. That one
-- stands for the first purge of an item with `again`.
local function move(dead, key, item)
  local due, next_due = item.due, item.next
  if due <= dead.died then due, next_due = next_due, nil end
  if not due or due <= dead.died then
    if not item.again then return end
    due, item.again = dead.died + item.again, nil
  end
  local heir = alive(dead.zone, dead.environment, dead.op, dead.kind, true)
  local known = get('item:' .. heir, key)
  if known then
    merge(heir, key, known, due, item.again, known.item)
    if next_due then merge(heir, key, known, next_due, item.again, known.item) end
  else
    item.due, item.next = due, next_due
    wait(heir, key, item)
    count(heir, 'count', 1)
    total(1)
  end
  set_head(heir)
end

local function sweep()
  local id = call('SRANDMEMBER', P .. 'dead')
  if not id then return end
  local dead = lane(id)
  local keys = call('ZRANGE', P .. 'wait:' .. id, 0, SWEPT - 1)
  for _, key in ipairs(keys) do
    move(dead, key, get('item:' .. id, key))
    call('HDEL', P .. 'item:' .. id, key)
    call('ZREM', P .. 'wait:' .. id, key)
  end
  count(id, 'count', -#keys)
  -- What is in flight ends first; set_head tells when it has.
  if call('EXISTS', P .. 'wait:' .. id) == 0 then call('SREM', P .. 'dead', id) end
  if call('EXISTS', P .. 'item:' .. id) == 0 then call('DEL', P .. 'lane:' .. id) end
end

-- Calls in 5 minutes. With `is_read` the store stays as it is.
local function sent(is_read)
  local slot, all = math.floor(now / SLOT), 0
  local slots = call('HGETALL', P .. 'sent')
  for i = 1, #slots, 2 do
    if tonumber(slots[i]) > slot - SLOTS then
      all = all + tonumber(slots[i + 1])
    elseif not is_read then
      call('HDEL', P .. 'sent', slots[i])
    end
  end
  return all
end

-- The lane to serve: ready, and served least lately; without one, in how many seconds there may be one. Of more than
-- LANES that are due it looks at the first ones, and at some behind them: at others every 50 ms.
local function choose(o)
  local best, best_budget, best_name
  local soonest, budgets = 3600, {}
  local held = held_all()
  if held > now then return nil, held - now end
  if (o.overall or 0) > 0 and sent() >= o.overall then return nil, 0.25 end
  local pages = math.ceil(call('ZCOUNT', P .. 'heads', '-inf', score(now)) / LANES)
  for turn = 0, math.min(pages, 20) - 1 do
    if best and turn > 1 then break end
    local page = turn > 0 and 1 + (math.floor(now * 20) + turn) % (pages - 1) or 0
    local ids = call('ZRANGEBYSCORE', P .. 'heads', '-inf', score(now), 'WITHSCORES', 'LIMIT', page * LANES, LANES)
    for i = 1, #ids, 2 do
      local one = lane(ids[i])
      local is_files = one.kind == 'files'
      local waiting, zone = one.count - one.claimed, get('zones', one.zone)
      local name = (zone and zone.budget or o.budget) .. (is_files and '\0urls' or '\0requests')
      if budgets[name] == nil then budgets[name] = get('budgets', name) or false end
      local budget = budgets[name]
      one.full = is_files and (budget and budget.most or o.full.files) or o.full.others
      local off = waiting < one.full and tonumber(ids[i + 1]) + o.linger - now or 0
      if zone then
        off = math.max(off, zone.rests - now)
        if zone.refusals > 0 and call('HEXISTS', P .. 'flying', one.zone) == 1 then off = math.max(off, 0.25) end
      end
      if budget then
        off = math.max(off, budget.held - now)
        if budget.rate > 0 then
          -- A request may reach the server 25 ms later than the one behind it.
          local needed = budget.rate * 0.025 + (is_files and math.min(waiting, one.full) or 1)
          off = math.max(off, (math.min(needed, budget.size) - tokens(budget)) / budget.rate)
        end
      end
      if off > 0 then
        soonest = math.min(soonest, off)
      elseif not (best and best.served <= one.served) then
        best, best_budget, best_name = one, budget, name
      end
    end
  end
  if not best then return nil, soonest end
  return best, best_budget, best_name
end

local function look(o)
  local head = call('ZRANGE', P .. 'heads', 0, 0, 'WITHSCORES')
  local lease = call('ZRANGE', P .. 'claims', 0, 0, 'WITHSCORES')
  if is_set_back or call('EXISTS', P .. 'dead') == 1 or (lease[2] and tonumber(lease[2]) <= now) then return '0' end
  local one, soonest = choose(o)
  if one then return '0' end
  local at = head[2] and math.max(tonumber(head[2]) + o.linger, now + math.min(soonest, 3600)) or lease[2]
  if head[2] and tonumber(head[2]) > now then at = tonumber(head[2]) + o.linger end
  return at and tostring(math.max(tonumber(at) - now, 0.001)) or false
end

-- By the clock: a store that forgot its last claims, since it died or a replica took over, gives none of them again.
local function new_fence()
  local last = tonumber(call('HGET', P .. 'meta', 'fence') or 0)
  local fence = string.format('%.0f', math.max(last + 1, math.floor(now * 1e4)))
  call('HSET', P .. 'meta', 'fence', fence)
  return fence
end

local function claim(o)
  tick()
  take_back()
  sweep()
  if o.buckets then set_budget(o.budget, o.buckets) end
  local one, budget, name = choose(o)
  if not one then return false end
  local most = one.full
  if budget and budget.rate > 0 and one.kind == 'files' then
    most = math.max(math.min(most, math.floor(tokens(budget))), 1)
  end
  local keys = call('ZRANGEBYSCORE', P .. 'wait:' .. one.id, '-inf', score(now), 'LIMIT', 0, most)
  if #keys == 0 then
    set_head(one.id)
    return false
  end
  local fence = new_fence()
  local zone = get('zones', one.zone)
  local reply = { fence, one.zone, one.environment, one.op, one.kind, budget and name:match('^(.*)%z') or '',
    zone and zone.learned and zone.learned <= now - STALE and 1 or 0 }
  for _, key in ipairs(keys) do
    local item = get('item:' .. one.id, key)
    item.claim, item.soon = fence, nil
    if item.next and item.next <= now then item.next = nil end
    set('item:' .. one.id, key, item)
    call('ZREM', P .. 'wait:' .. one.id, key)
    reply[#reply + 1] = key
    reply[#reply + 1] = item.item
    reply[#reply + 1] = item.tries
  end
  local cost = one.kind == 'files' and #keys or 1
  set('claim', fence, { lane = one.id, keys = keys, size = #keys, budget = budget and name, cost = cost })
  call('ZADD', P .. 'claims', score(now + o.lease), fence)
  call('HINCRBY', P .. 'flying', one.zone, 1)
  count_claimed(one.id, #keys)
  call('HSET', P .. 'lane:' .. one.id, 'served', fence)
  call('HINCRBY', P .. 'sent', math.floor(now / SLOT), 1)
  if budget then
    budget.pending = budget.pending + cost
    set('budgets', name, budget)
  end
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
  local name = lane_name(one.zone, one.environment, one.op, one.kind)
  forget_failed(name, key)
  call('HSET', P .. 'failures', name .. '\0' .. key, seq)
  set('failure', seq, { zone = one.zone, environment = one.environment, op = one.op, kind = one.kind, key = key,
    item = item.item, error = text, at = now, again = item.again })
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
  elseif not (o.is_drained and zone) then
    return
  end
  if o.is_drained and zone.learned and zone.learned <= now - DOUBTFUL then zone.learned = 0 end
  set('zones', one.zone, zone)
  call('ZADD', P .. 'rests', score(zone.rests), one.zone)
  for _, id in ipairs(call('SMEMBERS', P .. 'of:' .. one.zone)) do set_head(id) end
end

-- Items go to the lane of another zone, and are merged there as an add would be.
local function move_to(zone, one, fence, keys)
  local heir, gone = alive(zone, one.environment, one.op, one.kind, true), 0
  for _, key in ipairs(keys) do
    local item, known = get('item:' .. one.id, key), get('item:' .. heir, key)
    if item and item.claim == fence then
      if known then
        merge(heir, key, known, item.due, item.again, item.item)
        if item.next then merge(heir, key, known, item.next, item.again, item.item) end
      else
        item.tries = 0
        wait(heir, key, item)
        count(heir, 'count', 1)
        total(1)
      end
      call('HDEL', P .. 'item:' .. one.id, key)
      gone = gone + 1
    end
  end
  set_head(heir)
  return gone
end

local function settle(fence, o)
  fence = tostring(fence)
  local claimed = release(fence)
  if not claimed then return 0 end
  local one, failed, waiting, gone = lane(claimed.lane), {}, as_set(o.waiting), 0
  for _, pair in ipairs(o.failed) do failed[pair[1]] = pair[2] end
  for _, group in ipairs(o.moved or {}) do gone = gone + move_to(group[1], one, fence, group[2]) end
  for _, key in ipairs(claimed.keys) do
    local item = get('item:' .. one.id, key)
    if item and item.claim == fence then
      local after = item.soon or item.next or (not failed[key] and item.again and now + item.again)
      if o.waiting == 'all' or waiting[key] then
        item.tries = item.tries + 1
        wait(one.id, key, item)
      elseif after then
        -- It was added again meanwhile, or asks for one more.
        if not item.next then item.again = nil end
        item.due, item.next, item.tries = after, item.next and item.next > after and item.next or nil, 0
        wait(one.id, key, item)
      else
        if failed[key] then fail(one, key, item, failed[key]) end
        call('HDEL', P .. 'item:' .. one.id, key)
        gone = gone + 1
      end
    end
  end
  count(one.id, 'count', -gone)
  count_claimed(one.id, -claimed.size)
  if not one.died then total(-gone) end
  set_rest(one, o)
  set_head(one.id)
  draw(claimed, o.extra or 0, o.held, o.is_drained, o.is_unsent)
  if o.held_all then call('HSET', P .. 'meta', 'held', score(math.max(held_all(), now + o.held_all))) end
  return 1
end
]==]
