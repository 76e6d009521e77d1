-- Which turn of a loop a check failed in: the values of the loop's variables begin its message. counts.lua loads it.
local busted = require "busted"

-- A value in a word or two; nil where it says nothing.
local function text_of(value)
  if type(value) == "string" then return ("%q"):format(#value > 60 and value:sub(1, 60) .. "..." or value) end
  if type(value) == "number" or type(value) == "boolean" then return tostring(value) end
  local first = type(value) == "table" and type(rawget(value, 1)) ~= "table" and text_of(rawget(value, 1))
  return first and "{ " .. first .. ", ... }" or nil
end

-- The variables of the loops that a function is in. Lua keeps three or four of its own before those of each loop.
local function loops_of(level, found)
  local left, i = 0, 1
  local name, value = debug.getlocal(level + 1, i)
  while name do
    if name:find "^%(for" then
      left = 2 -- where the loop has one, the second is the first local of its body
    elseif left > 0 and not name:find "^%(" then
      local text = name ~= "_" and text_of(value)
      if text then found[#found + 1] = name .. " = " .. text end
      left = left - 1
    end
    i = i + 1
    name, value = debug.getlocal(level + 1, i)
  end
end

-- A tail call: busted takes the first function that is neither its own nor luassert's for the one that failed. Lua 5.1 notes
-- tail calls, and there the line would be lost.
local function fail(message, level)
  local found, at, info = {}, 2, debug.getinfo(2, "S")
  while info and type(message) == "string" do
    if info.short_src:find "_spec%.lua$" then loops_of(at, found) end
    at = at + 1
    info = debug.getinfo(at, "S")
  end
  return busted.fail(found[1] and "with " .. table.concat(found, ", ") .. ": " .. message or message, level)
end

if _VERSION ~= "Lua 5.1" or rawget(_G, "jit") then
  local assert = require "luassert"
  busted.bindfenv(assert, "error", fail)
  busted.bindfenv(assert.is_true, "error", fail)
end
