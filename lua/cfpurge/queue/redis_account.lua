--- The last part of the queue's script for Redis: budgets, what there is, what failed; and the call, which is given the
--- name of a transition and its arguments in JSON.
return [==[
-- ---- budgets, what there is, what failed ----

local function set_zone(zone, budget)
  local known = get('zones', zone) or { rests = 0, refusals = 0 }
  known.budget, known.learned = budget, now
  set('zones', zone, known)
end

local function resting(...) return call('ZRANGEBYSCORE', P .. 'rests', '(' .. score(now), '+inf', ...) end

-- Zones that rest are tried once more: the credential may be another one now. Are there more than a PAGE of them?
local function wake()
  local names = resting('LIMIT', 0, PAGE)
  for _, name in ipairs(names) do
    local zone = get('zones', name)
    zone.rests = 0
    set('zones', name, zone)
    call('ZREM', P .. 'rests', name)
    for _, id in ipairs(call('SMEMBERS', P .. 'of:' .. name)) do set_head(id) end
  end
  return #names == PAGE
end

-- What a drain asks for again and again: it looks at no lane.
local function left()
  local sums = call('HMGET', P .. 'meta', 'total', 'claimed', 'dying')
  local claimed = tonumber(sums[2] or 0)
  return { waiting = tonumber(sums[1] or 0) - claimed + tonumber(sums[3] or 0), in_flight = claimed,
    failed = call('ZCARD', P .. 'failed'), sweeps = call('EXISTS', P .. 'dead') == 1 }
end

local function status()
  local s = left()
  s.calls, s.held = sent(true), math.max(held_all() - now, 0)
  s.paused, s.resting, s.budgets = {}, {}, {}
  local oldest = tonumber(call('ZRANGE', P .. 'oldest', 0, 0, 'WITHSCORES')[2] or now)
  if oldest < now then s.oldest = now - oldest end
  for _, name in ipairs(resting()) do
    local zone = get('zones', name)
    local kind = (zone.why or 'unknown'):match('^[^:]*')
    s.resting[kind] = (s.resting[kind] or 0) + 1
    if #s.paused < 100 then
      s.paused[#s.paused + 1] = { zone = name, seconds = zone.rests - now, why = zone.why }
    end
  end
  local budgets = call('HGETALL', P .. 'budgets')
  for i = 1, #budgets, 2 do
    local budget = unpack_(budgets[i + 1])
    local name, bucket = budgets[i]:match('^(.*)%z(.*)$')
    s.budgets[#s.budgets + 1] = { name = name, bucket = bucket, rate = budget.rate, left = tokens(budget),
      size = budget.size, held = math.max(budget.held - now, s.held) }
  end
  return s
end

local function fits(row, filter)
  return (not filter.zone or row.zone == filter.zone)
    and (not filter.environment or row.environment == filter.environment)
    and (not filter.kind or row.kind == filter.kind) and (not filter.older_than or row.at <= now - filter.older_than)
    and (not filter.before or row.at <= filter.before)
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

local function drop_failed(filter, limit, after, goes_again)
  local found, last = each_failed(filter, limit, after, function(row)
    forget_failed(lane_name(row.zone, row.environment, row.op, row.kind), row.key)
    if goes_again then
      local id = alive(row.zone, row.environment, row.op, row.kind, true)
      local known = get('item:' .. id, row.key)
      if known then
        merge(id, row.key, known, now, row.again, known.item)
      else
        wait(id, row.key, { item = row.item, due = now, again = row.again, tries = 0 })
        count(id, 'count', 1)
        total(1)
      end
      set_head(id)
    end
  end)
  return { found, last and tostring(last) or false, string.format('%.6f', now) }
end

-- ---- the call ----

local version = tonumber(call('HGET', P .. 'meta', 'version') or 0)
if version > VERSION then return redis.error_reply('newer') end
local what, a = ARGV[1], cjson.decode(ARGV[2])
-- A server without memory lets a script go on that has begun with a write that takes none: these make room.
if what == 'claim' or what == 'renew' or what == 'settle' or what == 'discard' then call('DEL', P .. 'none') end
if version > 0 then
  for step = version, VERSION - 1 do migrations[step]() end
end
local reads = { look = true, left = true, status = true, failed = true }
if version < VERSION and (version > 0 or not reads[what]) then
  call('HSET', P .. 'meta', 'version', VERSION)
end
if what == 'add' then return add(a.groups, a.options)
elseif what == 'look' then return look(a)
elseif what == 'claim' then return claim(a)
elseif what == 'renew' then return renew(a.fences, a.lease)
elseif what == 'settle' then return settle(a.fence, a.o)
elseif what == 'set_budget' then set_budget(a.name, a.buckets)
elseif what == 'set_zone' then set_zone(a.zone, a.budget)
elseif what == 'wake' then return wake() and 1 or 0
elseif what == 'left' then return cjson.encode(left())
elseif what == 'status' then return cjson.encode(status())
elseif what == 'failed' then return list_failed(a.filter, a.limit, a.after)
elseif what == 'retry' or what == 'discard' then
  a.filter.before = a.before
  return drop_failed(a.filter, a.limit, a.after, what == 'retry')
end
return 1
]==]
