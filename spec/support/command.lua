-- The command for the specs, as a process of the Lua that runs them.
--
--   command.run(words, options?)   -> its standard output, its standard error, and its exit status; options:
--                                  stdin (a text; else empty), env (of CLOUDFLARE_* it sees only this), zone
--   command.of(zone)               command.run for that zone, where the options name none
--   command.start(words, options?) the same without waiting: its process id, a function that waits for it, and one that
--                                  waits until its standard error matches a pattern
--   command.line(words, options?)  the command line itself
--   command.file(text?)            the path of a file of its own, gone at the end
--   command.read(path)             what is in it
--   command.output(line)           what a line of the shell prints, however it ends
--   command.wait_until_caught(pid)  until that process, asleep, catches SIGTERM
--   command.clean()                removes all files: for teardown
local edge = require "spec.support.edge"

local M = {}
local files = {}

function M.file(text)
  local path = os.tmpname()
  files[#files + 1] = path
  local file = assert(io.open(path, "w"))
  file:write(text or "")
  file:close()
  return path
end

function M.read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

function M.output(line)
  local pipe = io.popen(line)
  local text = pipe:read "*a"
  pipe:close()
  return text
end

function M.clean()
  for _, path in ipairs(files) do os.remove(path) end
  files = {}
end

local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

local unseen = { "CLOUDFLARE_API_TOKEN", "CLOUDFLARE_EMAIL", "CLOUDFLARE_API_KEY", "CLOUDFLARE_ZONE_ID",
  "CLOUDFLARE_BASE_URL", "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY" }

function M.line(words, options)
  options = options or {}
  local env = { CLOUDFLARE_BASE_URL = edge.up().API_HTTP, CLOUDFLARE_API_TOKEN = edge.env.TOKEN }
  env.CLOUDFLARE_ZONE_ID = options.zone or nil
  for name, value in pairs(options.env or {}) do env[name] = value or nil end
  local line = { "env" }
  for _, name in ipairs(unseen) do line[#line + 1] = "-u " .. name end
  for _, name in ipairs { "LUA_PATH", "LUA_CPATH" } do
    line[#line + 1] = os.getenv(name) and quoted(name .. "=" .. os.getenv(name)) or nil
  end
  for name, value in pairs(env) do line[#line + 1] = quoted(name .. "=" .. value) end
  line[#line + 1] = os.getenv "CFPURGE_LUA" or arg[-1]
  line[#line + 1] = M.file 'os.exit(require "cfpurge.cli"(arg))'
  for _, word in ipairs(words) do line[#line + 1] = quoted(word) end
  return table.concat(line, " ")
end

function M.start(words, options)
  local input, out, err, status = M.file(options and options.stdin), M.file(), M.file(), M.file()
  -- The shell in the background tells the status when the command has ended.
  local pipe = io.popen(("{ %s <%s >%s 2>%s & echo $!; exec >%s; wait $!; echo $?; } 2>/dev/null"):format(
    M.line(words, options), input, out, err, status))
  local pid = pipe:read "*l"
  return pid, function()
    pipe:close()
    return M.read(out), M.read(err), tonumber(M.read(status))
  end, function(pattern)
    local ends = os.time() + 20
    while not M.read(err):find(pattern) do
      assert(os.time() < ends, "it does not say so")
      os.execute "sleep 0.02"
    end
  end
end

function M.run(words, options)
  local _, wait = M.start(words, options)
  return wait()
end

function M.of(zone)
  return function(words, options)
    options = options or {}
    if options.zone == nil then options.zone = zone end
    return M.run(words, options)
  end
end

-- Is SIGTERM caught by that process, which sleeps?
function M.wait_until_caught(pid)
  local ends = os.time() + 20
  local caught
  repeat
    local file = io.open("/proc/" .. pid .. "/status")
    local status = file and file:read "*a"
    if file then file:close() end
    local bits = status and status:find "State:%s*S" and tonumber(status:match "SigCgt:%s*(%x+)":sub(-8), 16)
    caught = bits and math.floor(bits / 2 ^ 14) % 2 == 1
  until caught or os.time() > ends
  assert(caught, "it does not catch SIGTERM")
end

return M
