-- Asks the OpenResty worker a small thing each millisecond: probe.lua LOCATION COUNT. Meanwhile COUNT requests go to
-- LOCATION; it asks for 1.2 s, and until all of them are answered. Prints the 99th percentile and the longest latency
-- in seconds, counted from when each request was due, and the longest counted from when it was sent: one that waits
-- delays those after it, so that many short holds add up in the first two and not in the third.
local native = require "bench_native"
local socket = require "socket"
local unix = require "socket.unix"

local location, count = arg[1], tonumber(arg[2])
local WINDOW, EVERY, LEAD = 1.2, 0.001, 0.02

local function connect()
  local connection = (unix.stream or unix)()
  assert(connection:connect(os.getenv "BENCH_DIR" .. "/host.sock"))
  return connection
end

local function ask(connection, path)
  assert(connection:send("GET " .. path .. " HTTP/1.1\r\nHost: host\r\n\r\n"))
end

local function answer(connection)
  assert(assert(connection:receive "*l"):match " 200 ", "not 200")
  local size, chunked
  for line in function() return assert(connection:receive "*l") end do
    size = size or line:lower():match "^content%-length: (%d+)"
    chunked = chunked or line:lower():match "^transfer%-encoding: chunked"
    if line == "" then
      break
    end
  end
  if chunked then
    local text = ""
    repeat
      local chunk = tonumber(connection:receive "*l", 16)
      text = text .. assert(connection:receive(chunk))
      connection:receive "*l"
    until chunk == 0
    return text
  end
  return assert(connection:receive(tonumber(size)))
end

local prober, waiting = connect(), {}
for i = 1, count do
  waiting[i] = connect()
end

local began = native.now()
local latencies, i, longest = {}, 0, 0
while i < WINDOW / EVERY or #socket.select(waiting, nil, 0) < count do
  i = i + 1
  local due = began + i * EVERY
  native.sleep_until(due)
  local sent = native.now()
  ask(prober, "/other")
  answer(prober)
  longest = math.max(longest, native.now() - sent)
  latencies[i] = native.now() - due
  if i == LEAD / EVERY then
    for _, connection in ipairs(waiting) do
      ask(connection, location)
    end
  end
end
for _, connection in ipairs(waiting) do
  local said = answer(connection)
  assert(said == "ok", said)
end
table.sort(latencies)
print(latencies[math.ceil(#latencies * 0.99)], latencies[#latencies], longest)
