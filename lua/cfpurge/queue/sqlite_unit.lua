--- Makes one unit of a store in SQLite: a list of commands, whose statements are put together of queue/sqlite_pieces.
local pieces = require "cfpurge.queue.sqlite_pieces"

-- Each statement is put together once. now() in it is the store's clock, NOW() the machine's.
local known = {}
local function sql(text)
  local whole = known[text]
  if not whole then
    local count
    whole = text
    repeat
      whole, count = whole:gsub("{([%u_]+)}", pieces)
    until count == 0
    whole = whole:gsub("now%(%)", pieces.CLOCK)
    known[text] = whole
  end
  return whole
end

---@return table[] commands, fun(text: string, ...): integer command adds one and returns its place
local function unit()
  local commands = {}
  return commands, function(text, ...)
    commands[#commands + 1] = { sql(text), ... }
    return #commands
  end
end

return unit
