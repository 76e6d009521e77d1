-- A list of COUNT URLs, given as a table: list.lua COUNT. Prints the CPU seconds of start, the longest of one step(0),
-- and the wall seconds until all were accepted. The collector rests: it traverses the caller's table in one go.
local native = require "bench_native"
local load = require "spec.bench.load"

local list = {}
for i = 1, tonumber(arg[1]) do
  list[i] = ("https://www.example.com/assets/2024/styles/page-%07d.css"):format(i)
end
local client = load.client(load.options "TLS", {})
local done
collectgarbage()
collectgarbage "stop"

local function timed(fn)
  local before = native.thread_cpu()
  fn()
  return native.thread_cpu() - before
end

local began = native.now()
local first = timed(function()
  assert(client:start({ files = list }, nil, function(result, err)
    done = assert(result, err)
  end))
end)
local longest = 0
while not done do
  native.wait(client:fileno(), client:timeout() or 0)
  longest = math.max(longest, timed(function()
    client:step(0)
  end))
end
assert(done.accepted == #list, "not all were accepted")
print(first, longest, native.now() - began)
