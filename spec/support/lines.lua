-- `make coverage`: has the lines of lua/cfpurge noted that this process runs (spec/hosts/lines.c). LUA_INIT_5_4 names this
-- file for each Lua that a spec starts; other hosts require it. Without CFPURGE_LINES it does nothing.
if os.getenv "CFPURGE_LINES" then
  local jit = rawget(_G, "jit")
  if jit then
    jit.off() -- compiled code runs no hook
  end
  assert(package.loadlib(os.getenv "CFPURGE_LINES" .. (jit and ".luajit.so" or ".lua5.4.so"), "luaopen_lines"))()
end
