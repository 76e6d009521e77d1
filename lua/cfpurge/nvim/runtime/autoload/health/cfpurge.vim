" Where cfpurge is installed among Lua's modules, Neovim finds its health check by this file alone.
function! health#cfpurge#check() abort
  lua require("cfpurge.health").check()
endfunction
