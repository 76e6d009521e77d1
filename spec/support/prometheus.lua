-- A strict reader of Prometheus' text format, 0.0.4, and of what `promtool check metrics` asks of names.
--
--   prometheus.read(text)   a table: samples by their series as it stands there ('name{a="b"}'), or an error that says
--                           what is wrong with which line
local M = {}

local function fail(line, problem)
  error(("%s: %s"):format(problem, line), 3)
end

-- The labels of a series, as a table and as one text without `le`.
local function labels_of(line, text)
  local labels, others, at = {}, {}, 1
  while at <= #text do
    local name, value, after = text:match('^([%a_][%w_]*)="(.-)"()', at)
    -- A quotation mark behind an odd number of backslashes belongs to the value.
    while name and #value:match "\\*$" % 2 == 1 do
      local more, behind = text:match('^(.-)"()', after)
      if not more then fail(line, "a value does not end") end
      value, after = value .. '"' .. more, behind
    end
    if not name or labels[name] then fail(line, "wrong labels") end
    if value:gsub('\\[\\"n]', ""):find '[\\"]' then fail(line, "wrong escapes") end
    labels[name], at = value, after
    if name ~= "le" then others[#others + 1] = name .. "=" .. value end
    if at <= #text then
      at = text:match("^,()", at) or fail(line, "no comma")
    end
  end
  table.sort(others)
  return labels, table.concat(others, ",")
end

local function number_of(line, text)
  if text == "+Inf" or text == "-Inf" or text == "NaN" then
    return text == "+Inf" and math.huge or text == "-Inf" and -math.huge or 0 / 0
  end
  return text:find "^%-?%d+%.?%d*e?[%-+]?%d*$" and tonumber(text) or fail(line, "no number")
end

-- Buckets grow, and the last one is the count.
local function check_histogram(family)
  for key, buckets in pairs(family.buckets) do
    local before, last = -math.huge, 0
    for _, bucket in ipairs(buckets) do
      if bucket[1] <= before or bucket[2] < last then fail(family.name .. " " .. key, "buckets do not grow") end
      before, last = bucket[1], bucket[2]
    end
    if before ~= math.huge or family.counts[key] ~= last or not family.sums[key] then
      fail(family.name .. " " .. key, "no histogram")
    end
  end
end

local function add(family, line, suffix, text, value)
  local labels, key = labels_of(line, text)
  if suffix == "_bucket" then
    family.buckets[key] = family.buckets[key] or {}
    table.insert(family.buckets[key], { number_of(line, labels.le or fail(line, "no le")), value })
  elseif labels.le then
    fail(line, "le of none")
  elseif suffix == "_count" then
    family.counts[key] = value
  elseif suffix == "_sum" then
    family.sums[key] = value
  end
  if family.type == "counter" and (value < 0 or value ~= value) then fail(line, "a counter below 0") end
end

local function new_family(families, line, name)
  if not name:find "^[%a_:][%w_:]*$" then fail(line, "no name of a metric") end
  if families[name] then fail(line, "a family twice") end
  families[name] = { name = name, buckets = {}, counts = {}, sums = {} }
  return families[name]
end

function M.read(text)
  local families, samples, family = {}, {}, nil
  if text:sub(-1) ~= "\n" then fail(text, "no end of the last line") end
  for line in text:gmatch "([^\n]*)\n" do
    local word, name, rest = line:match "^# (%u+) (%S+) (.+)$"
    if word == "HELP" then
      family = new_family(families, line, name)
      if rest:gsub("\\[\\n]", ""):find "\\" then fail(line, "wrong escapes") end
    elseif word == "TYPE" then
      if not family or family.name ~= name or family.type then fail(line, "no HELP before it") end
      family.type = rest
      if rest ~= "counter" and rest ~= "gauge" and rest ~= "histogram" then fail(line, "no type") end
      if (rest == "counter") ~= (name:find "_total$" ~= nil) then fail(line, "_total is for counters") end
      if rest ~= "histogram" and (name:find "_count$" or name:find "_sum$" or name:find "_bucket$") then
        fail(line, "the name of a histogram's")
      end
    else
      local series, value = line:match "^(.-) ([^ ]+)$"
      local full, inner = (series or ""):match "^([^{]+){(.+)}$"
      full = full or series or fail(line, "no sample")
      local suffix = family and family.type and full:sub(1, #family.name) == family.name and full:sub(#family.name + 1)
      local fits = suffix == "" and family.type ~= "histogram"
        or family and family.type == "histogram" and (suffix == "_bucket" or suffix == "_sum" or suffix == "_count")
      if not fits then fail(line, "not of the family before it") end
      if samples[series] then fail(line, "a series twice") end
      samples[series] = number_of(line, value)
      add(family, line, suffix, inner or "", samples[series])
    end
  end
  for _, one in pairs(families) do
    if not one.type then fail(one.name, "no TYPE") end
    check_histogram(one)
  end
  return samples
end

return M
