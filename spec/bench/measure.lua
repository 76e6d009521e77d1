-- Runs programs, takes medians, and prints the rows of the table.
local M = {}

-- Pairs of a row: ours and the baseline run in turns. BENCH_PAIRS=1 gives a first look.
M.PAIRS = tonumber(os.getenv "BENCH_PAIRS") or 7

-- The API's ports.
M.names = { TLS = "HTTP/2+TLS", HTTP = "HTTP/1.1" }

local dir, build = os.getenv "BENCH_DIR", os.getenv "BENCH_BUILD"

-- ---- running ----

--- -> what the command wrote
function M.run(command, ...)
  command = command:format(...)
  local pipe = assert(io.popen(command))
  local text = pipe:read "*a"
  if not pipe:close() then
    error("could not run: " .. command, 0)
  end
  return text
end

function M.numbers(text)
  local list = {}
  for number in text:gmatch "%S+" do
    list[#list + 1] = assert(tonumber(number), text)
  end
  return list
end

--- The command that runs a program of this directory on the Lua of that name.
function M.command(lua, program, ...)
  local cpath = ("%s/%s/?.so;%s/%s/?.so;;"):format(build, lua, dir, lua)
  return ("env LUA_CPATH='%s' %s spec/bench/%s"):format(cpath, lua, program:format(...))
end

--- Runs a program of this directory on lua5.4. -> the numbers that it printed
function M.lua(program, ...)
  return M.numbers(M.run("%s", M.command("lua5.4", program, ...)))
end

--- Runs both in turns, each first every other time. -> the lists of what they returned
function M.in_turns(ours, baseline, pairs_)
  local mine, theirs = {}, {}
  for i = 1, pairs_ or M.PAIRS do
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

-- ---- lists of figures ----

function M.median(list)
  list = table.move(list, 1, #list, 1, {})
  table.sort(list)
  local middle = (#list + 1) / 2
  return (list[math.floor(middle)] + list[math.ceil(middle)]) / 2
end

function M.each(list, fn, other)
  local out = {}
  for i, value in ipairs(list) do
    out[i] = fn(value, other and other[i])
  end
  return out
end

--- The n-th figure of every run, divided by `count`.
function M.column(list, n, count)
  return M.each(list, function(figures)
    return figures[n] / (count or 1)
  end)
end

-- ---- printing ----

function M.us(seconds)
  return ("%.1f us"):format(seconds * 1e6)
end

function M.ms(seconds)
  return ("%.2f ms"):format(seconds * 1e3)
end

function M.rate(per_second)
  return ("%.1fk/s"):format(per_second / 1e3)
end

function M.thousands(count)
  return ("%.1fk"):format(count / 1e3)
end

function M.as_ratio(x)
  return ("%.3g"):format(x)
end

function M.line(what, ours, baseline, compared, mark, verdict)
  print((("%-66s %11s %11s %11s %12s  %s"):format(what, ours, baseline or "", compared or "", mark or "",
    verdict or ""):gsub(" +$", "")))
  io.stdout:flush()
end

--- `mark` is what `figure` may be at most, or at least where `least`; nil for a figure that is only shown.
function M.judge(what, ours, baseline, figure, show, mark, least)
  local verdict
  if mark then
    verdict = (least and figure >= mark or not least and figure <= mark) and "ok" or "MISSED"
  end
  M.line(what, ours, baseline, baseline and show(figure), mark and (least and ">= " or "<= ") .. show(mark), verdict)
end

--- A row of one figure, which is the median of `list`.
function M.figure_row(what, list, show, mark)
  local figure = M.median(list)
  M.judge(what, show(figure), nil, figure, show, mark)
end

--- A row of two figures and the median of their pairs' ratios.
function M.ratio_row(what, mine, theirs, show, mark, least)
  local ratios = M.each(mine, function(a, b)
    return a / b
  end, theirs)
  M.judge(what, show(M.median(mine)), show(M.median(theirs)), M.median(ratios), M.as_ratio, mark, least)
end

--- A row of two figures and the median of their pairs' differences.
function M.difference_row(what, mine, theirs, show, mark)
  local differences = M.each(mine, function(a, b)
    return a - b
  end, theirs)
  M.judge(what, show(M.median(mine)), show(M.median(theirs)), M.median(differences), show, mark)
end

return M
