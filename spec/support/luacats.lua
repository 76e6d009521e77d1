-- The annotations of lua/cfpurge, read as a language server reads them, and held against what runs.
--
--   cats.classes              by name: { fields = { name = type }, is_optional = { name = true }, parents, index = type }
--   cats.literals(name)       the texts of an alias that is a union of texts, sorted
--   cats.problem(value, type) why the value is not of the type, in words; nil where it is. Of a class each field that is
--                             not optional has to be there, and each that is there has to be declared
--   cats.unseen(name)         the fields of a class that no value had which `problem` has found right, sorted
--   cats.block(fn)            what stands above a function: its args, and its params and returns: lists of { name, type };
--                             nil where it has no annotation
--   cats.unknown()            the names of types that nothing declares, sorted
local keys = require "spec.support.keys"

local M = { classes = {}, aliases = {} }

local named = {} -- the names that types use
local seen = {}  -- "class.field"

-- ---- types ----

local parse

-- What `text` has from `at` on where it matches, and where it ends.
local function take(text, at, pattern)
  local first, last, capture = text:find("^%s*" .. pattern, at)
  return first and (capture or text:sub(first, last)), first and last + 1 or at
end

-- The types of a function's returns, which may have names.
local function parse_returns(text, at)
  local returns = {}
  local more
  repeat
    returns[#returns + 1], at = parse(text, at)
    more, at = take(text, at, ",")
  until not more
  return returns, at
end

local function parse_function(text, at)
  local params = {}
  local name, mark, more
  repeat
    name, at = take(text, at, "([%w_.]+)")
    mark, at = take(text, at, "(%??)")
    local colon, kind
    colon, at = take(text, at, ":")
    if colon then kind, at = parse(text, at) end
    params[#params + 1] = name and { name = name, type = kind, is_optional = mark == "?" } or nil
    more, at = take(text, at, ",")
  until not more
  local close, colon, returns
  close, at = take(text, at, "%)")
  assert(close, "no ) in " .. text)
  colon, at = take(text, at, ":")
  if colon then returns, at = parse_returns(text, at) end
  return { is = "function", params = params, returns = returns or {} }, at
end

local function parse_fields(text, at)
  local class = { fields = {}, is_optional = {}, parents = {} }
  local name, mark, more
  repeat
    name, at = take(text, at, "([%w_]+)")
    mark, at = take(text, at, "(%??):")
    class.fields[name], at = parse(text, at)
    class.is_optional[name] = mark == "?" or nil
    more, at = take(text, at, ",")
  until not more
  return { is = "class", class = class }, select(2, take(text, at, "}"))
end

local function parse_one(text, at)
  local found, next_at = take(text, at, '"([^"]*)"')
  if found then return { is = "literal", value = found }, next_at end
  found, next_at = take(text, at, "fun%(")
  if found then return parse_function(text, next_at) end
  found, next_at = take(text, at, "%(")
  if found then
    local inner, after = parse(text, next_at)
    return inner, select(2, take(text, after, "%)"))
  end
  found, next_at = take(text, at, "{")
  if found then return parse_fields(text, next_at) end
  found, next_at = take(text, at, "table<")
  if found then
    local key, value, _
    key, next_at = parse(text, next_at)
    _, next_at = take(text, next_at, ",")
    value, next_at = parse(text, next_at)
    return { is = "map", key = key, value = value }, select(2, take(text, next_at, ">"))
  end
  found, next_at = take(text, at, "([%a_][%w_.]*%*?)")
  assert(found, ("no type at %d of: %s"):format(at, text))
  named[found] = true
  return { is = "name", name = found }, next_at
end

-- The type that begins at `at`, and where it ends.
function parse(text, at)
  local union = { is = "union" }
  repeat
    local one, list, mark, more
    one, at = parse_one(text, at)
    repeat
      list, at = take(text, at, "%[%]")
      one = list and { is = "list", of = one } or one
    until not list
    mark, at = take(text, at, "%?")
    union[#union + 1] = one
    union[#union + 1] = mark and { is = "name", name = "nil" } or nil
    more, at = take(text, at, "|")
  until not more
  return union[2] and union or union[1], at
end

-- ---- files ----

local lines_of = {}

local function lines_in(path)
  if not lines_of[path] then
    local lines = {}
    for line in assert(io.open(path)):lines() do lines[#lines + 1] = line end
    lines_of[path] = lines
  end
  return lines_of[path]
end

local function read_field(class, text)
  local index, at = take(text, 1, "%[string%] ")
  if index then
    class.index = parse(text, at)
    return
  end
  local name, mark = text:match "^([%w_]+)(%??) "
  assert(name, "no field: " .. text)
  class.fields[name] = parse(text, #name + #mark + 1)
  class.is_optional[name] = mark == "?" or nil
end

local function read(path)
  local class, alias
  for _, line in ipairs(lines_in(path)) do
    local word, rest = line:match "^%-%-%-@(%l+) ?(.*)"
    local choice = line:match "^%-%-%-| (.*)"
    if word == "class" then
      local name, parents = rest:match "^([%w_.]+):? ?(.*)"
      class = M.classes[name] or { fields = {}, is_optional = {}, parents = {} }
      M.classes[name] = class
      local parent = line:match "^%-%-%-@class [%w_.]+: ([%w_.]+)" and parents:match "^[%w_.]+"
      class.parents[#class.parents + 1] = parent
    elseif word == "field" then
      read_field(class, rest)
    elseif word == "alias" then
      alias = rest:match "^[%w_.]+"
      M.aliases[alias] = rest:find "^[%w_.]+ " and parse(rest, #alias + 1) or { is = "union" }
    elseif choice then
      local union = M.aliases[alias]
      union[#union + 1] = parse(choice, 1)
    end
  end
end

-- ---- values ----

local function fields_of(class)
  local fields, is_optional = {}, {}
  for _, parent in ipairs(class.parents) do
    for name, kind in pairs(fields_of(M.classes[parent])) do
      fields[name], is_optional[name] = kind, M.classes[parent].is_optional[name]
    end
  end
  for name, kind in pairs(class.fields) do fields[name], is_optional[name] = kind, class.is_optional[name] end
  return fields, is_optional
end

local primitives = { any = true, ["nil"] = true, ["true"] = true, ["false"] = true, boolean = true, number = true,
  integer = true, string = true, table = true, ["function"] = true, ["file*"] = true, userdata = true, self = true }

local function is_primitive(value, name)
  if name == "integer" then return type(value) == "number" and value % 1 == 0 end
  if name == "true" or name == "false" then return value == (name == "true") end
  return name == "any" or type(value) == name or io.type(value) ~= nil and name == "file*"
end

-- Classes whose objects have methods, and hide what they are inside.
local opaque = { ["cfpurge.Client"] = true, ["cfpurge.Queue"] = true, ["cfpurge.Request"] = true,
  ["cfpurge.Lines"] = true }

local problem

local function class_problem(value, class, name, path, found)
  if type(value) ~= "table" then return ("%s: %s expected, is a %s"):format(path, name, type(value)) end
  local fields, is_optional = fields_of(class)
  for field, kind in pairs(fields) do
    local is = value[field]
    if is == nil and not is_optional[field] then return ("%s.%s: is not there"):format(path, field) end
    local why = is ~= nil and problem(is, kind, path .. "." .. field, found)
    if why then return why end
    if is ~= nil then found[name .. "." .. field] = true end
  end
  for field in pairs(opaque[name] and {} or value) do
    if not fields[field] and not class.index then
      return ("%s: %s does not declare %s"):format(path, name, tostring(field))
    end
  end
end

local function shown(kind)
  return kind.name or kind.value or kind.is
end

-- `found` gets the fields that were there.
function problem(value, kind, path, found)
  if kind.is == "union" then
    local why = {}
    for i, one in ipairs(kind) do
      local here = {}
      why[i] = problem(value, one, path, here)
      if not why[i] then
        for field in pairs(here) do found[field] = true end
        return nil
      end
    end
    return table.concat(why, "; ")
  elseif kind.is == "name" and M.aliases[kind.name] then
    return problem(value, M.aliases[kind.name], path, found)
  elseif kind.is == "name" and M.classes[kind.name] then
    return class_problem(value, M.classes[kind.name], kind.name, path, found)
  elseif kind.is == "class" then
    return class_problem(value, kind.class, "a table", path, found)
  elseif kind.is == "list" or kind.is == "map" then
    if type(value) ~= "table" then return ("%s: a table expected, is a %s"):format(path, type(value)) end
    for key, item in pairs(value) do
      local at = ("%s[%s]"):format(path, tostring(key))
      local why = kind.is == "list" and type(key) ~= "number" and at .. ": is no list"
        or kind.is == "map" and problem(key, kind.key, at, found) or problem(item, kind.of or kind.value, at, found)
      if why then return why end
    end
    return nil
  elseif kind.is == "literal" and value == kind.value or kind.is == "function" and type(value) == "function"
    or kind.is == "name" and is_primitive(value, kind.name) then
    return nil
  end
  return ("%s: %s expected, is %s"):format(path, shown(kind), type(value) == "string" and value or type(value))
end

function M.problem(value, kind)
  local found = {}
  local why = problem(value, parse(kind, 1), "it", found)
  for field in pairs(why and {} or found) do seen[field] = true end
  return why
end

function M.unseen(name)
  local unseen = {}
  for field in pairs((fields_of(M.classes[name]))) do unseen[field] = not seen[name .. "." .. field] or nil end
  return keys(unseen)
end

function M.literals(name)
  local texts = {}
  local function add(kind)
    for _, one in ipairs(kind.is == "union" and kind or { kind }) do
      if one.is == "name" then add(M.aliases[one.name]) else texts[one.value] = true end
    end
  end
  add(M.aliases[name])
  return keys(texts)
end

function M.unknown()
  local unknown = {}
  for name in pairs(named) do
    unknown[name] = not (M.classes[name] or M.aliases[name] or primitives[name]) or nil
  end
  return keys(unknown)
end

-- ---- functions ----

function M.block(fn)
  local about = debug.getinfo(fn, "S")
  local path = about.source:match "^@(.*)"
  local lines = path and lines_in(path) or {}
  local args = (lines[about.linedefined] or ""):match "function[^(]*%((.-)%)"
  local block, i = { args = {}, params = {}, returns = {} }, about.linedefined - 1
  for arg in (args or ""):gmatch "[%w_]+" do block.args[#block.args + 1] = arg end
  local is_annotated
  while lines[i] and lines[i]:find "^%s*%-%-%-" do
    local word, rest = lines[i]:match "^%s*%-%-%-@(%l+) (.*)"
    is_annotated = true
    if word == "param" then
      local name, mark = rest:match "^([%w_.]+)(%??) "
      table.insert(block.params, 1, { name = name, type = parse(rest, #name + #mark + 1) })
    elseif word == "return" then
      local all = parse_returns(rest, 1)
      for k = #all, 1, -1 do table.insert(block.returns, 1, { type = all[k] }) end
    elseif word == "overload" then
      parse(rest, 1)
    end
    i = i - 1
  end
  return is_annotated and block or nil
end

local listing = assert(io.popen "grep -rl -- '---@class\\|---@alias' lua")
for path in listing:lines() do read(path) end
listing:close()

return M
