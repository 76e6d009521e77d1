-- A spec's program inside a real host. Both sides:
--
--   in a spec   value, out, zone = program.run(host, code, options?)   runs spec/hosts/<host>.lua, which runs `code` in
--                   a task, and returns the flat table that it returned; `out` is all of its output. In `code` there
--                   are: host (see contract.lua), new(options?) (a client in a zone of its own), args, cfpurge.
--                   options: args {name = text or number}, answers (of the edge), main (true: not in a task), cpath,
--                   env (of a server: NAME=value ...), fails (true: the program does not return; value is its exit
--                   status), limit (seconds)
--               program.contract(host, options?)   runs the contract; a list of problems. options: tls, skips, stores
--   in a host   program.main (not in a task?); program.start(host), once, where the code may run
--               turn = program.in_turns(over)   the same in a host that steps clients itself: `turn` is called again
--                   and again, steps them and goes on with the code; `over` is called when that has ended
require "spec.support.lines"
local M = {}
local path = os.getenv "CFPURGE_PROGRAM"

function M.literal(value)
  return type(value) == "string" and ("%q"):format(value) or tostring(value)
end

if path then
  io.stdout:setvbuf "no"
  local args, code = dofile(path)
  M.main = args.main

  function M.new(host, options)
    local filled = { zone_id = args.zone, base_url = args.base_url, api_token = args.token }
    for _, more in ipairs { host.options or {}, options or {} } do
      for key, value in pairs(more) do
        filled[key] = value
      end
    end
    return assert(require("cfpurge").new(filled))
  end

  function M.start(host)
    host.plan = args
    local function new(options)
      return M.new(host, options)
    end
    local lines = {}
    local ok, err = require("spec.hosts.contract").pcall(function()
      for name, value in pairs(code(host, new, args) or {}) do
        lines[#lines + 1] = ("%s = %s"):format(name, M.literal(value))
      end
    end)
    if ok then
      io.stdout:write("\n<<< return { ", table.concat(lines, ", "), " } >>>\n")
    else
      io.stderr:write("the program failed: ", tostring(err), "\n")
    end
    io.stdout:flush()
  end

  function M.in_turns(over)
    local waiting
    local contract = coroutine.create(function()
      M.start {
        wait_until = function(fn, clients)
          waiting = clients
          while not fn() do coroutine.yield() end
        end,
      }
      over()
    end)
    return function()
      for _, client in ipairs(waiting or {}) do
        local ok, err = pcall(client.step, client, 0)
        if not ok then io.stderr:write(tostring(err), "\n") end
      end
      assert(coroutine.resume(contract))
    end
  end
  return M
end

local edge = require "spec.support.edge"
local contract = require "spec.hosts.contract"
local watched = require("spec.support.host").watched

local function write(...)
  local name = os.tmpname()
  local file = assert(io.open(name, "w"))
  file:write(...)
  file:close()
  return name
end

local function literal(args)
  local lines = {}
  for name, value in pairs(args) do
    lines[#lines + 1] = ("%s = %s"):format(name, M.literal(value))
  end
  return "{ " .. table.concat(lines, ", ") .. " }"
end

local SERVERS = {
  haproxy = '$(PATH="$PATH:/usr/sbin" command -v haproxy) -db -f spec/hosts/haproxy.cfg',
  prosody = "$(command -v prosody) -F --config spec/hosts/prosody/prosody.cfg.lua",
}

-- Neovim is LuaJIT, whatever runs the specs; HAProxy and Prosody are what runs them.
local function command(host, options)
  if host == "nvim" then
    local ours = os.getenv("LUA_CPATH"):match "^[^;]*":gsub("/[^/]*/%?%.so$", "/luajit/?.so")
    return ("LUA_CPATH='%s%s'"):format(ours, options.cpath or ";;"),
      'nvim --headless -u NONE -i NONE -n -c "luafile spec/hosts/nvim.lua"'
  elseif SERVERS[host] then
    return ('CFPURGE_ROOT="$PWD" CFPURGE_SPEC_DIR="$(mktemp -d %s/%s.XXXXXX)" %s'):format(edge.up().EDGE, host,
      options.env or ""), SERVERS[host]
  elseif host == "love" then
    return "", "xvfb-run -a love spec/hosts/love"
  elseif host == "tarantool" then
    return options.env, "tarantool spec/hosts/tarantool.lua"
  elseif host == "knot" then
    return options.env, ("$(command -v kresd || echo /usr/sbin/kresd) -n -c \"$PWD/spec/hosts/knot.conf\" "
      .. '"$(mktemp -d %s/knot.XXXXXX)"'):format(edge.up().EDGE)
  elseif host == "mpv" then
    return "", "mpv --no-config --idle --vo=null --ao=null --script=spec/hosts/mpv.lua"
  end
  return "", ("%s spec/hosts/%s.lua"):format(os.getenv "CFPURGE_LUA" or "lua5.4", host)
end

local function execute(host, text, options)
  local file = write(text)
  local env, words = command(host, options)
  local limit = (options.limit or 60) * (watched and 10 or 1)
  local pipe = assert(io.popen(([[CFPURGE_PROGRAM=%s CFPURGE_EDGE=%s %s timeout -k 2 %d %s 2>&1 </dev/null
    echo "status $?"]]):format(file, edge.up().EDGE, env, limit, words)))
  local out = pipe:read "*a"
  pipe:close()
  os.remove(file)
  return out, tonumber(out:match "status (%d+)\n$")
end

function M.run(host, code, options)
  options = options or {}
  local env = edge.up()
  local args = { zone = edge.zone(), base_url = env.API_HTTP, token = env.TOKEN, main = options.main or false }
  if options.answers then
    edge.script(args.zone, options.answers)
  end
  for name, value in pairs(options.args or {}) do
    args[name] = value
  end
  local out, status = execute(host, "return " .. literal(args) .. ", function(host, new, args)\n"
    .. "local cfpurge = require 'cfpurge'\n" .. code .. "\nend\n", options)
  if options.fails then
    return status, out, args.zone
  end
  local answer = out:match "<<< (return .-) >>>"
  if not answer or status ~= 0 then
    error(("%s ended with status %s:\n%s"):format(host, tostring(status), out), 2)
  end
  return (loadstring or load)(answer)(), out, args.zone
end

function M.contract(host, options)
  options = options or {}
  local text = contract.prepare(edge, options)
  local plan = text:gsub("^return ", "", 1)
  local out = execute(host, "return " .. plan .. [[, function(host)
    io.stdout:write(require("spec.hosts.contract").run(host))
  end]], options)
  return contract.verify(edge, text, out, out, options.skips)
end

return M
