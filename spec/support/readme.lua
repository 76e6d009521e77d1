-- The READMEs as text and as blocks: two that users read, two for maintainers.
--
--   readme.first               README.md
--   readme.reference           lua/README.md
--   readme.inside, readme.specs   csrc/README.md, spec/README.md
--   readme.blocks(label, texts?)  the blocks of that label, those of README.md first; of the users' READMEs, or of `texts`
--   readme.block(label)        the only one, without its last line's end
local command = require "spec.support.command"

local M = {
  first = command.read "README.md", reference = command.read "lua/README.md",
  inside = command.read "csrc/README.md", specs = command.read "spec/README.md",
}

function M.blocks(label, texts)
  local found = {}
  for _, text in ipairs(texts or { M.first, M.reference }) do
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
