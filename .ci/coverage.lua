-- Sums up what `make coverage` counted: coverage.lua BUILD. Of C what gcov says, of Lua the lines that the specs noted. It lists
-- what is left; below a mark the exit status is 1.
local json = require "cjson"
local build = arg[1]
local MARK_LINES, MARK_BRANCHES, MARK_LUA = 97, 90, 97

local function output(command)
  local pipe = assert(io.popen(command))
  local lines = {}
  for line in pipe:lines() do
    lines[#lines + 1] = line
  end
  assert(pipe:close(), command)
  return lines
end

local function member(table, name)
  table[name] = table[name] or {}
  return table[name]
end

-- csrc/file -> function -> { lines = {number -> count}, branches = {"line.index" -> count} }. A file is compiled several
-- times (Luas, pollers, hosts): what one of them ran has run.
local c_files = {}
local root = output("pwd")[1] .. "/"
-- What is compiled more than once in a run has no notes that fit, and is nothing of ours.
local counted = "find %s -name '*.gcda' ! -name '*old_openssl*' -print0 | sort -z"
for _, text in ipairs(output((counted .. " | xargs -0r gcov --json-format --stdout -b"):format(build))) do
  for _, file in ipairs(json.decode(text).files) do
    local name = file.file:gsub(root, "", 1):match "^.-(csrc/[^/]+/[^/]+)$"
    for _, line in ipairs(name and file.lines or {}) do
      local of = member(member(c_files, name), line.function_name)
      of.lines, of.branches = of.lines or {}, of.branches or {}
      of.lines[line.line_number] = (of.lines[line.line_number] or 0) + line.count
      for i, branch in ipairs(line.branches) do
        local key = line.line_number .. "." .. i
        of.branches[key] = (of.branches[key] or 0) + branch.count
      end
    end
  end
end

local function count(values, from)
  for _, hits in pairs(values) do
    from.all, from.hit = (from.all or 0) + 1, (from.hit or 0) + (hits > 0 and 1 or 0)
  end
end

-- Lines as luac knows them; what has no word but "end" or "else" on it runs under the number of another line.
local lua_files, noted = {}, {}
for line in io.lines(build .. "/lines") do
  noted[line] = 1
end
for _, path in ipairs(output "find lua/cfpurge -name '*.lua' | sort") do
  local text, of = {}, { lines = {}, branches = {} }
  for line in io.lines(path) do
    text[#text + 1] = line
  end
  for _, listed in ipairs(output("luac5.4 -l -p " .. path)) do
    local number, code = listed:match "^%s+%d+%s+%[(%d+)%]%s+(%S+)"
    number = tonumber(number)
    local words = number and text[number]:gsub("%-%-.*", ""):gsub("%f[%w_]end%f[^%w_]", ""):gsub("%f[%w_]else%f[^%w_]", "")
    if number and code ~= "VARARGPREP" and words:find "[%w_]" then
      of.lines[number] = noted[path:gsub("^lua/", "") .. ":" .. number] or 0
    end
  end
  lua_files[path] = { ["*"] = of }
end

local function sorted(table)
  local names = {}
  for name in pairs(table) do
    names[#names + 1] = name
  end
  _G.table.sort(names)
  return names
end

local function percent(counts)
  return counts.all and counts.all > 0 and 100 * counts.hit / counts.all or 100
end

local function show(name, lines, branches)
  print(("%-36s %6d lines %6.1f%%  %s"):format(name, lines.all or 0, percent(lines),
    branches.all and ("%6d branches %6.1f%%"):format(branches.all, percent(branches)) or ""))
end

local function report(files)
  local all_lines, all_branches = {}, {}
  for _, name in ipairs(sorted(files)) do
    local lines, branches = {}, {}
    for _, of in pairs(files[name]) do
      for _, into in ipairs { lines, all_lines } do count(of.lines, into) end
      for _, into in ipairs { branches, all_branches } do count(of.branches, into) end
    end
    show(name, lines, branches)
  end
  show("total", all_lines, all_branches)
  return percent(all_lines), percent(all_branches)
end

-- ---- what is left ----

local function missed(values)
  local list = {}
  for key, hits in pairs(values) do
    if hits == 0 then
      list[#list + 1] = tostring(key):match "%d+"
    end
  end
  table.sort(list, function(a, b)
    return tonumber(a) < tonumber(b)
  end)
  return table.concat(list, " ")
end

local function leftovers(files)
  for _, name in ipairs(sorted(files)) do
    for _, fn in ipairs(sorted(files[name])) do
      local lines, branches = missed(files[name][fn].lines), missed(files[name][fn].branches)
      if lines .. branches ~= "" then
        print(("%s:%s%s%s"):format(name, fn, lines ~= "" and " lines " .. lines or "",
          branches ~= "" and " branches " .. branches or ""))
      end
    end
  end
end

print "== C"
local lines, branches = report(c_files)
print "== Lua"
local lua_lines = report(lua_files)
print "== left"
leftovers(c_files)
leftovers(lua_files)
local ok = lines >= MARK_LINES and branches >= MARK_BRANCHES and lua_lines >= MARK_LUA
print(("coverage: %.1f%% of lines (mark %d), %.1f%% of branches (%d), %.1f%% of Lua's lines (%d)%s"):format(lines, MARK_LINES,
  branches, MARK_BRANCHES, lua_lines, MARK_LUA, ok and "" or ": BELOW THE MARK"))
os.exit(ok)
