-- The recipes of lua/README.md, for the specs that run them in the real program.
--
--   recipe.block(label)         the block of that label, as it stands
--   recipe.env(zone?)           what a shell puts before a program: the edge and this zone of it; without one, no credential
--   recipe.run(line, limit?)    what the shell's line printed, on both channels, and its status
--   recipe.folder(files)        a folder with these files (name = text), gone after recipe.clean()
--   recipe.copy()               such a folder with lua/, spec/ and this Lua's build, which every user may read, and the
--                               words for env that have a program find them there
--   recipe.serve(line, port)    runs a server until recipe.clean(); a function that returns what it printed
--   recipe.port()               a port that is free
--   recipe.stop()               ends the servers
--   recipe.get(port, path, body?)   the status and the body; with a body it is a POST
--   recipe.clean()              for teardown
local socket = require "socket"
local http = require "socket.http"
local command = require "spec.support.command"
local edge = require "spec.support.edge"

local M = {}
local folders, servers = {}, {}

M.block = require "spec.support.readme".block

function M.env(zone)
  local words = "env -u http_proxy -u https_proxy -u all_proxy -u no_proxy -u CLOUDFLARE_EMAIL -u CLOUDFLARE_API_KEY"
  local set = not zone and "-u CLOUDFLARE_API_TOKEN -u CLOUDFLARE_ZONE_ID CLOUDFLARE_BASE_URL=" .. edge.up().API_HTTP
    or ("CLOUDFLARE_API_TOKEN=%s CLOUDFLARE_ZONE_ID=%s CLOUDFLARE_BASE_URL=%s"):format(edge.up().TOKEN, zone,
      edge.env.API_HTTP)
  return words .. " " .. set .. " "
end

function M.run(line, limit)
  local pipe = io.popen(("export PATH=$PATH:/usr/sbin:/usr/games; timeout -k 2 %d %s 2>&1 </dev/null; echo status $?"):format(
    limit or 20, line))
  local said = pipe:read "*a"
  pipe:close()
  return said:match "^(.*)status (%d+)\n$"
end

function M.folder(files)
  local pipe = io.popen "mktemp -d /tmp/cfpurge-recipe.XXXXXX && pwd"
  local path, root = pipe:read "*l", pipe:read "*l"
  pipe:close()
  folders[#folders + 1] = path
  for name, text in pairs(files or {}) do
    local file = assert(io.open(path .. "/" .. name, "w"))
    file:write(text)
    file:close()
  end
  return path, root
end

function M.copy()
  local path = M.folder()
  local built = os.getenv("LUA_CPATH"):match "^(.-)/%?%.so"
  os.execute(("cp -r lua spec %s && cp -r %s %s/build && chmod -R a+rX %s"):format(path, built, path, path))
  return path, ("LUA_PATH='%s/lua/?.lua;%s/lua/?/init.lua;%s/?.lua;;' LUA_CPATH='%s/build/?.so;;'"):format(path, path, path,
    path)
end

function M.port()
  local server = assert(socket.bind("127.0.0.1", 0))
  local _, port = server:getsockname()
  server:close()
  return tonumber(port)
end

function M.serve(line, port)
  local log = M.folder() .. "/log"
  local pipe = io.popen(("export PATH=$PATH:/usr/sbin; setsid timeout -k 2 90 %s >%s 2>&1 </dev/null & echo $!"):format(line,
    log))
  servers[#servers + 1] = pipe:read "*l"
  pipe:close()
  for _ = 1, 200 do
    local connection = socket.connect("127.0.0.1", port)
    if connection then
      connection:close()
      return function() return command.read(log) end
    end
    socket.sleep(0.05)
  end
  error("it did not start: " .. command.read(log))
end

function M.get(port, path, sent)
  local body, status = http.request(("http://127.0.0.1:%d%s"):format(port, path), sent)
  return status, body
end

function M.stop()
  for _, pid in ipairs(servers) do
    os.execute(("{ kill %s; timeout 5 tail --pid=%s -f /dev/null; } 2>/dev/null"):format(pid, pid))
  end
  servers = {}
end

function M.clean()
  M.stop()
  for _, path in ipairs(folders) do os.execute("rm -rf " .. path) end
  folders = {}
end

return M
