-- Saves pages of the site: saves.lua LOCATION SECONDS. So many a second, over some connections, each counted from when
-- it was due. The API is down for the half of it, nginx is reloaded twice, and one worker is killed; then all is sent,
-- and compared with what was stored. Prints the 99th percentile and the longest latency in seconds, the saves, the
-- API's requests, and of how many pages a save was lost.
local cqueues = require "cqueues"
local socket = require "cqueues.socket"

local RATE, CONNECTIONS, PAGES = 2000, 20, 2000
local location, seconds = arg[1], tonumber(arg[2])
local dir = os.getenv "BENCH_DIR"

local function output(command)
  local pipe = io.popen(command)
  local text = pipe:read "*a"
  pipe:close()
  return text
end

local function api(path)
  return output(("curl -sf -m 10 http://127.0.0.1:%s/%s"):format(os.getenv "BENCH_HTTP", path))
end

local function site(path)
  return output(("curl -sf -m 10 --unix-socket %s/site.sock http://site/%s"):format(dir, path))
end

-- One request; nil where the connection ended first.
local function ask(connection, page)
  connection:write(("GET %s?page=%d HTTP/1.1\r\nHost: site\r\n\r\n"):format(location, page))
  connection:flush()
  local status, is_chunked = connection:read "*l", false
  if not status then
    return nil
  end
  assert(status:find(" 200 ", 1, true), status)
  repeat
    local line = connection:read "*l"
    if not line then
      return nil
    end
    is_chunked = is_chunked or line:lower():find "^transfer%-encoding: chunked" ~= nil
  until line == "" or line == "\r"
  assert(is_chunked, "no chunks")
  repeat
    local line = connection:read "*l"
  until not line or line == "0\r" or line == "0"
  return connection:read "*l" ~= nil
end

local began = cqueues.monotime() + 0.2
local latencies, loop = {}, cqueues.new()

local function connect()
  local connection = assert(socket.connect { path = dir .. "/site.sock" })
  connection:setmode("bn", "bf")
  connection:onerror(function(_, _, code) return code end)
  connection:settimeout(10)
  return connection
end

for k = 1, CONNECTIONS do
  loop:wrap(function()
    local connection = connect()
    for i = k, RATE * seconds, CONNECTIONS do
      local due = began + i / RATE
      local left = due - cqueues.monotime()
      if left > 0 then
        cqueues.sleep(left)
      end
      -- A worker that goes closes its connections, and whoever saved saves once more.
      while not ask(connection, i * 7919 % PAGES) do
        connection:close()
        connection = connect()
      end
      latencies[#latencies + 1] = cqueues.monotime() - due
    end
    connection:close()
  end)
end

local function at(share, what)
  loop:wrap(function()
    cqueues.sleep(began + share * seconds - cqueues.monotime())
    what()
  end)
end

api "seen"
local function reload()
  os.execute(("kill -HUP $(cat %s/site.pid)"):format(dir))
end
at(0.25, function() api "down" end)
at(0.75, function() api "up" end)
at(0.35, reload)
at(0.65, reload)
at(0.5, function()
  os.execute(("kill -9 $(pgrep -P $(cat %s/site.pid) | tail -1)"):format(dir))
end)
assert(loop:loop())

local function read(text)
  local instants = {}
  for page, instant in text:gmatch "(%d+) ([%d.]+)" do
    instants[page] = tonumber(instant)
  end
  return instants
end

local ends = cqueues.monotime() + 60
repeat
  cqueues.sleep(0.2)
until site "left" == "0" or cqueues.monotime() > ends
local said, lost = api "seen", 0
local seen = read(said:gsub("^%d+\n", ""))
for page, instant in pairs(read(site "stored")) do
  lost = lost + ((seen[page] or 0) < instant and 1 or 0)
end
table.sort(latencies)
print(latencies[math.ceil(#latencies * 0.99)], latencies[#latencies], #latencies, said:match "^%d+", lost)
