--- Prometheus' text format, 0.0.4: pages of families, each with its samples.
local core = require "cfpurge.core"
local tables = require "cfpurge.tables"
local utf8 = require "cfpurge.utf8"

local M = {
  --- The kinds of error that a request may end with.
  kinds = {
    "api", "authentication", "bad_request", "bad_response", "conflict", "connection", "not_found", "permission_denied",
    "rate_limited", "server", "timeout", "tls", "unprocessable",
  },
}

-- The labels that are ours.
local OURS = { budget = true, bucket = true, kind = true, le = true, outcome = true, state = true }

local escapes = { ["\\"] = "\\\\", ['"'] = '\\"', ["\n"] = "\\n" }

local function label(name, value)
  return ('%s="%s"'):format(name, utf8.valid(tostring(value)):gsub('[\\"\n]', escapes))
end

--- The host may have set a locale that writes a comma.
---@return string
function M.number(value)
  return (("%.15g"):format(value):gsub(",", "."))
end

local Page = {}
Page.__index = Page

--- Begins a family; its samples follow.
---@param kind "counter"|"gauge"|"histogram"
function Page:family(kind, name, help)
  self.name = name
  self.lines[#self.lines + 1] = ("# HELP %s %s\n# TYPE %s %s"):format(name, help, name, kind)
end

--- One sample of the family. The labels are name, value, name, value ...
function Page:sample(value, ...)
  self:series("", value, ...)
end

--- The same, of a series that has a name of its own: a histogram's.
function Page:series(suffix, value, ...)
  local labels = { self.labels }
  for i = 1, select("#", ...), 2 do
    local name, is = select(i, ...)
    labels[#labels + 1] = label(name, is)
  end
  local all = labels[1] and "{" .. table.concat(labels, ",") .. "}" or ""
  self.lines[#self.lines + 1] = self.name .. suffix .. all .. " " .. M.number(value)
end

---@return string
function Page:text()
  return table.concat(self.lines, "\n") .. "\n"
end

local function label_problem(name, value)
  if type(name) ~= "string" or not name:find "^[%a_][%w_]*$" or name:find "^__" then
    return "is no name of a label"
  elseif OURS[name] then
    return "is a label of cfpurge's own"
  elseif type(value) ~= "string" and type(value) ~= "number" then
    return "string or number expected, got " .. type(value)
  end
end

--- An empty page whose samples all have these labels: the argument `arg`, by this name, of the method that calls this.
---@param labels? table<string, string|number>
---@return table? page, cfpurge.Error?
function M.page(labels, arg, argument)
  if labels ~= nil and type(labels) ~= "table" then
    error(("bad argument #%d to 'metrics' (%s: table expected, got %s)"):format(arg, argument, type(labels)), 3)
  end
  local list = {}
  for name, value in tables.entries(labels or {}) do
    local problem = label_problem(name, value)
    if problem then
      local field = argument .. "." .. tostring(name)
      return nil, core.error("invalid_request", field .. ": " .. problem, { field = field })
    end
    list[#list + 1] = label(name, value)
  end
  table.sort(list)
  return setmetatable({ labels = list[1] and table.concat(list, ","), lines = {}, name = nil }, Page)
end

--- Is this budget one zone's alone, because its plan or account could not be read? No sample names a zone: their number
--- has no bounds, and a page is for more eyes than the API.
---@param name string
function M.is_zones(name)
  return (" " .. name):find(" zone ", 1, true) ~= nil
end

--- One text of several: each family stands in it once, and of equal series the first.
---@param texts string[]
---@return string text
function M.join(texts)
  if type(texts) ~= "table" then
    error(("bad argument #1 to 'metrics' (table expected, got %s)"):format(type(texts)), 2)
  end
  local order, lines, seen = {}, {}, {}
  for i, one in ipairs(texts) do
    if type(one) ~= "string" then
      error(("bad argument #1 to 'metrics' ([%d]: string expected, got %s)"):format(i, type(one)), 2)
    end
    local family = ""
    for line in one:gmatch "[^\n]+" do
      family = line:match "^# HELP (%S+)" or family
      if not lines[family] then
        lines[family], order[#order + 1] = {}, family
      end
      local series = line:match "^# %u+ %S+" or line:match "^(.*) " or line
      if not seen[series] then
        seen[series] = true
        table.insert(lines[family], line)
      end
    end
  end
  for i, family in ipairs(order) do
    order[i] = table.concat(lines[family], "\n") .. "\n"
  end
  return table.concat(order)
end

return M
