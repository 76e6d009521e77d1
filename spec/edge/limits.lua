-- The published limits of an account, off until a spec switches them on for a zone and its account. Zones of one plan
-- share the plan's buckets, zones of another plan have their own; a zone of no plan is in the plan of the last call.
--   plan        free, pro, business or enterprise: the buckets below, and enterprise's 500 files a request
--   factor      time runs that many times faster (1); Retry-After and t are in the client's own seconds
--   max_items   items in one request, for this zone (30: an old account)
--   over_code   of the refusal of more, in place of 1094, 1101 and 1111
--   overall     false: without the 1200 requests in 5 minutes and the 200 a second
--   headers     false: no Ratelimit and Ratelimit-Policy
--   retry_after false: no Retry-After on a 429; "date": as an HTTP date
--   code        of the refusal, in place of 971 and 10100
--   status      of the refusal, in place of 429
--   bare        true: the refusal is {"code":971,"error":"please wait"}, no envelope
local M = {}

local plans = {
  free = { requests = { rate = 5 / 60, size = 25 }, urls = { rate = 800, size = 800 } },
  pro = { requests = { rate = 5, size = 25 }, urls = { rate = 1500, size = 1500 } },
  business = { requests = { rate = 10, size = 50 }, urls = { rate = 1500, size = 1500 } },
  enterprise = { requests = { rate = 50, size = 500 }, urls = { rate = 3000, size = 3000 } },
}
local accounts = {}

local function bucket(rate, size)
  return { rate = rate, size = size, left = size, at = 0 }
end

function M.set(zone, settings)
  zone.plan, zone.max_items = settings.plan or zone.own_plan, settings.max_items
  zone.over_code = settings.over_code
  local plan, old = plans[settings.plan], accounts[zone.account]
  if not plan then
    accounts[zone.account] = nil
    return
  end
  local factor = settings.factor or 1
  if not old or old.factor ~= factor then old = { start = ngx.now(), plans = {} } end
  old.plans[settings.plan] = {
    requests = bucket(plan.requests.rate, plan.requests.size), urls = bucket(plan.urls.rate, plan.urls.size),
  }
  accounts[zone.account] = {
    settings = settings, start = old.start, factor = factor, plan = settings.plan, plans = old.plans,
    address = bucket(200, 200), users = {},
  }
end

-- Seconds until `cost` tokens are there, 0 if they were and have been taken.
local function take(b, cost, now)
  b.left = math.min(b.size, b.left + (now - b.at) * b.rate)
  b.at = now
  if b.left >= cost then
    b.left = b.left - cost
    return 0
  end
  return (cost - b.left) / b.rate
end

-- Who passes 1200 in 5 minutes is refused for the next 5 minutes.
local function take_window(users, user, now)
  local window = users[user]
  if not window or now >= window.ends then
    window = { ends = now + 300, left = 1200 }
    users[user] = window
  end
  if window.left > 0 then
    window.left = window.left - 1
    return 0, window
  end
  if not window.refused then window.refused, window.ends = true, now + 300 end
  return window.ends - now, window
end

-- nil when the request may pass, else the refusal's code, message, status and form; the headers are set either way.
function M.take(zone, request, purged)
  local account = accounts[zone.account]
  local buckets = account and account.plans[zone.plan or account.plan]
  if not buckets then return end
  ngx.update_time()
  local settings, factor = account.settings, account.factor
  local now = (ngx.now() - account.start) * factor
  local kind = purged.kind == "files" and "urls" or "requests"
  local own = buckets[kind]
  local wait, late = 0, nil
  local policies, states = {}, {}
  local function report(name, quota, window, left, reset)
    policies[#policies + 1] = ('"%s";q=%d;w=%d'):format(name, quota, math.ceil(window / factor))
    states[#states + 1] = ('"%s";r=%d;t=%d'):format(name, math.floor(left), math.ceil(math.max(reset, 0) / factor))
  end
  if settings.overall ~= false then
    local user = request.headers.authorization or request.headers["x-auth-email"]
    local window
    wait, window = take_window(account.users, user, now)
    if wait > 0 then late = { code = 10100, message = "The account's global limit was passed" } end
    report("default", 1200, 300, window.left, window.ends - now)
    if not late then
      wait = take(account.address, 1, now)
      if wait > 0 then late = { code = 971, message = "Too many requests from this address" } end
    end
  end
  if not late then
    wait = take(own, kind == "urls" and purged.count or 1, now)
    if wait > 0 then
      late = { code = 971, message = "Please wait and consider throttling your request speed" }
    end
  end
  report(kind, own.size, own.size / own.rate, own.left, (math.floor(own.left) + 1 - own.left) / own.rate)
  if settings.headers ~= false then
    ngx.header["Ratelimit"] = table.concat(states, ", ")
    ngx.header["Ratelimit-Policy"] = table.concat(policies, ", ")
  end
  if late and settings.retry_after ~= false then
    local seconds = math.ceil(wait / factor)
    ngx.header["Retry-After"] = settings.retry_after == "date" and ngx.http_time(ngx.time() + seconds) or seconds
  end
  if late then
    late.code, late.status, late.bare = settings.code or late.code, settings.status or 429, settings.bare
  end
  return late
end

return M
