--- JSON: Neovim's own in Neovim, lua-cjson elsewhere.
--
-- Neovim has functions of lua-cjson's names in it, which take the place of those in another lua-cjson that is loaded:
-- with Neovim 0.12 and Debian's of today what that encodes is garbage.
local vim = rawget(_G, "vim")

return type(vim) == "table" and vim.json or require "cjson".new()
