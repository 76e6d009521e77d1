-- What the stores of the queue cost: store.lua adds STORE SECONDS | claim STORE COUNT | step STORE SECONDS |
-- drain STORE COUNT | script. Called by rows/store.lua.
local cfpurge = require "cfpurge"
local core = require "cfpurge.core"
local native = require "bench_native"
local how, target, number = arg[1], arg[2], tonumber(arg[3])

local zone = ("0"):rep(32)
local client = assert(cfpurge.new { zone_id = zone, api_token = "bench-token",
  base_url = "http://127.0.0.1:" .. (os.getenv "BENCH_HTTP" or "1") })
local name = target and target:find "^%a+://" and "redis" or "sqlite"
local rules = require("cfpurge.queue." .. name)

local function queue_of(options)
  options.store, options.client = target, client
  return assert(cfpurge.queue(options))
end

-- Carries transitions out, each at once.
local function direct()
  local handle = require("cfpurge." .. name).open(target)
  local function carry_out(commands, decode)
    local id = assert(handle:submit(commands))
    while handle:step(10) > 0 do end
    local _, results, problem = handle:take(id)
    return decode and decode(assert(results, problem)) or results
  end
  carry_out(rules.open())
  return carry_out
end

local function fill(carry_out, count)
  for first = 1, count, rules.UNIT do
    local items = {}
    for i = first, math.min(first + rules.UNIT - 1, count) do
      items[#items + 1] = { "tag-" .. i, ('"tag-%d"'):format(i) }
    end
    carry_out(rules.add({ { zone = zone, environment = "", op = "purge", kind = "tags", items = items } },
      { capacity = 1e8 }))
  end
end

local function at(list, share)
  table.sort(list)
  return list[math.max(1, math.ceil(#list * share))]
end

local function memory(field)
  for line in io.lines "/proc/self/status" do
    local kilobytes = line:match("^" .. field .. ":%s*(%d+)")
    if kilobytes then
      return tonumber(kilobytes) / 1024
    end
  end
end

local M = {}

-- 64 adds of one tag wait at any time. -> adds a second
function M.adds()
  local queue = queue_of { capacity = 1e8 }
  local count, begun, serial = 0, nil, 0
  local function one()
    serial = serial + 1
    assert(queue:start({ tags = { "tag-" .. serial } }, nil, function(added, err)
      assert(added, err and tostring(err))
      count = count + 1
      if not begun or core.now() - begun < number then
        one()
      end
    end))
  end
  for _ = 1, 64 do
    one()
  end
  while count < 64 do
    queue:step(1)
  end
  count, begun = 0, core.now()
  while core.now() - begun < number do
    queue:step(1)
  end
  print(count / (core.now() - begun))
end

-- -> seconds of a claim of 500, the median of 21
function M.claim()
  local carry_out = direct()
  fill(carry_out, number)
  local terms = { full = { files = 500, others = 500 }, linger = 0, lease = 600, budget = "" }
  local times = {}
  for i = 1, 21 do
    local begun = core.now()
    local claim = carry_out(rules.claim(terms))
    times[i] = core.now() - begun
    assert(#claim.items == 500 or number <= 1000)
    carry_out(rules.settle(claim.fence, { failed = {}, waiting = "all" }))
  end
  print(at(times, 0.5))
end

-- An add each millisecond, or none without a store. -> p99 of step(0), the longest, p99 of its CPU
function M.step()
  local moved, times, cpu, serial = client, {}, {}, 0
  if target ~= "none" then
    moved = queue_of {}
    assert(moved:add { tags = { "warm" } })
  end
  local ends = core.now() + number
  while core.now() < ends do
    local next_one = core.now() + 1e-3
    if target ~= "none" then
      serial = serial + 1
      moved:start { tags = { "tag-" .. serial } }
    end
    local used, begun = native.thread_cpu(), core.now()
    moved:step(0)
    times[#times + 1] = core.now() - begun
    cpu[#cpu + 1] = native.thread_cpu() - used
    while core.now() < next_one do end -- luacheck: ignore 542
  end
  print(at(times, 0.99), at(times, 1), at(cpu, 0.99))
  os.exit(true, false)
end

-- -> MB at the most, MB that it grew by between the first tenth and the end, items a second
function M.drain()
  fill(direct(), number)
  collectgarbage()
  local queue = queue_of { linger = 0.001 }
  queue:work()
  local begun, early = core.now(), nil
  repeat
    for _ = 1, 200 do
      queue:step(0.02)
    end
    early = early or (core.now() - begun > 1 and memory "VmRSS") or nil
    local status = assert(queue:status())
  until status.waiting + status.in_flight == 0
  print(memory "VmHWM", memory "VmRSS" - (early or memory "VmRSS"), number / (core.now() - begun))
end

-- The script, as `redis-cli -x script load` reads it.
function M.script()
  io.write(require("cfpurge.queue.redis").open()[1][3])
end

M[how]()
