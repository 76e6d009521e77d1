-- Purges of ours as fast as they go, in a process of their own: ours.lua PORT BODY IN_FLIGHT COUNT. In flight 0:
-- client:purge, one after another. Prints wall seconds and CPU seconds of COUNT purges on warm connections.
local native = require "bench_native"
local load = require "spec.bench.load"

local port, body, in_flight, count = arg[1], arg[2], tonumber(arg[3]), tonumber(arg[4])
local params, json = load.purge(body)
local client = assert(require("cfpurge").new(load.options(port)))

local function one_by_one(n)
  for _ = 1, n do
    assert(client:purge(params))
  end
end

local left
local function on_done(result, err)
  assert(result, err)
  if left > 0 then
    left = left - 1
    assert(client:start(params, nil, on_done))
  end
end

local function many(n)
  left = n - in_flight
  for _ = 1, in_flight do
    assert(client:start(params, nil, on_done))
  end
  while client:step() > 0 do end
end

local run = in_flight == 0 and one_by_one or many
run(math.max(64, count / 20))
local wall, cpu = native.now(), native.cpu()
run(count)
print(native.now() - wall, native.cpu() - cpu)
assert(client:stats().bytes_sent % #json == 0, "not the bytes that the baseline sends")
assert(port ~= "TLS" or client:stats().connections == 1, "more than one connection")
