-- What the scenarios of the contract share (scenarios.lua, queue_scenarios.lua), as plain Lua 5.1.
local M = {}

function M.check(condition, text, ...)
  if not condition then error(text:format(...), 2) end
end

function M.equal(expected, got, what)
  if expected ~= got then
    error(("%s: expected %s, got %s"):format(what, tostring(expected), tostring(got)), 2)
  end
end

function M.tag(...)
  return { tags = { ... } }
end

-- Counts its calls and keeps what it was told.
function M.once(inner)
  local seen = { calls = 0 }
  seen.on_done = function(result, err)
    seen.calls = seen.calls + 1
    seen.result, seen.err = result, err
    if inner then inner(result, err) end
  end
  return seen
end

function M.ended(list)
  return function()
    for _, seen in ipairs(list) do
      if seen.calls == 0 then return false end
    end
    return true
  end
end

return M
