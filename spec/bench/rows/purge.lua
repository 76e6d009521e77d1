-- The rows of purges beside the same requests by libcurl alone, and beside what else there is.
local load = require "spec.bench.load"
local measure = require "spec.bench.measure"
local native = require "bench_native"
local column, in_turns, line, lua, ms = measure.column, measure.in_turns, measure.line, measure.lua, measure.ms
local numbers, ratio_row, run, us = measure.numbers, measure.ratio_row, measure.run, measure.us

local M = {}
local dir = os.getenv "BENCH_DIR"

local function body_file(size)
  local path = dir .. "/" .. size .. ".json"
  local file = assert(io.open(path, "wb"))
  assert(file:write((select(2, load.purge(size)))))
  assert(file:close())
  return path
end

local function bare_command(how, port, in_flight, count)
  return ("%s/bare %s %s %s %s %d %d"):format(dir, how, load.url(port), load.ca_file, body_file "small", in_flight,
    count)
end

local function bare(...)
  local command = bare_command(...)
  return function()
    return numbers(run("%s", command))
  end
end

-- In flight 0: client:purge, one after another.
local function ours(port, in_flight, count)
  return function()
    return lua("ours.lua %s small %d %d", port, in_flight, count)
  end
end

-- The baseline uses whichever way to wait is the faster one here.
local function faster(port, in_flight, count)
  local poll, epoll = bare("poll", port, in_flight, count), bare("epoll", port, in_flight, count)
  local first, second = in_turns(poll, epoll, 3)
  if measure.median(column(first, 1)) <= measure.median(column(second, 1)) then
    return poll, "curl_multi_poll"
  end
  return epoll, "epoll"
end

local function concurrent(port, in_flight, count, mark)
  local baseline, how = faster(port, in_flight, count)
  local mine, theirs = in_turns(ours(port, in_flight, count), baseline)
  local function rates(list)
    return measure.each(list, function(figures)
      return count / figures[1]
    end)
  end
  ratio_row(("%d in flight, %s: purges a second (%s)"):format(in_flight, measure.names[port], how), rates(mine),
    rates(theirs), measure.rate, mark, true)
  ratio_row("  CPU a purge", column(mine, 2, count), column(theirs, 2, count), us)
  local headers = "-H 'Authorization: Bearer bench-token' -H 'Content-Type: application/json'"
  local how_many = (port == "TLS" and "-c 1 -m %d" or "--h1 -c %d -m 1"):format(in_flight)
  local text = run("h2load %s -n %d -d %s %s %s", how_many, 4 * count, body_file "small", headers, load.url(port))
  line("  the limit: h2load", "", measure.rate(assert(tonumber(text:match "([%d.]+) req/s"), text)))
end

M[#M + 1] = { "sequential", function()
  local count = 3000
  local function compare(port, most_cpu, most_wall)
    local mine, theirs = in_turns(ours(port, 0, count), bare("easy", port, 1, count))
    ratio_row(("one after another, %s: CPU a purge"):format(measure.names[port]), column(mine, 2, count),
      column(theirs, 2, count), us, most_cpu)
    ratio_row("  wall a purge", column(mine, 1, count), column(theirs, 1, count), us, most_wall)
  end
  compare("HTTP", 1.30, 1.20)
  compare("TLS", 1.20, 1.12)
end }

M[#M + 1] = { "concurrent", function()
  concurrent("TLS", 32, 6000, 0.90)
  concurrent("TLS", 100, 6000, 0.88)
  concurrent("HTTP", 32, 9000, 0.75)
end }

M[#M + 1] = { "large", function()
  local mine, theirs = {}, {}
  for i = 1, measure.PAIRS do
    mine[i], theirs[i] = table.unpack(lua "cost.lua params")
  end
  ratio_row("500 URLs with headers: CPU of checking and writing (only reading)", mine, theirs, us, 1.60)
end }

-- The instructions of one purge: those of a long run without those of a short one, which warms up as the long one does.
local SHORT, LONG = 200, 1200

local function instructions(command)
  local function count(purges)
    local text = run("valgrind --tool=callgrind --callgrind-out-file=%s/callgrind %s 2>&1", dir, command(purges))
    return assert(tonumber(text:match "Collected : (%d+)"), text)
  end
  return function()
    return (count(LONG) - count(SHORT)) / (LONG - SHORT)
  end
end

M[#M + 1] = { "instructions", function()
  local mine, theirs = in_turns(instructions(function(count)
    return "lua5.4 spec/bench/ours.lua HTTP small 0 " .. count
  end), instructions(function(count)
    return bare_command("poll", "HTTP", 1, count)
  end), math.min(3, measure.PAIRS))
  measure.difference_row("instructions above the bare multi loop (callgrind, client:purge)", mine, theirs,
    measure.thousands, 50e3)
end }

-- The official SDK, if npm gives it; where its modules are.
local function official_sdk()
  local path = dir .. "/sdk"
  local command = "mkdir -p %s && cd %s && timeout 120 npm install --silent cloudflare >log 2>&1"
  return os.execute(command:format(path, path)) and path .. "/node_modules"
end

M[#M + 1] = { "others", function()
  local sdk = official_sdk()
  for _, port in ipairs { "HTTP", "TLS" } do
    local function compare(what, command, count)
      local mine, theirs = in_turns(ours(port, 0, count), function()
        return numbers(run("%s %d", command, count))
      end)
      ratio_row(("one after another, %s, %s: wall a purge"):format(measure.names[port], what), column(mine, 1, count),
        column(theirs, 1, count), us)
      ratio_row("  CPU a purge", column(mine, 2, count), column(theirs, 2, count), us)
    end
    compare("lua-http", measure.command("luajit", "others.lua http %s", port), 1000)
    compare("LuaSocket", measure.command("lua5.4", "others.lua socket %s", port), 50)
    if sdk then
      compare("the SDK on Node", ("NODE_EXTRA_CA_CERTS=%s node spec/bench/sdk.mjs %s %s %s"):format(load.ca_file, sdk,
        load.base(port), body_file "small"), 500)
    end
  end
  if not sdk then
    line "the SDK on Node: npm does not give it"
  end
end }

M[#M + 1] = { "cold", function()
  local function timed(command)
    return function()
      local before = native.now()
      local said = run("%s", command)
      return { native.now() - before, tonumber(said) }
    end
  end
  local mine, theirs = in_turns(timed "lua5.4 spec/bench/cost.lua cold", timed(("curl -sf -o %s/answer --cacert %s "
    .. "-H 'Authorization: Bearer bench-token' -H 'Content-Type: application/json' -d @%s %s"):format(dir, load.ca_file,
    body_file "small", load.url "TLS")), 15)
  local function row(what, n, mark)
    ratio_row(what, column(mine, n), column(theirs, 1), ms, mark)
  end
  row("a cold purge over TLS, require and new with it (the curl command)", 2, 1.0)
  row("  the whole process of Lua", 1)
end }

M[#M + 1] = { "load", function()
  local function process(what)
    return function()
      local before = native.now()
      local memory = lua("cost.lua %s", what)[1]
      return { native.now() - before, memory }
    end
  end
  local mine, theirs = in_turns(process "client", process "libcurl", 15)
  ratio_row("a process that loads us and makes a client (libcurl alone)", column(mine, 1), column(theirs, 1), ms)
  ratio_row("  memory", column(mine, 2), column(theirs, 2), function(bytes)
    return ("%.1f MB"):format(bytes / 2 ^ 20)
  end)
end }

return M
