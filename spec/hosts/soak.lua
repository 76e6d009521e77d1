-- The soak: so many purges (args.count), over HTTP/1.1 and over HTTP/2, 16 of each in flight, through a network and to
-- a server where one answer in 50 has a fault. Run by spec/soak_spec.lua, inside host.run -> what came of it: count,
-- ended, twice, accepted, kinds (of errors), unknown (accepted, but never arrived), unaccounted (items), attempts,
-- faults (of the network), scripted (of the server), stats, seconds; rss (kB) and fds at 10% (but not before WARM,
-- where half comes later), 50% and 100%.
local cqueues = require "cqueues"
local socket = require "cqueues.socket"
local cjson = require("cjson").new()
local edge = require "spec.support.edge"
local system = require("spec.support.host").system()

local args = ...
local env = edge.up()
local BATCH, IN_FLIGHT = 1000, 16
local WARM = 6000 -- until then the heaps of Lua, OpenSSL and libc grow to what they keep: 4 MB, whatever the count
local NETWORK, SERVER = 0.022, 0.005 -- of reads, of answers: one read may hold several

-- The network is a process of its own: its memory is not ours.
local mine, theirs = socket.pair()
local child = system.fork()
if child == 0 then
  mine:close()
  local faults = require "spec.support.faults"
  math.randomseed(args.seed)
  local counts = {}
  local function chance(_, size)
    if math.random() >= NETWORK then return end
    local roll = math.random()
    -- A time-out stops all that share the connection.
    local how = roll < 0.04 and "hang" or roll < 0.4 and "fin" or roll < 0.76 and "rst" or roll < 0.9 and "delay"
      or "drip"
    counts[how] = (counts[how] or 0) + 1
    return { how = how, after = math.random(0, size - 1), delay = how == "delay" and 0.02 or nil, once = true }
  end
  faults.run(function()
    local plain, tls = faults.proxy(env.API_HTTP, chance), faults.proxy(env.API_TLS, chance)
    theirs:write(plain.url, "\n", tls.url, "\n")
    theirs:flush()
    theirs:read "*l" -- until the other one is done, or dead
    theirs:write(cjson.encode(counts), "\n")
    theirs:flush()
  end, math.huge)
  system.exit(0)
end
theirs:close()
local urls = { mine:read "*l", mine:read "*l" }

local cfpurge = require "cfpurge"
local zone = edge.zone()
local clients = {}
for i, url in ipairs(urls) do
  clients[i] = assert(cfpurge.new { base_url = url, ca_file = env.CA_FILE, api_token = env.TOKEN, zone_id = zone,
    timeout = 2, max_retries = 6, max_retry_wait = 0.05, loop = "blocking" })
end

local said = { count = args.count, ended = 0, twice = 0, accepted = 0, unknown = 0, unaccounted = 0, attempts = 0,
  scripted = 0, kinds = { none = 0 }, rss = {}, fds = {}, seconds = system.now() }

local function measure()
  collectgarbage()
  collectgarbage()
  local status, fds = io.open "/proc/self/status", io.popen "ls /proc/$PPID/fd | wc -l"
  table.insert(said.rss, tonumber(status:read("*a"):match "VmRSS:%s*(%d+)"))
  status:close()
  table.insert(said.fds, tonumber(fds:read "*a"))
  fds:close()
end

local function arrived()
  local seen = {}
  for _, request in ipairs(edge.requests(zone)) do
    for tag in request.body:gmatch '"(t%d+)"' do seen[tag] = true end
  end
  return seen
end

-- The server's own faults: an error or half an answer to these, once.
local function script(first, last)
  local answers = {}
  for i = first, last do
    if math.random() < SERVER then
      local wait = { ["Retry-After"] = "0" }
      answers[#answers + 1] = ({ { status = 503, headers = wait }, { status = 429, headers = wait },
        { status = 500, body = "{}" }, { body = '{"success":true', length = 100 } })[math.random(4)]
      answers[#answers].match = ('"t%d"'):format(i)
    end
  end
  said.scripted = said.scripted + #answers
  edge.script(zone, answers)
end

local function batch(first, last)
  local open, accepted, next_one = {}, {}, first
  local busy = { 0, 0 }
  edge.reset(zone)
  script(first, last)
  local function start(which)
    local tag = "t" .. next_one
    next_one = next_one + 1
    busy[which] = busy[which] + 1
    open[tag] = 0
    assert(clients[which]:start({ tags = { tag } }, nil, function(result, err)
      busy[which] = busy[which] - 1
      open[tag] = open[tag] + 1
      said.ended = said.ended + 1
      said.attempts = said.attempts + (result or err).attempts
      if result then
        said.accepted = said.accepted + result.accepted
        accepted[tag] = true
      else
        said.kinds[err.kind] = (said.kinds[err.kind] or 0) + 1
        local left = err.remaining and err.remaining.tags or {}
        if #left ~= 1 or left[1] ~= tag or err.accepted ~= 0 then said.unaccounted = said.unaccounted + 1 end
      end
    end))
  end
  local own = cqueues.new()
  for _, c in ipairs(clients) do
    own:wrap(function()
      while true do cqueues.poll { pollfd = c:fileno(), events = "r" } end
    end)
  end
  repeat
    for which = 1, 2 do
      while busy[which] < IN_FLIGHT and next_one <= last do start(which) end
    end
    own:step(5)
    for which = 1, 2 do clients[which]:step(0) end
  until next_one > last and busy[1] + busy[2] == 0
  own:close()
  for _, times in pairs(open) do
    if times ~= 1 then said.twice = said.twice + 1 end
  end
  local seen = arrived()
  for tag in pairs(accepted) do
    if not seen[tag] then said.unknown = said.unknown + 1 end
  end
end

math.randomseed(args.seed)
local half = math.ceil(args.count / 2)
local tenth = math.max(math.min(WARM, half), math.ceil(args.count / 10))
for first = 1, args.count, BATCH do
  local last = math.min(first + BATCH - 1, args.count)
  batch(first, last)
  if #said.rss == 0 and last >= tenth or #said.rss == 1 and last >= half then measure() end
end
measure()
said.seconds = system.now() - said.seconds
said.stats = { clients[1]:stats(), clients[2]:stats() }
for _, c in ipairs(clients) do c:close() end
mine:write "done\n"
mine:flush()
said.faults = cjson.decode(mine:read "*l")
system.wait(child)
return said
