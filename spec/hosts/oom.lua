-- The scenarios of spec/hosts/oom.c, and what must hold after one in which memory ran out: three functions for the
-- scenario `name`. `prepare` and `check` have memory, `run` has not: what it learns goes into slots that are there.
local name, base_url, seen = ...
local cfpurge, core

-- What is asked of the client: { params, items, kind, options, result, err, request, refused, done }
local calls = {}
local S = { client = false, closed = false, calls = calls }

local function options(more)
  -- Where libcurl 8.23 has no memory to listen to its own threads it forgets to say so if another transfer runs next.
  -- The first one then waits for its time-out, which is no wait of ours, and shall not count as one.
  local timeout = core.libcurl():find "^libcurl/8%.2" and 3 or 20
  local all = {
    base_url = base_url, max_retry_wait = 0.001, timeout = timeout, ca_file = os.getenv "CA_FILE",
    api_token = os.getenv "CLOUDFLARE_API_TOKEN" or "a-token", zone_id = os.getenv "CLOUDFLARE_ZONE_ID" or "z1",
  }
  for key, value in pairs(more or {}) do all[key] = value or nil end
  return all
end

-- A call to come; `kind` is that of the error it ends with where nothing runs out, `more` its options.
local function call(params, kind, more)
  local made = {
    params = params, kind = kind, options = more, done = 0,
    result = false, err = false, request = false, refused = false,
  }
  made.on_done = function(result, err)
    made.done, made.result, made.err = made.done + 1, result or false, err or false
  end
  made.items = params.tags or params.files or { "t0" }
  calls[#calls + 1] = made
  return made
end

local function tags(first, last)
  local list = {}
  for i = first, last do list[#list + 1] = "t" .. i end
  return list
end

local function purge(made)
  made.result, made.err = S.client:purge(made.params, made.options)
end

local function start(made)
  made.request, made.refused = S.client:start(made.params, made.options, made.on_done)
end

local function step_all()
  while S.client:step() > 0 do end
end

-- ---- the scenarios: prepare, run ----

-- The server may refuse one, lose its next attempt to us, and refuse the third.
local MORE = { max_retries = 3 }

local scenarios = {}

local function scenario(title, prepare, run)
  scenarios[title] = { prepare, run }
end

scenario("load", function()
  package.loaded["cfpurge.core"], package.loaded.cfpurge = nil, nil
  for key in pairs(package.loaded) do
    if key:find "^cfpurge" then package.loaded[key] = nil end
  end
end, function()
  require "cfpurge"
end)

scenario("new", function()
  S.more = options {
    plan = "pro", default_headers = { ["X-A"] = "1", ["X-B"] = "" }, on_event = type, user_agent = "spec",
    rate = { requests = 100 }, proxy = "",
  }
end, function()
  S.client = cfpurge.new(S.more)
  S.client = cfpurge.new(S.more)
end)

scenario("purge", function()
  call { tags = { "t1", "t2", "t1" } }
  call { files = { "https://www.example/t3", { url = "https://www.example/t4",
    headers = { Origin = "https://a.example", ["CF-Device-Type"] = "mobile" } } } }
  call { purge_everything = true }
end, function()
  purge(calls[1])
  purge(calls[2])
  purge(calls[3])
end)

scenario("tags", function()
  call { tags = { "t1", "t2" } }
end, function()
  purge(calls[1])
end)

scenario("core", function()
  call { tags = { "t1" }, zone_id = "z1" }
  call({ tags = { "refuse" }, zone_id = "z1" }, "permission_denied")
  S.more = options()
end, function()
  calls[1].result, calls[1].err = core.purge(calls[1].params, S.more)
  calls[2].result, calls[2].err = core.purge(calls[2].params, S.more)
end)

scenario("error", function()
  call({ tags = { "refuse", "t1" } }, "permission_denied")
  call({ tags = { "" } }, "invalid_request")
end, function()
  purge(calls[1])
  purge(calls[2])
end)

scenario("retry", function()
  call({ tags = { "again", "t1" } }, nil, MORE)
end, function()
  purge(calls[1])
end)

scenario("bulk", function()
  local list = tags(1, 9)
  list[6] = "bad"
  call({ tags = list }, "bad_request", { max_items = 3, max_in_flight = 2 })
end, function()
  purge(calls[1])
end)

scenario("stream", function()
  local i, made = 0, nil
  made = call({ tags = function()
    i = i + 1
    return made.items[i]
  end }, nil, { max_items = 2, max_in_flight = 2, on_progress = function(progress) S.progress = progress end })
  made.items = tags(1, 7)
  S.progress = false
end, function()
  start(calls[1])
  step_all()
end)

scenario("wrong", function()
  local i, made = 0, nil
  made = call({ tags = function()
    i = i + 1
    return made.items[i]
  end }, "invalid_request", { max_items = 2, max_in_flight = 2 })
  made.items = { "t1", "a b", "t2", "t3", "c,d", "t4", "e f", "t5" }
end, function()
  start(calls[1])
  step_all()
end)

scenario("names", function()
  S.client = cfpurge.new(options { zone = "www.example", zone_id = false })
  call { tags = { "t1" }, environment = "staging" }
end, function()
  purge(calls[1])
end)

scenario("cancel", function()
  call({ tags = { "slow", "t1" } }, "cancelled")
  call { tags = { "t2" } }
  call({ tags = { "slow", "t3", "t4" } }, "cancelled", { max_items = 1 })
end, function()
  start(calls[1])
  start(calls[2])
  start(calls[3])
  S.client:step(0)
  if calls[1].request then calls[1].request:cancel() end
  if calls[3].request then calls[3].request:cancel() end
  step_all()
end)

local function in_flight()
  call({ tags = { "slow", "t1" } }, "closed")
  call({ tags = { "slow", "t2" } }, "closed")
  call({ tags = { "slow", "t3" } }, "closed", { max_items = 1 })
end

scenario("close", in_flight, function()
  start(calls[1])
  start(calls[2])
  start(calls[3])
  S.client:step(0)
  S.closed = true
  S.client:close()
end)

scenario("collect", function()
  in_flight()
  for i = 1, 3 do start(calls[i]) end
  S.client:step(0)
end, function()
  for i = 1, 3 do calls[i].request = false end
  S.client = false
  collectgarbage()
end)

scenario("start", function()
  call { tags = { "t1" } }
  call({ tags = { "refuse" } }, "permission_denied")
  call({ tags = { "again", "t2" } }, nil, MORE)
end, function()
  start(calls[1])
  start(calls[2])
  start(calls[3])
  while S.client:step(S.client:timeout()) > 0 do
    S.client:stats()
    S.client:fileno()
  end
end)

scenario("event", function()
  S.events = 0
  S.client = cfpurge.new(options { on_event = function(event)
    S.events, S.event = S.events + 1, event.name
  end })
  S.event = false
  call({ tags = { "again", "t1" } }, nil, MORE)
end, function()
  purge(calls[1])
end)

scenario("plan", function()
  call { tags = tags(1, 5) }
end, function()
  S.plan = S.client:purge(calls[1].params, { dry_run = true, max_items = 2 })
end)

-- ---- what must hold ----

local function complain(...)
  error(string.format(...), 0)
end

local function accepted(item)
  local number = type(item) == "string" and item:match "^t(%d+)$" or tostring(item.url or item):match "/t(%d+)$"
  local times = number and seen(tonumber(number)) or 0
  return times ~= 0, number
end

local function key(item)
  return type(item) == "table" and item.url or item
end

local function out_of_memory(err)
  return err.kind == "connection" or (err.kind == "tls" and base_url:find "^https")
    or (err.kind == "invalid_request" and err.message:find "memory")
    -- libcurl says the same of a header that is too long
    or (err.kind == "bad_response" and err.message:find "larger than")
end

local function check_result(made)
  for _, item in ipairs(made.items) do
    local is, number = accepted(item)
    if number and number ~= "0" and not is then complain("%s was reported accepted", key(item)) end
  end
  if made.result.accepted ~= #made.items then complain("accepted %s of %d", made.result.accepted, #made.items) end
end

-- Of a list of which some items were accepted each cause is.
local function is_meant(made, err)
  if err.kind == "partial" then
    for _, failure in ipairs(err.failures) do
      if not is_meant(made, failure.error) then return false end
    end
    return err.failures[1] ~= nil
  end
  return err.kind == made.kind or (err.kind == "closed" and (made.kind == "cancelled" or S.broken_off))
    or out_of_memory(err)
end

local function check_error(made)
  local err = made.err
  if type(err) ~= "table" then complain("the error is a %s", type(err)) end
  if not is_meant(made, err) then complain("%s", tostring(err)) end
  if not err.remaining then complain("nothing remains of a purge: %s", tostring(err)) end
  if err.remaining.purge_everything then return end
  local remaining, left = err.remaining.tags or err.remaining.files, {}
  if type(remaining) == "function" then
    local list = {}
    for item in remaining do list[#list + 1] = item end
    remaining = list
  end
  for _, item in ipairs(remaining) do
    if left[key(item)] and #remaining > #made.items then complain("%s remains twice", key(item)) end
    left[key(item)] = item
  end
  local count = 0
  for _, item in ipairs(made.items) do
    if not left[key(item)] then
      count = count + 1
      if not accepted(item) then complain("%s is neither accepted nor left: %s", key(item), tostring(err)) end
    end
  end
  if err.accepted ~= count then complain("err.accepted is %s, not %d", err.accepted, count) end
end

local function works(client, item)
  local result, err = client:purge { tags = { item } }
  if not result then complain("the next purge: %s", tostring(err)) end
  if not accepted(item) then complain "the next purge was not accepted" end
end

local function drain(ran_through)
  local client = S.client
  if not client then return end
  for _, made in ipairs(calls) do
    -- Nothing answers those, whether their start came to its end or not. Others may be in flight beside them.
    if (made.kind == "cancelled" or made.kind == "closed") and not S.closed then
      S.closed, S.broken_off = true, not ran_through
      works(client, "t989")
      client:close()
    end
  end
  while client:in_flight() > 0 do
    local ok, raised = pcall(client.step, client)
    if not ok and raised ~= "not enough memory" then complain("step: %s", tostring(raised)) end
  end
  -- What a callback raised is still to be told.
  pcall(client.step, client, 0)
end

local function check(ok, raised, for_ever)
  if not ok and not tostring(raised):find "not enough memory$" then complain("raised: %s", tostring(raised)) end
  drain(ok)
  for _, made in ipairs(calls) do
    if made.done > 1 then complain("on_done ran %d times", made.done) end
    if made.request and not made.request:done() then complain "it never ended" end
    if made.request and made.done == 0 then complain "on_done never ran" end
    made.err = made.err or made.refused
    if made.result then check_result(made) elseif made.err then check_error(made) end
    -- The last that a client does: it cannot tell of the end later.
    local must_end = ok and name ~= "plan" and not (name == "collect" and for_ever)
    if must_end and not made.result and not made.err then complain "neither a result nor an error" end
  end
  cfpurge, core = require "cfpurge", require "cfpurge.core"
  if S.client and not S.closed then works(S.client, "t990") end
  local client = assert(cfpurge.new(options()))
  works(client, "t991")
  client:close()
end

return function()
  if name ~= "load" then
    cfpurge, core = require "cfpurge", require "cfpurge.core"
    if name ~= "new" then S.client = assert(cfpurge.new(options())) end
  end
  scenarios[name][1]()
end, function() return scenarios[name][2]() end, check
