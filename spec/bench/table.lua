-- The rows of the table. Ours and the baseline run in turns; a figure is the median of its runs, a ratio or difference
-- the median of the pairs'. Called by run; its arguments are words of which a section's name has to contain one.
local native = require "bench_native"
local load = require "spec.bench.load"

local PAIRS = 7
local dir, build = os.getenv "BENCH_DIR", os.getenv "BENCH_BUILD"

-- ---- running ----

local function run(command, ...)
  command = command:format(...)
  local pipe = assert(io.popen(command))
  local text = pipe:read "*a"
  if not pipe:close() then
    error("could not run: " .. command, 0)
  end
  return text
end

local function numbers(text)
  local list = {}
  for number in text:gmatch "%S+" do
    list[#list + 1] = assert(tonumber(number), text)
  end
  return list
end

local function lua(command, ...)
  return numbers(run("lua5.4 spec/bench/" .. command, ...))
end

-- Runs both in turns, each first every other time. -> the lists of what they returned
local function in_turns(ours, baseline, pairs_)
  local mine, theirs = {}, {}
  for i = 1, pairs_ or PAIRS do
    if i % 2 == 1 then
      mine[i] = ours()
      theirs[i] = baseline()
    else
      theirs[i] = baseline()
      mine[i] = ours()
    end
  end
  return mine, theirs
end

local function median(list)
  list = table.move(list, 1, #list, 1, {})
  table.sort(list)
  local middle = (#list + 1) / 2
  return (list[math.floor(middle)] + list[math.ceil(middle)]) / 2
end

local function each(list, fn, other)
  local out = {}
  for i, value in ipairs(list) do
    out[i] = fn(value, other and other[i])
  end
  return out
end

local function nth(n)
  return function(list)
    return list[n]
  end
end

-- ---- printing ----

local function us(seconds)
  return ("%.1f us"):format(seconds * 1e6)
end

local function ms(seconds)
  return ("%.2f ms"):format(seconds * 1e3)
end

local function rate(per_second)
  return ("%.1fk/s"):format(per_second / 1e3)
end

local function line(what, ours, baseline, compared, mark, verdict)
  print((("%-62s %11s %11s %11s %12s  %s"):format(what, ours, baseline or "", compared or "", mark or "",
    verdict or ""):gsub(" +$", "")))
  io.stdout:flush()
end

-- `mark` is what `figure` may be at most, or at least where `least`; nil for a figure that is only shown.
local function judge(what, ours, baseline, figure, show, mark, least)
  local verdict
  if mark then
    verdict = (least and figure >= mark or not least and figure <= mark) and "ok" or "MISSED"
  end
  line(what, ours, baseline, baseline and show(figure), mark and (least and ">= " or "<= ") .. show(mark), verdict)
end

local function as_ratio(x)
  return ("%.2f"):format(x)
end

local function ratio_row(what, mine, theirs, show, mark, least)
  local ratios = each(mine, function(a, b)
    return a / b
  end, theirs)
  judge(what, show(median(mine)), show(median(theirs)), median(ratios), as_ratio, mark, least)
end

local function difference_row(what, mine, theirs, mark)
  local differences = each(mine, function(a, b)
    return a - b
  end, theirs)
  judge(what, ms(median(mine)), ms(median(theirs)), median(differences), ms, mark)
end

-- ---- the sections ----

local sections = {}

local function section(name, fn)
  sections[#sections + 1] = { name = name, fn = fn }
end

local function probe(location, count)
  return function()
    return lua("probe.lua %s %d", location, count)
  end
end

section("openresty", function()
  local mine, theirs = in_turns(probe("/purge", 64), probe("/other", 0))
  difference_row("OpenResty, other requests while 64 purges wait: p99", each(mine, nth(1)), each(theirs, nth(1)),
    0.002)
  difference_row("  the longest", each(mine, nth(2)), each(theirs, nth(2)))
  mine, theirs = in_turns(probe("/blocking", 1), probe("/other", 0))
  difference_row("  a worker that calls curl_easy_perform, 1 purge: p99", each(mine, nth(1)), each(theirs, nth(1)))
end)

section("neovim", function()
  local command = "nvim --headless -u NONE -i NONE -n -c 'luafile spec/bench/nvim.lua' 2>&1"
  local gaps = numbers(run("BENCH_ROUNDS=%d LUA_CPATH='%s/luajit/?.so;;' " .. command, PAIRS, build))
  local idle, busy = {}, {}
  for i = 1, PAIRS do
    idle[i], busy[i] = gaps[2 * i - 1], gaps[2 * i]
  end
  difference_row("Neovim, longest gap of a 5 ms timer while 16 purges wait", busy, idle, 0.015)
end)

section("frame", function()
  local function frames(what, runs)
    local all = {}
    for i = 1, runs do
      all[i] = lua("frame.lua %s", what)
    end
    return median(each(all, nth(1))), median(each(all, nth(2))), math.max(table.unpack(each(all, nth(2))))
  end
  local function row(name, figure, mark)
    judge(name, us(figure), nil, figure, us, mark)
  end
  local p99, longest, worst = frames("waiting", PAIRS)
  row("frames of 1 ms, 32 purges, HTTP/2+TLS: CPU of step(0), p99", p99, 50e-6)
  row("  the longest, cold verified connection", longest, 5e-3)
  row("  the longest of all runs", worst)
  row("  the longest, the system's CAs asked in vain", select(2, frames("stranger", PAIRS)), 5e-3)
  row("60 frames a second, 32 always in flight: p99", (frames("kept", PAIRS)))
end)

local function body_file(size)
  local path = dir .. "/" .. size .. ".json"
  local file = assert(io.open(path, "wb"))
  assert(file:write((select(2, load.purge(size)))))
  assert(file:close())
  return path
end

local function bare(how, port, size, in_flight, count)
  local command = ("%s/bare %s %s %s %s %d %d"):format(dir, how, load.url(port), load.ca_file, body_file(size),
    math.max(in_flight, 1), count)
  return function()
    return numbers(run(command))
  end
end

local function ours(port, size, in_flight, count)
  return function()
    return lua("ours.lua %s %s %d %d", port, size, in_flight, count)
  end
end

-- The baseline uses whichever way to wait is the faster one here.
local function faster(port, in_flight, count)
  local poll, epoll = bare("poll", port, "small", in_flight, count), bare("epoll", port, "small", in_flight, count)
  local first, second = in_turns(poll, epoll, 3)
  if median(each(first, nth(1))) <= median(each(second, nth(1))) then
    return poll, "curl_multi_poll"
  end
  return epoll, "epoll"
end

local function per(count)
  return function(list)
    return list / count
  end
end

local names = { TLS = "HTTP/2+TLS", HTTP = "HTTP/1.1" }

local function concurrent(port, in_flight, count, mark)
  local baseline, how = faster(port, in_flight, count)
  local mine, theirs = in_turns(ours(port, "small", in_flight, count), baseline)
  local function rates(list)
    return each(list, function(figures)
      return count / figures[1]
    end)
  end
  local function cpu(list)
    return each(each(list, nth(2)), per(count))
  end
  ratio_row(("%d in flight, %s: purges a second (%s)"):format(in_flight, names[port], how), rates(mine), rates(theirs),
    rate, mark, true)
  ratio_row("  CPU a purge", cpu(mine), cpu(theirs), us)
  local headers = "-H 'Authorization: Bearer bench-token' -H 'Content-Type: application/json'"
  local how_many = (port == "TLS" and "-c 1 -m %d" or "--h1 -c %d -m 1"):format(in_flight)
  local text = run("h2load %s -n %d -d %s %s %s", how_many, 4 * count, body_file "small", headers, load.url(port))
  line("  the limit: h2load", "", rate(assert(tonumber(text:match "([%d.]+) req/s"), text)))
end

section("concurrent", function()
  concurrent("TLS", 32, 6000, 0.90)
  concurrent("TLS", 100, 6000, 0.90)
  concurrent("HTTP", 32, 9000, 0.85)
end)

section("sequential", function()
  for _, port in ipairs { "HTTP", "TLS" } do
    local count = 3000
    local mine, theirs = in_turns(ours(port, "small", 0, count), bare("easy", port, "small", 1, count))
    local function figures(list, n)
      return each(each(list, nth(n)), per(count))
    end
    ratio_row(("one after another, %s: wall a purge"):format(names[port]), figures(mine, 1), figures(theirs, 1), us,
      1.05)
    ratio_row("  CPU a purge", figures(mine, 2), figures(theirs, 2), us, 1.20)
  end
end)

-- The official SDK, if npm gives it; where its modules are.
local function official_sdk()
  local path = dir .. "/sdk"
  local command = "mkdir -p %s && cd %s && timeout 120 npm install --silent cloudflare >log 2>&1"
  return os.execute(command:format(path, path)) and path .. "/node_modules"
end

section("others", function()
  local sdk = official_sdk()
  for _, port in ipairs { "HTTP", "TLS" } do
    local function compare(what, command, count)
      local mine, theirs = in_turns(ours(port, "small", 0, count), function()
        return numbers(run("%s", command:format(count)))
      end)
      local function figures(list, n)
        return each(each(list, nth(n)), per(count))
      end
      ratio_row(("one after another, %s, %s: wall a purge"):format(names[port], what), figures(mine, 1),
        figures(theirs, 1), us)
      ratio_row("  CPU a purge", figures(mine, 2), figures(theirs, 2), us)
    end
    local luajit = ("LUA_CPATH='%s/luajit/?.so;%s/luajit/?.so;;' luajit"):format(build, dir)
    compare("lua-http", luajit .. " spec/bench/others.lua http " .. port .. " %d", 1000)
    compare("LuaSocket", "lua5.4 spec/bench/others.lua socket " .. port .. " %d", 50)
    if sdk then
      compare("the SDK on Node", ("NODE_EXTRA_CA_CERTS=%s node spec/bench/sdk.mjs %s %s %s"):format(load.ca_file, sdk,
        load.base(port), body_file "small") .. " %d", 500)
    end
  end
  if not sdk then
    line "the SDK on Node: npm does not give it"
  end
end)

section("cold", function()
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
    ratio_row(what, each(mine, nth(n)), each(theirs, nth(1)), ms, mark)
  end
  row("a cold purge over TLS, require and new with it (the curl command)", 2, 1.0)
  row("  the whole process of Lua", 1)
end)

section("large", function()
  local count = 300
  local mine, theirs = in_turns(function()
    return lua "cost.lua params"
  end, bare("easy", "TLS", "large", 1, count))
  local transfers = each(each(theirs, nth(2)), per(count))
  ratio_row("500 URLs with headers: CPU of checking and JSON to transfer", each(mine, nth(1)), transfers, us, 0.30)
  ratio_row("  CPU of only reading the same table by Lua's C functions", each(mine, nth(2)), transfers, us)
end)

section("load", function()
  local function process(what)
    return function()
      local before = native.now()
      local memory = lua("cost.lua %s", what)[1]
      return { native.now() - before, memory }
    end
  end
  local mine, theirs = in_turns(process "client", process "libcurl", 15)
  ratio_row("a process that loads us and makes a client (libcurl alone)", each(mine, nth(1)), each(theirs, nth(1)), ms)
  ratio_row("  memory", each(mine, nth(2)), each(theirs, nth(2)), function(bytes)
    return ("%.1f MB"):format(bytes / 2 ^ 20)
  end)
end)

-- ---- all of them ----

-- Ticks of all CPUs that went to this machine's work, and that a hypervisor gave to others.
local function ticks()
  local file = io.open "/proc/stat"
  local text = file and file:read "*l" or ""
  if file then
    file:close()
  end
  local list, sum = {}, 0
  for number in text:gmatch "%d+" do
    list[#list + 1] = tonumber(number)
    sum = sum + (#list <= 8 and list[#list] or 0)
  end
  return sum - (list[4] or 0) - (list[5] or 0), list[8] or 0
end

local function is_wanted(name)
  for _, word in ipairs(arg) do
    if name:find(word, 1, true) then
      return true
    end
  end
  return #arg == 0
end

local used, stolen = ticks()
line("what", "ours", "baseline", "compared", "mark", "")
local failed = false
for _, one in ipairs(sections) do
  if is_wanted(one.name) then
    local ok, problem = pcall(one.fn)
    if not ok then
      failed = true
      print(one.name .. ": " .. tostring(problem))
    end
  end
end
local used_now, stolen_now = ticks()
local share = (stolen_now - stolen) / math.max(used_now - used, 1)
if share > 0.05 then
  print(("(the hypervisor gave %.0f%% of our CPU time to others: wall times mean little)"):format(share * 100))
end
os.exit(not failed)
