-- Bursts of purges: burst.lua HOW PORT COUNT.
--   cpu    COUNT started in one go, and again until 4000 at least have ended; prints the CPU seconds of a purge
--   step   COUNT started in one go; a host that looks every 5 ms; prints the 99th percentile and the longest of the
--          CPU seconds of step(0)
local native = require "bench_native"
local load = require "spec.bench.load"

local how, port, count = arg[1], arg[2], tonumber(arg[3])
local params = load.purge "small"
local client = load.client(load.options(port), { max_queued = 200000 })

local function on_done(result, err)
  assert(result, err)
end

local function start(n)
  for _ = 1, n do
    assert(client:start(params, nil, on_done))
  end
end

local function burst(n)
  start(n)
  while client:step() > 0 do end
end

burst(64)
if how == "cpu" then
  local times = math.max(1, math.ceil(4000 / count))
  local before = native.cpu()
  for _ = 1, times do
    burst(count)
  end
  print((native.cpu() - before) / (times * count))
else
  start(count)
  local costs, left = {}, count
  while left > 0 do
    native.wait(client:fileno(), client:timeout() or 0)
    local before = native.thread_cpu()
    left = client:step(0)
    costs[#costs + 1] = native.thread_cpu() - before
    native.sleep_until(native.now() + 0.005)
  end
  table.sort(costs)
  print(costs[math.ceil(#costs * 0.99)], costs[#costs])
end
