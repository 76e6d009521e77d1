-- The rows of hosts that do something else meanwhile.
local measure = require "spec.bench.measure"
local column, in_turns, lua, ms, us = measure.column, measure.in_turns, measure.lua, measure.ms, measure.us

local M = {}

local function probe(location, count)
  return function()
    return lua("probe.lua %s %d", location, count)
  end
end

M[#M + 1] = { "openresty", function()
  local mine, theirs = in_turns(probe("/purge", 64), probe("/other", 0))
  measure.difference_row("OpenResty, other requests while 64 purges wait: p99", column(mine, 1), column(theirs, 1), ms,
    0.002)
  measure.difference_row("  the longest", column(mine, 2), column(theirs, 2), ms)
  mine, theirs = in_turns(probe("/blocking", 1), probe("/other", 0))
  measure.difference_row("  a worker that calls curl_easy_perform, 1 purge: p99", column(mine, 1), column(theirs, 1),
    ms)
end }

M[#M + 1] = { "neovim", function()
  local command = "BENCH_ROUNDS=%d LUA_CPATH='%s/luajit/?.so;;' "
    .. "nvim --headless -u NONE -i NONE -n -c 'luafile spec/bench/nvim.lua' 2>&1"
  local gaps = measure.numbers(measure.run(command, measure.PAIRS, os.getenv "BENCH_BUILD"))
  local idle, busy = {}, {}
  for i = 1, measure.PAIRS do
    idle[i], busy[i] = gaps[2 * i - 1], gaps[2 * i]
  end
  measure.difference_row("Neovim, longest gap of a 5 ms timer while 16 purges wait", busy, idle, ms, 0.015)
end }

M[#M + 1] = { "frame", function()
  local function frames(what)
    local all = {}
    for i = 1, measure.PAIRS do
      all[i] = lua("frame.lua %s", what)
    end
    return column(all, 1), column(all, 2)
  end
  local p99, longest = frames "waiting"
  measure.figure_row("frames of 1 ms, 32 purges, HTTP/2+TLS: CPU of step(0), p99", p99, us, 50e-6)
  measure.figure_row("  the longest, cold verified connection", longest, us, 5e-3)
  measure.figure_row("  the longest of all runs", { math.max(table.unpack(longest)) }, us)
  measure.figure_row("  the longest, the system's CAs asked in vain", select(2, frames "stranger"), us, 5e-3)
  measure.figure_row("60 frames a second, 32 always in flight: p99", frames "kept", us)
end }

-- BENCH_SECONDS is how long each of the two runs takes (60).
M[#M + 1] = { "site", function()
  local dir, seconds = os.getenv "BENCH_DIR", tonumber(os.getenv "BENCH_SECONDS") or 60
  measure.run("sed 's|@DIR@|%s|g;s|@ROOT@|%s|g;s|@BUILD@|%s|g;s|@USER@|%s|g' spec/bench/site.conf >%s/site.conf", dir,
    os.getenv "BENCH_ROOT", os.getenv "BENCH_BUILD", measure.run "id -un":match "%S+", dir)
  os.execute(("timeout -k 2 %d nginx -p %s/ -e %s/site.log -c %s/site.conf >%s/site.out 2>&1 & sleep 1"):format(
    2 * seconds + 90, dir, dir, dir, dir))
  local ok, problem = pcall(function()
    local theirs, mine = lua("saves.lua /plain %g", seconds), lua("saves.lua /save %g", seconds)
    assert(mine[4] > 0, "nothing was sent")
    measure.difference_row("nginx, 4 workers, 2,000 saves a second (no purges): p99", { mine[1] }, { theirs[1] },
      ms, 0.002)
    measure.difference_row("  the longest", { mine[2] }, { theirs[2] }, ms)
    local refused = measure.run("grep -c 'not stored' %s/site.log; true", dir):match "%d+"
    measure.line("  saves that were told so: not stored", refused)
    measure.figure_row("  pages lost", { mine[5] }, measure.as_ratio, 0)
    measure.figure_row("  requests for each save", { mine[4] / mine[3] }, measure.as_ratio, 0.01)
  end)
  measure.run("kill $(cat %s/site.pid)", dir)
  assert(ok, ok or problem .. measure.run("grep -m 3 error %s/site.log", dir))
end }

return M
