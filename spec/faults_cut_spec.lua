-- An answer that breaks off after each of its bytes in turn, by an end or by a reset of the connection: the next attempt
-- succeeds, nothing ends twice, and what is too little of an answer is never taken for one.
local elsewhere = require "spec.support.where"
if elsewhere "engine cqueues" then return end

local edge = require "spec.support.edge"
local clients = require "spec.support.client"
local faults = require "spec.support.faults"
local host = require "spec.support.host"

local env = edge.up()
local TAGS = { tags = { "a", "b", "c" } }
-- Every byte on one Lua; elsewhere a sample, which is another one on each.
local lua = os.getenv "CFPURGE_LUA" or "lua5.4"
local whole = lua == "lua5.4" and not host.watched
local STRIDE = whole and 1 or 41
local OFFSET = whole and 0 or tonumber((lua:gsub("%D", ""))) or 7

-- One purge whose first attempt meets the fault: how that attempt ended, and how the purge did.
local function purge(c, proxy, fault, options)
  local done = 0
  proxy.fault, proxy.fired, proxy.first = fault, nil, nil
  local request = assert(c:start(TAGS, options, function() done = done + 1 end))
  local result, err = request:wait()
  proxy.fault = nil
  assert.equal(1, done)
  faults.accounted(3, result, err)
  return proxy.first, result, err
end

local function client_of(proxy)
  return clients.new { base_url = proxy.url, ca_file = env.CA_FILE, zone_id = proxy.zone, max_retries = 1,
    max_retry_wait = 0, timeout = 30, loop = "cqueues", on_event = function(event)
      if event.name == "response" and not proxy.first then proxy.first = event.kind or "accepted" end
    end }
end

-- After each byte until the fault comes too late to be met -> how often each kind of first attempt was seen. `how` is a
-- list that takes turns; options: kept (on a connection that has served), last (only so many bytes), answer (scripted),
-- endless (it says not how long it is), seldom (one in so many is retried, the others are errors), step (bytes)
local function sweep(base, how, options)
  return faults.run(function()
    local proxy, seen = faults.proxy(base), { places = 0 }
    proxy.zone = edge.zone()
    if options.answer then edge.script(proxy.zone, { options.answer }) end
    local kept = options.kept and client_of(proxy)
    -- What an old connection says last must not meet the next one's fault.
    local function close(c)
      c:close()
      faults.wait(function() return proxy:count() == 0 end)
    end
    local first_one = kept or client_of(proxy)
    assert(purge(first_one, proxy))
    if not kept then close(first_one) end
    local after = OFFSET % STRIDE
    if options.last then after = after + proxy.sent - options.last end
    repeat
      local by, may_retry = how[after % #how + 1], not options.seldom or after % options.seldom == 0
      local c = kept or client_of(proxy)
      if kept then assert(purge(kept, proxy)) end
      local first, result, err = purge(c, proxy, { after = after, how = by }, { max_retries = may_retry and 1 or 0 })
      local told = ("%s after %d bytes: %s, then %s"):format(by, after, first, tostring(err or result.attempts))
      if result then
        assert.equal(first == "accepted" and 1 or 2, result.attempts, told)
      elseif options.endless and by == "fin" then
        -- The end of the connection is the end of the answer, and half an answer is none.
        assert.same({ "bad_response", false }, { err.kind, err.retryable }, told)
      else
        assert.same({ first, true, false }, { err.kind, err.retryable, may_retry }, told)
      end
      assert.is_truthy(first == "accepted" or first == "connection" or first == "bad_response", told)
      seen[first], seen.places = (seen[first] or 0) + 1, seen.places + 1
      if not kept then close(c) end
      after = after + math.max(STRIDE, options.step or 1)
    until not proxy.fired
    clients.close()
    return seen
  end)
end

local both, turns = { { "fin" }, { "rst" } }, { { "fin", "rst" } }
local chunked = ("1\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n"):format(clients.OK:sub(1, 1), #clients.OK - 1, clients.OK:sub(2))
local plain = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

for _, case in ipairs {
  { "HTTP/1.1, on a new connection", env.API_HTTP, both, {} },
  { "HTTP/1.1, on a kept connection", env.API_HTTP, both, { kept = true } },
  { "HTTP/1.1 in chunks", env.API_HTTP, both,
    { answer = { times = 0, raw = plain .. "Transfer-Encoding: chunked\r\n\r\n" .. chunked } } },
  { "HTTP/1.1 of no known length", env.API_HTTP, both,
    { answer = { times = 0, raw = plain .. "\r\n" .. clients.OK }, endless = true } },
  { "HTTP/1.1 after early hints", env.API_HTTP, turns,
    { answer = { times = 0, before = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", body = clients.OK } } },
  { "HTTP/1.1 over TLS, on a new connection", env.API_TLS1, turns, { last = 400 } },
  { "HTTP/1.1 over TLS, on a kept connection", env.API_TLS1, both, { kept = true } },
  { "HTTP/2, from the first byte of the handshake", env.API_TLS, turns, { seldom = 8, step = 3 } },
  { "HTTP/2, on a kept connection", env.API_TLS, both, { kept = true } },
  { "HTTP/2 over TLS 1.2, from the first byte of the handshake", env.API_TLS12, turns, { seldom = 8, step = 3 } },
} do
  for _, how in ipairs(case[3]) do
    it(("an answer over %s, ended by %s"):format(case[1], table.concat(how, " and ")), function()
      local seen = sweep(case[2], how, case[4])
      assert.is_true(seen.places > (whole and 100 or 2), seen.places .. " places")
    end)
  end
end
