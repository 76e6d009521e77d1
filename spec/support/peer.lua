-- Servers that say whatever a spec tells them (spec/hosts/peer.lua), and TLS servers that are wrong (openssl s_server).
--
--   peer.start(steps)        -> { port =, address = "127.0.0.1:port", log = function }; `log(n?)` is what the
--                            connections that ended have received and sent, {received, sent} each; waits for n
--   peer.tls(words, said?, flood?)   a TLS server with the edge's certificate and these words for s_server -> its port;
--                            `said` are the bytes for the first who comes, `flood` those that follow for ever
--   peer.certificate(name, subject, signer?)  makes one and its key -> the words for s_server
--   peer.path(name)          the path of a new file, gone with the edge
--   peer.launch(command, out)   runs it in the background until peer.stop, two minutes at most; `out` is its output's file
--   peer.await(what, look)   what look() returns, once it is true
--   peer.stop()              ends all of them: for teardown
--   peer.growth(f)           by how many bytes this process was larger at most while f ran; what f returned
local cjson = require("cjson").new()
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local read = require("spec.support.command").read

local M = {}
local pids, count = {}, 0
local LUA = "lua5.4"

function M.path(name)
  count = count + 1
  return ("%s/peer.%d.%s.%s"):format(edge.up().EDGE, count, tostring({}):match "%w+$", name)
end

local function write(to, text)
  local file = assert(io.open(to, "w"))
  file:write(text)
  file:close()
end

function M.launch(command, out)
  host.must(("timeout 900 %s >%s 2>&1 </dev/null & echo $! >%s.pid"):format(command, out, out))
  pids[#pids + 1] = read(out .. ".pid"):match "%d+"
end

function M.await(what, look)
  for _ = 1, 1000 do
    local found = look()
    if found then return found end
    host.system().poll(-1, 0.01)
  end
  error("no " .. what, 3)
end

function M.start(steps)
  local play, log, out = M.path "play", M.path "log", M.path "out"
  write(play, cjson.encode(steps))
  write(log, "")
  M.launch(("env -u LUA_PATH -u LUA_CPATH %s spec/hosts/peer.lua %s %s"):format(LUA, play, log), out)
  local port = M.await("port", function() return read(out):match "^(%d+)%s+%d+\n" end)
  local self = { port = tonumber(port), address = "127.0.0.1:" .. port }
  function self.log(wanted)
    return M.await("connections", function()
      local list = {}
      for line in io.lines(log) do list[#list + 1] = cjson.decode(line) end
      return #list >= (wanted or 0) and list
    end)
  end
  return self
end

function M.tls(words, said, flood)
  local out, input = M.path "out", M.path "in"
  local env = edge.up()
  if not words:find("-cert ", 1, true) then
    words = words .. (" -cert %s/ssl/server.pem -key %s/ssl/server.key"):format(env.EDGE, env.EDGE)
  end
  if not said then
    -- Where its standard input ends it goes.
    M.launch(("sh -c 'sleep 100 | openssl s_server -accept 127.0.0.1:0 %s'"):format(words), out)
    return tonumber((M.await("port", function() return read(out):match "ACCEPT [%d.]+:(%d+)" end)))
  end
  -- Quiet, or it would take what it is to say for commands; then it does not tell a port that the system chose.
  local port = require "spec.support.recipe".port()
  write(input, said)
  write(input .. ".flood", flood:rep(math.ceil(65536 / #flood)))
  M.launch(("sh -c '{ cat %s; while cat %s.flood; do :; done; } | openssl s_server -quiet "
    .. "-accept 127.0.0.1:%d %s'"):format(input, input, port, words), out)
  local line = (":%04X 00000000:0000 0A"):format(port)
  M.await("server", function() return read "/proc/net/tcp":find(line, 1, true) end)
  return tonumber(port)
end

function M.certificate(name, subject, signer)
  local dir = edge.up().EDGE
  local base = ("%s/%s"):format(dir, name)
  local sign = signer and ("-CA %s/ssl/%s.pem -CAkey %s/ssl/%s.key -CAcreateserial"):format(dir, signer, dir, signer)
    or ("-signkey %s.key"):format(base)
  host.must(([[cd %s && openssl ecparam -name prime256v1 -genkey -noout -out %s.key &&
    openssl req -new -key %s.key -subj /CN=%s -out %s.csr && printf 'subjectAltName=%s' >%s.ext &&
    openssl x509 -req -in %s.csr -days 2 -extfile %s.ext %s -out %s.pem]]):format(dir, base, base, name, base, subject,
    base, base, base, sign, base))
  return ("-cert %s.pem -key %s.key"):format(base, base)
end

function M.stop()
  for _, pid in ipairs(pids) do os.execute(("kill %s 2>/dev/null"):format(pid)) end
  pids = {}
end

local function kilobytes(what)
  return tonumber(read "/proc/self/status":match(what .. ":%s*(%d+)"))
end

function M.growth(f)
  collectgarbage()
  collectgarbage()
  write("/proc/self/clear_refs", "5") -- the peak begins here
  local before = kilobytes "VmRSS"
  local result, err = f()
  return (kilobytes "VmHWM" - before) * 1024, result, err
end

return M
