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

return M
