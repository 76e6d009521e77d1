-- A frame loop over HTTP/2 and TLS that calls step(0) once a frame.
--   frame.lua waiting    a new client (a cold, verified connection) starts 32 purges, which the API answers after a
--                        second; frames of 1 ms until all have ended
--   frame.lua stranger   the same for one purge to a server whose CA the system's store is asked for in vain
--   frame.lua kept       60 frames a second, 32 always in flight, answered after 0.2 to 1 s; without the first second
-- Prints the 99th percentile and the longest of the CPU seconds of step(0).
local native = require "bench_native"
local load = require "spec.bench.load"

local what = arg[1]
local params = load.purge "small"
local costs = {}

local function run(client, frame, skipped)
  local at, left = native.now(), 1
  while left > 0 do
    local before = native.thread_cpu()
    left = client:step(0)
    skipped = skipped - 1
    if skipped < 0 then
      costs[#costs + 1] = native.thread_cpu() - before
    end
    at = at + frame
    native.sleep_until(at)
  end
end

local options = load.options("TLS", "wait1000")
if what == "stranger" then
  options.ca_file = nil
end
local client = assert(require("cfpurge").new(options))

if what == "stranger" then
  assert(client:start(params, nil, function(_, err)
    assert(err and err.kind == "tls", err)
  end))
  run(client, 0.001, 0)
elseif what == "waiting" then
  local ended = 0
  for _ = 1, 32 do
    assert(client:start(params, nil, function(result, err)
      assert(result, err)
      ended = ended + 1
    end))
  end
  run(client, 0.001, 0)
  assert(ended == 32 and client:stats().connections == 1)
else
  local started, stop = 0, native.now() + 4
  local function start_one()
    started = started + 1
    local purge = { zone_id = "wait" .. 200 + started * 37 % 800, files = params.files }
    assert(client:start(purge, nil, function(result, err)
      assert(result, err)
      if native.now() < stop then
        start_one()
      end
    end))
  end
  for _ = 1, 32 do
    start_one()
  end
  run(client, 1 / 60, 60)
end

table.sort(costs)
print(costs[math.ceil(#costs * 0.99)], costs[#costs])
