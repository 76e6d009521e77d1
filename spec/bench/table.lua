-- Prints the table: every section whose name contains one of the arguments, all of them without any. A figure is the
-- median of its runs, a ratio or difference the median of the pairs'. Called by run.
local measure = require "spec.bench.measure"

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
measure.line("what", "ours", "baseline", "compared", "mark", "")
local failed = false
for _, topic in ipairs { "purge", "queue", "store", "hosts" } do
  for _, section in ipairs(require("spec.bench.rows." .. topic)) do
    local name, fn = section[1], section[2]
    if is_wanted(name) then
      local ok, problem = pcall(fn)
      if not ok then
        failed = true
        print(name .. ": " .. tostring(problem))
      end
    end
  end
end
local used_now, stolen_now = ticks()
local share = (stolen_now - stolen) / math.max(used_now - used, 1)
if share > 0.05 then
  print(("(the hypervisor gave %.0f%% of our CPU time to others: wall times mean little)"):format(share * 100))
end
os.exit(not failed)
