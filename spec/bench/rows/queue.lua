-- The rows of what waits in the queue: its cost does not grow with the number that waits.
local measure = require "spec.bench.measure"
local column, figure_row, in_turns, lua = measure.column, measure.figure_row, measure.in_turns, measure.lua
local ms, ratio_row, us = measure.ms, measure.ratio_row, measure.us

local M = {}

local function runs(count, fn)
  local all = {}
  for i = 1, count do
    all[i] = fn()
  end
  return all
end

local function of_queue(how, count)
  return function()
    return lua("queue.lua %s %d", how, count)
  end
end

M[#M + 1] = { "step0", function()
  for _, how in ipairs { "bucket", "connection" } do
    local what = ("step(0), 100,000 queued for a %s (100)"):format(how)
    local mine, theirs = in_turns(of_queue(how, 100000), of_queue(how, 100))
    if mine[1][1] then
      ratio_row(what, column(mine, 1), column(theirs, 1), us, 1.5)
      ratio_row("  start and cancel of one more", column(mine, 2), column(theirs, 2), us)
    else
      measure.line(what .. ": no max_connections", "")
    end
  end
end }

M[#M + 1] = { "close", function()
  local mine, theirs = in_turns(of_queue("close", 40000), of_queue("close", 4000))
  ratio_row("close() with 40,000 queued (4,000)", column(mine, 1), column(theirs, 1), ms, 15)
  mine, theirs = in_turns(of_queue("cancel", 40000), of_queue("cancel", 4000))
  ratio_row("  cancelling them one by one", column(mine, 1), column(theirs, 1), ms, 15)
end }

M[#M + 1] = { "burst", function()
  local function burst(count)
    return function()
      return lua("burst.lua cpu HTTP %d", count)
    end
  end
  local mine, theirs = in_turns(burst(8000), burst(500))
  ratio_row("a burst of 8,000, HTTP/1.1: CPU a purge (500)", column(mine, 1), column(theirs, 1), us, 1.30)
end }

M[#M + 1] = { "slice", function()
  for _, port in ipairs { "HTTP", "TLS" } do
    local all = runs(measure.PAIRS, function()
      return lua("burst.lua step %s 8000", port)
    end)
    figure_row(("a step of a burst of 8,000, %s: p99"):format(measure.names[port]), column(all, 1), ms, 2.5e-3)
    figure_row("  the longest", column(all, 2), ms)
  end
end }

M[#M + 1] = { "worker", function()
  local function probe(location, count)
    return function()
      return lua("probe.lua '%s' %d", location, count)
    end
  end
  for _, port in ipairs { "HTTP", "TLS" } do
    local mine, theirs = in_turns(probe("/burst?port=" .. port, 1), probe("/other", 0))
    measure.difference_row(("nginx starts 20,000, %s: other requests, the longest"):format(measure.names[port]),
      column(mine, 3), column(theirs, 3), ms, 0.020)
  end
end }

M[#M + 1] = { "million", function()
  for _, name in ipairs { "lua5.4", "lua5.1", "luajit" } do
    local all = runs(math.min(3, measure.PAIRS), function()
      return measure.numbers(measure.run("%s", measure.command(name, "list.lua 1000000")))
    end)
    figure_row(("a table of 1,000,000 URLs, %s: the longest step"):format(name), column(all, 2), ms, 5e-3)
    figure_row("  its start", column(all, 1), ms, 5e-3)
    figure_row("  all of it, wall", column(all, 3), ms)
  end
end }

return M
