-- The recipes of lua/README.md, for the specs that run them in the real program.
--
--   recipe.block(label)         the block of that label, as it stands
--   recipe.env(zone?)           what a shell puts before a program: the edge and this zone of it; without one, no credential
--   recipe.run(line, limit?)    what the shell's line printed, on both channels, and its status
--   recipe.folder(files)        a folder with these files (name = text), gone after recipe.clean()
--   recipe.clean()              for teardown
local command = require "spec.support.command"
local edge = require "spec.support.edge"

local M = {}
local folders = {}

function M.block(label)
  local text = command.read "lua/README.md"
  local at = assert(select(2, text:find("\n```" .. label .. "\n", 1, true)), "lua/README.md has no " .. label)
  return text:sub(at + 1, text:find("\n```\n", at, true))
end

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

function M.clean()
  for _, path in ipairs(folders) do os.execute("rm -rf " .. path) end
  folders = {}
end

return M
