-- The two READMEs that users read, as text and as blocks.
--
--   readme.first               README.md
--   readme.reference           lua/README.md
--   readme.blocks(label)       the blocks of that label, those of README.md first
--   readme.block(label)        the only one, without its last line's end
local command = require "spec.support.command"

local M = { first = command.read "README.md", reference = command.read "lua/README.md" }

function M.blocks(label)
  local found = {}
  for _, text in ipairs { M.first, M.reference } do
    for block in text:gmatch("\n```" .. label .. "\n(.-)\n```%f[\n]") do found[#found + 1] = block end
  end
  return found
end

function M.block(label)
  local found = M.blocks(label)
  assert(#found == 1, ("%d blocks have the label %s"):format(#found, label))
  return found[1]
end

return M
