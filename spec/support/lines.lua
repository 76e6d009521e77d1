-- `make coverage`: has the lines of lua/cfpurge noted that this process runs (spec/hosts/lines.c). LUA_INIT_5_4 names this
-- file for each Lua that a spec starts; other hosts require it. Without CFPURGE_LINES it does nothing.
if os.getenv "CFPURGE_LINES" then
  local jit = rawget(_G, "jit")
  if jit then
    jit.off() -- compiled code runs no hook
  end
  local lua = jit and "luajit" or "lua" .. _VERSION:match "[%d.]+"
  local watch = assert(package.loadlib(os.getenv "CFPURGE_LINES" .. "." .. lua .. ".so", "luaopen_lines"))
  watch()
  -- Prosody hands its hook on to each coroutine, which has ours already.
  local sethook = debug.sethook
  function debug.sethook(...) -- luacheck: ignore 122
    if select(2, ...) ~= "external hook" then
      sethook(...)
    end
  end
  -- HAProxy puts its own in the place of ours whenever it resumes a task.
  local haproxy = rawget(_G, "core")
  if type(haproxy) == "table" and haproxy.register_task then
    local register, sleep = haproxy.register_task, haproxy.msleep
    function haproxy.register_task(task, ...)
      return register(function(...)
        watch()
        return task(...)
      end, ...)
    end
    function haproxy.msleep(...)
      sleep(...)
      watch()
    end
  end
end
