-- Purges that wait in the queue: queue.lua HOW COUNT.
--   bucket       they wait for the free plan's bucket; prints the CPU seconds of step(0), and of start and cancel of
--                one more
--   connection   the same while they wait for one of max_connections; prints nothing where the build has no such
--                option
--   close        prints the CPU seconds of close()
--   cancel       prints the CPU seconds of cancelling them one by one
local native = require "bench_native"
local load = require "spec.bench.load"

local how, count = arg[1], tonumber(arg[2])
local MEASURED, LEAST = 0.1, 20 -- seconds and calls of one figure
local BUCKET, CONNECTIONS = 25, 64 -- purges that do not wait

local params = { tags = { "news" } }
local options = load.options("HTTP", how == "connection" and "wait60000" or "fast")
options.plan = how ~= "connection" and "free" or nil
options.timeout = 120
local newer = { max_queued = 200000 }
if how == "connection" then
  newer.max_connections = CONNECTIONS
end
local client = load.client(options, newer)
if how == "connection" and not options.max_connections then
  os.exit(0)
end

local requests, ended = {}, 0
local function on_done()
  ended = ended + 1
end

for i = 1, count + (how == "connection" and CONNECTIONS or BUCKET) do
  requests[i] = assert(client:start(params, nil, on_done))
end
-- All that does not wait is sent, and all that is answered is told.
local quiet = native.now() + 0.5
repeat
  client:step(0.01)
until native.now() >= quiet and (how == "connection" or ended >= BUCKET)
collectgarbage()

local function cost_of(fn)
  local before, calls = native.thread_cpu(), 0
  repeat
    for _ = 1, LEAST do
      fn()
    end
    calls = calls + LEAST
    local seconds = native.thread_cpu() - before
  until seconds >= MEASURED
  return (native.thread_cpu() - before) / calls
end

if how == "close" or how == "cancel" then
  local before = native.thread_cpu()
  if how == "close" then
    client:close()
  else
    for _, request in ipairs(requests) do
      request:cancel()
    end
  end
  print(native.thread_cpu() - before)
  assert(ended == #requests, "not all were told")
else
  collectgarbage "stop"
  print(cost_of(function()
    client:step(0)
  end), cost_of(function()
    assert(client:start(params)):cancel()
  end))
  assert(client:in_flight() >= count, "they did not wait")
end
-- What is left is not closed: that may take longer than the rest.
io.stdout:flush()
os.exit(0)
