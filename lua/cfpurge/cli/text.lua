--- Numbers, times and foreign text as people read them.
local utf8 = require "cfpurge.utf8"

local M = { valid = utf8.valid }

function M.grouped(n)
  local text = ("%.0f"):format(n)
  while true do
    local more, found = text:gsub("^(%d+)(%d%d%d)", "%1,%2")
    text = more
    if found == 0 then
      return text
    end
  end
end

function M.count_of(n, noun)
  return ("%s %s%s"):format(M.grouped(n), noun, n == 1 and "" or "s")
end

function M.duration(seconds)
  if seconds < 10 then
    return ("%.1f s"):format(seconds)
  elseif seconds < 120 then
    return ("%.0f s"):format(seconds)
  elseif seconds < 7200 then
    return ("%.0f min"):format(seconds / 60)
  end
  return ("%.1f h"):format(seconds / 3600)
end

--- To a millisecond.
function M.rounded(seconds)
  return math.floor(seconds * 1000 + 0.5) / 1000
end

--- What the API's support asks for, as far as the error's message does not say it.
---@return string
function M.origin_of(err)
  local facts, message = {}, err.message
  if err.status and not message:find("HTTP " .. err.status, 1, true) then
    facts[1] = "HTTP " .. err.status
  end
  if err.code and not message:find(tostring(err.code), 1, true) then
    facts[#facts + 1] = "code " .. err.code
  end
  if err.ray_id then
    facts[#facts + 1] = "ray " .. err.ray_id
  end
  return facts[1] and " (" .. table.concat(facts, ", ") .. ")" or ""
end

--- One line that changes nothing of a terminal but what it shows.
---@return string
function M.printable(text)
  return (M.valid(text):gsub("[%s%c]+", " "):gsub("\194[\128-\159]", " "))
end

--- At most `most` bytes of it.
---@return string
function M.cut(text, most)
  if #text <= most then
    return text
  end
  return (text:sub(1, most):gsub("[\194-\244][\128-\191]*$", "")) .. "..."
end

return M
