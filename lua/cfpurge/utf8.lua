--- Valid UTF-8 out of any text.
local M = {}

-- The characters of UTF-8 that are more than one byte.
local CHARACTERS = {
  "^[\194-\223][\128-\191]", "^\224[\160-\191][\128-\191]", "^[\225-\236\238\239][\128-\191][\128-\191]",
  "^\237[\128-\159][\128-\191]", "^\240[\144-\191][\128-\191][\128-\191]",
  "^[\241-\243][\128-\191][\128-\191][\128-\191]", "^\244[\128-\143][\128-\191][\128-\191]",
}

-- `run` has no byte below 128.
local function repaired(run)
  local parts, at = {}, 1
  while at <= #run do
    local last
    for _, character in ipairs(CHARACTERS) do
      last = last or select(2, run:find(character, at))
    end
    parts[#parts + 1] = last and run:sub(at, last) or "\239\191\189"
    at = (last or at) + 1
  end
  return table.concat(parts)
end

--- Valid UTF-8: U+FFFD stands for each byte that belongs to no character.
---@return string
function M.valid(text)
  return (text:gsub("[\128-\255]+", repaired))
end

return M
