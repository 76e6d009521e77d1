-- For specs that need a process of their own, a function of the system, or a core.so that was built otherwise.
--
--   host.system()            the module of spec/hosts/system.c, built for this Lua
--   host.build(name, flags)  a directory for package.cpath with core.so built with those CPPFLAGS, once a run
--   host.run(code, options?) runs it in a new process of this Lua and returns what it returned (JSON carries it).
--                            `edge`, `client`, `system` and `args` are there; options: args (a table for it),
--                            env {NAME = value, or false to unset}, build (the name of one), preload (a name in
--                            spec/hosts, true is curl), limit (60 seconds), disk (a directory: in that process
--                            alone a file system of 1 MB; nil, the reason where the system refuses), bare (true: nothing
--                            but `system` and `json`)
--   host.preloaded(name)     the file for LD_PRELOAD of one in spec/hosts
--   host.other_ca()          a file with a CA that is not the edge's
--   host.must(command)       what a shell command printed; an error where it failed
--   host.tries(check)        check() until it holds, five times at most: for marks that a machine which stands still for a
--                            moment misses; an error with what it said last where it never did
--   host.tune(name, n)       the collector's "pause" or "stepmul", which 5.5 sets by other words
--   host.watched             the memory is being watched: no clocks, no preloading
--   host.built()             where what is built once lies, for all files of a run: they run side by side
--   host.dir(), host.flags   a place of one's own, to build in as well, and the flags of cc for it
local edge = require "spec.support.edge"
local cjson = require("cjson").new()

local M = {}
local lua = os.getenv "CFPURGE_LUA" or "lua5.4"
local watch = os.getenv "CFPURGE_WATCH" or ""
M.watched = watch ~= ""
M.flags = os.getenv "CFPURGE_CFLAGS" or "-O1 -g"
local serial, loaded, builds = 0, nil, {}

local function shell(command)
  local pipe = io.popen(command .. ' 2>&1; echo "status $?"')
  local out = pipe:read "*a"
  pipe:close()
  local text, status = out:match "^(.*)status (%d+)\n$"
  return text or out, tonumber(status)
end

function M.must(command)
  local out, status = shell(command)
  if status ~= 0 then error(command .. ":\n" .. out, 3) end
  return out
end

function M.tune(name, n)
  if _VERSION == "Lua 5.5" then collectgarbage("param", name, n) else collectgarbage("set" .. name, n) end
end

function M.tries(check)
  local ok, said
  for _ = 1, 5 do
    ok, said = check()
    if ok then return end
  end
  error(tostring(said), 2)
end

local function quote(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

function M.built()
  return os.getenv "CFPURGE_BUILT" or edge.up().EDGE .. "/built"
end

function M.dir()
  return os.getenv "CFPURGE_DIR" or edge.up().EDGE .. "/built"
end

local function is_there(path)
  local file = io.open(path)
  return file ~= nil and file:close()
end

-- One at a time makes a path.
local function once(to, command)
  M.must(("mkdir -p %s && flock %s.lock sh -c %s"):format(to:match "^(.*)/", to, quote(("[ -e %s ] || { %s; }"):format(
    to, command))))
end

local function compile(name, sources, flags)
  local to = M.built() .. "/" .. name
  if not is_there(to) then
    once(to, ("cc -std=c11 %s -Wall -Wextra -Werror -shared -fPIC %s -o %s.new %s && mv %s.new %s"):format(
      M.flags, flags, to, sources, to, to))
  end
  return to
end

local function cpath_of_system()
  local sources = "spec/hosts/system.c csrc/base/retry.c csrc/base/date.c csrc/base/verdict.c csrc/base/envelope.c "
    .. "csrc/base/sigpipe.c -Icsrc -lpthread -ldl"
  local flags = "$(pkg-config --cflags-only-I " .. lua .. ")"
  local path = compile(lua .. "/spec_system.so", sources, flags)
  return path:match "^(.*)/" .. "/?.so"
end

-- A certificate of one of the system's CAs, as good as any that the edge's is not.
function M.other_ca()
  local to = M.built() .. "/other.pem"
  if not is_there(to) then
    once(to, ("openssl x509 -in /etc/ssl/certs/ca-certificates.crt -out %s.new && mv %s.new %s"):format(to, to, to))
  end
  return to
end

function M.system()
  if not loaded then
    local before = package.cpath
    package.cpath = cpath_of_system() .. ";" .. before
    loaded = require "spec_system"
    package.cpath = before
  end
  return loaded
end

function M.build(name, flags)
  if not builds[name] then
    local to = M.built() .. "/" .. name
    -- An outer make must not hand its variables down.
    M.must(("mkdir -p %s && flock %s.lock env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES make -s %s/%s/cfpurge/core.so")
      :format(M.built(), to, to, lua) .. (" LUA=%s BUILD=%s LDFLAGS= CPPFLAGS=%s CFLAGS=%s"):format(lua, to, quote(flags),
      quote(M.flags)))
    builds[name] = to .. "/" .. lua
  end
  return builds[name]
end

function M.preloaded(name)
  return compile(name .. ".so", "spec/hosts/" .. name .. ".c -ldl", "$(pkg-config --cflags libcurl)")
end

function M.run(code, options)
  options = options or {}
  serial = serial + 1
  local path = os.tmpname()
  local cpath = cpath_of_system() .. ";" .. package.cpath
  if options.build then cpath = builds[options.build] .. "/?.so;" .. cpath end
  local file = assert(io.open(path, "w"))
  file:write("package.path, package.cpath = ", ("%q, %q"):format(package.path, cpath),
    "\nlocal system, json = require 'spec_system', require('cjson').new()",
    "\nlocal args, edge, client = json.decode ", ("%q"):format(cjson.encode(options.args or { none = true })),
    options.bare and "" or "\nedge, client = require 'spec.support.edge', require 'spec.support.client'\nedge.up()",
    "\nlocal value = (function()\n", code, "\nend)()\nio.stdout:write('\\n=', json.encode { value = value }, '\\n')\n")
  file:close()
  local env = { "env -u http_proxy -u https_proxy -u HTTPS_PROXY -u all_proxy -u ALL_PROXY -u no_proxy -u NO_PROXY",
    "CFPURGE_EDGE=" .. edge.up().EDGE }
  for name, value in pairs(options.env or {}) do
    env[#env + 1] = value and name .. "=" .. quote(value) or "-u " .. name
  end
  if options.preload then
    local name = options.preload == true and "curl" or options.preload
    env[#env + 1] = "LD_PRELOAD=" .. M.preloaded(name)
  end
  table.sort(env, function(a, b) -- options of env(1) come first
    return (a:find "^env" and 0 or a:find "^%-u" and 1 or 2) < (b:find "^env" and 0 or b:find "^%-u" and 1 or 2)
  end)
  local disk = options.disk
    and ("unshare -rm sh -c 'mount -t tmpfs -o size=1m none %s && exec \"$@\" || echo no disk' -"):format(options.disk)
  local out, status = shell(("%s timeout -k 5 %d %s %s %s </dev/null"):format(table.concat(env, " "),
    (options.limit or 60) * (M.watched and 10 or 1), disk or "", lua, path))
  os.remove(path)
  if disk and (out:find "no disk\n$" or out:find "^unshare: ") then return nil, out end
  local answer = out:match "\n=([^\n]*)\n"
  if status ~= 0 or not answer then error(("status %s:\n%s"):format(tostring(status), out), 2) end
  return cjson.decode(answer).value, out
end

return M
