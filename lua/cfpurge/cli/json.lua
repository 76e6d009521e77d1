--- JSON as the command writes it: keys in order, slashes bare, valid UTF-8, an empty table is a list.
local codec = require "cfpurge.json"
local text = require "cfpurge.cli.text"

local M = {}

-- What JSON leaves bare and a terminal obeys.
local function without_controls(json)
  return (json:gsub("\194([\128-\159])", function(control)
    return ("\\u%04x"):format(control:byte())
  end))
end

--- A JSON text that is to stand as it is.
function M.raw(json)
  return function()
    return without_controls(json)
  end
end

M.null = M.raw "null"

---@return string
function M.encode(value)
  if type(value) == "function" then
    return value()
  elseif type(value) == "number" then
    -- JSON has no infinity, although its decoder makes one of 1e999.
    return value - value == 0 and ("%.14g"):format(value) or "null"
  elseif type(value) == "string" then
    return without_controls((codec.encode(text.valid(value)):gsub("\\/", "/")))
  elseif type(value) ~= "table" then
    return (codec.encode(value))
  end
  local parts = {}
  if value[1] ~= nil or next(value) == nil then
    for i, entry in ipairs(value) do
      parts[i] = M.encode(entry)
    end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  local names = {}
  for name in pairs(value) do
    names[#names + 1] = name
  end
  -- "url" before "headers", as the API's documents have it.
  table.sort(names, function(a, b)
    if (a == "url") ~= (b == "url") then
      return a == "url"
    end
    return a < b
  end)
  for i, name in ipairs(names) do
    parts[i] = M.encode(name) .. ":" .. M.encode(value[name])
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

return M
