-- A frame loop: frame.lua FRAME_SECONDS. A new client (a cold, verified connection) starts 32 purges, each of which the
-- API answers after a second; step(0) is called once a frame until all have ended. Prints the 99th percentile and the
-- longest of the CPU seconds of step(0), and the longest with a connection that the system's CAs cannot verify.
local native = require "bench_native"
local load = require "spec.bench.load"
local frame = tonumber(arg[1])
local params = load.purge "small"
local costs = {}

local function run(client, keep)
  local at = native.now()
  while true do
    local before = native.thread_cpu()
    local left = client:step(0)
    local cost = native.thread_cpu() - before
    keep(cost)
    if left == 0 then
      return
    end
    at = at + frame
    native.sleep_until(at)
  end
end

local ended = 0
local client = assert(require("cfpurge").new(load.options("TLS", "wait1000")))
for _ = 1, 32 do
  assert(client:start(params, nil, function(result, err)
    assert(result, err)
    ended = ended + 1
  end))
end
run(client, function(cost)
  costs[#costs + 1] = cost
end)
assert(ended == 32 and client:stats().connections == 1)
client:close()

-- The whole of the system's store is asked for a CA that is not there.
local longest = 0
local options = load.options "TLS"
options.ca_file = nil
local stranger = assert(require("cfpurge").new(options))
assert(stranger:start(params, nil, function(_, err)
  assert(err and err.kind == "tls", err)
end))
run(stranger, function(cost)
  longest = math.max(longest, cost)
end)

table.sort(costs)
print(costs[math.ceil(#costs * 0.99)], costs[#costs], longest)
