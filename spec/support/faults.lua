-- A proxy of faults: in front of any listener of the edge, below HTTP and TLS, inside the process of the spec.
--
--   faults.run(fn, limit?)    runs fn, and the proxies beside it, in a controller of cqueues; a client in it has the
--                             option loop = "cqueues". Ends when fn has ended, or with an error after `limit`, a minute
--   faults.proxy(url, fault?) -> a proxy of that base_url, with
--     .url                    the base_url that leads through it
--     .opened, .sent          connections it accepted; bytes that went from the server to the client
--     .fault                  what happens to the next connection that the server says something on. It is taken off
--                             there and becomes `.fired` when it has struck; or a function(connection's number, bytes)
--                             that is asked for one whenever the server says something
--     :count()                how many connections are open now
--     :reset()                every connection is reset
--     :vanish()               every connection's peer is gone and says nothing more, not even that it is
--     :stop(), :start()       no longer listens (a connection is refused), and does again, on the same port
--   a fault: { after = bytes of the server's that still pass, how = what then }:
--     "fin"     the connection ends          "rst"    it is reset
--     "hang"    nothing passes any more      "deaf"   the peer has vanished: nothing is even acknowledged
--     "drip"    the rest comes byte by byte, both ways, `delay` seconds between two
--     "delay"   the rest comes `delay` seconds late
--     up = true counts the bytes of the client's instead; once = true: the slowness ends again; every = true: it
--     happens to every connection until `.fault` is another
--   faults.wait(fn)           until fn() is true, while all else goes on
--   faults.beside(server?, fn?, ...)     fn runs beside all else; the server is stopped and reset at the end
--   faults.listen(server, on_client), faults.refuse(server)    on its .port, or any; what start and stop do
--   faults.take(connection, socket), faults.put(connection, socket, bytes), faults.close(socket, how?)
--                             for such a server's own connections, which say by `.ended` that they are over
--   faults.accounted(asked, result, err)   every item is accepted or remains
local cqueues = require "cqueues"
local errno = require "cqueues.errno"
local core = require "cfpurge.core"
local socket = require "cqueues.socket"
local host = require "spec.support.host"

local M = {}
local Proxy = {}
Proxy.__index = Proxy
local CHUNK = 16384
local LIMIT = host.watched and 600 or 60
local system = host.system()
local here -- the controller, its servers

local function quiet(_, _, why) return why end

-- cqueues' own read and write cannot be in a socket that another coroutine closes, and marks by `connection.ended`.
local function take(connection, from)
  while not connection.ended do
    local bytes, why = from:recv(-CHUNK)
    if bytes or why ~= errno.EAGAIN then return bytes end
    cqueues.poll { pollfd = from:pollfd(), events = "r" }
  end
end

-- False where it has ended.
local function put(connection, to, bytes)
  local at = 1
  while at <= #bytes and not connection.ended do
    local sent, why = to:send(bytes, at, #bytes)
    at = at + sent
    if why and why ~= errno.EAGAIN then return false end
    if at <= #bytes then cqueues.poll { pollfd = to:pollfd(), events = "w" } end
  end
  return not connection.ended
end

M.take, M.put = take, put

-- It is closed when those who poll it have left it: cqueues ends with EBADF where the descriptor, used again, is closed
-- before the last of them has run.
function M.close(one, how)
  if how == "rst" then system.linger(one:pollfd()) end
  cqueues.cancel(one:pollfd())
  table.insert(here.closing, one)
end

local function close_all(sockets)
  for _, one in ipairs(sockets) do one:close() end
end

local function drop(connection, how)
  if connection.ended then return end
  connection.ended = true
  connection.proxy.connections[connection] = nil
  connection.proxy.open = connection.proxy.open - 1
  M.close(connection.client, how)
  M.close(connection.server)
end

-- Strikes once `left` has come down to 0. True: nothing more passes.
local function strike(connection, fault)
  connection.proxy.fired = fault
  if fault.how == "fin" then
    -- What the client still says is read, or the close would be a reset.
    connection.client:shutdown "w"
    while take(connection, connection.client) do end
    drop(connection)
    return true
  elseif fault.how == "rst" then
    drop(connection, "rst")
    return true
  elseif fault.how == "hang" or fault.how == "deaf" then
    if fault.how == "deaf" then system.deafen(connection.client:pollfd()) end
    connection.silent = true
    return true
  end
  connection.slow = fault
end

-- Passes on what it may; false where the connection is over.
local function pass(connection, to, bytes)
  local slow = connection.slow
  if slow and slow.how == "delay" then
    cqueues.sleep(slow.delay)
  elseif slow then
    for i = 1, #bytes do
      if not put(connection, to, bytes:sub(i, i)) then return false end
      if slow.delay then cqueues.sleep(slow.delay) end
    end
    return true
  end
  return put(connection, to, bytes)
end

local function fault_of(connection, up, size)
  local proxy = connection.proxy
  local fault = proxy.fault
  if type(fault) == "function" then
    fault = not up and fault(connection.number, size) or nil
  elseif type(fault) == "table" and (fault.up or false) == up then
    proxy.fault = fault.every and fault or nil
  else
    fault = nil
  end
  if fault then
    connection.fault = { about = fault, left = fault.after or 0, up = fault.up or false }
  end
end

local function relay(connection, from, to, up)
  local proxy = connection.proxy
  while true do
    local bytes = take(connection, from)
    if not bytes or connection.ended then break end
    if connection.silent then
      bytes = ""
    elseif not connection.fault then
      fault_of(connection, up, #bytes)
    end
    local fault = connection.fault
    if fault and fault.up == up and not fault.over then
      local now = bytes:sub(1, fault.left)
      fault.left = fault.left - #now
      if fault.left == 0 and #now < #bytes then
        fault.over = true
        if not pass(connection, to, now) then break end
        if not up then proxy.sent = proxy.sent + #now end
        bytes = bytes:sub(#now + 1)
        if strike(connection, fault.about) then
          if connection.ended then return end
          bytes = ""
        end
      end
    end
    if not pass(connection, to, bytes) then break end
    if not up then proxy.sent = proxy.sent + #bytes end
    if fault and fault.over and fault.about.once then connection.fault, connection.slow = nil, nil end
  end
  if not connection.silent then drop(connection) end
end

local function serve(proxy, client)
  local server = socket.connect { host = "127.0.0.1", port = proxy.to, nodelay = true }
  local connection = { proxy = proxy, client = client, server = server, number = proxy.opened }
  proxy.connections[connection], proxy.open = true, proxy.open + 1
  for _, one in ipairs { client, server } do
    one:setmode("b", "bn")
    one:onerror(quiet)
  end
  if not server:connect(5) then return drop(connection, "rst") end
  here.controller:wrap(relay, connection, client, server, true)
  relay(connection, server, client, false)
end

function M.listen(server, on_client)
  local listener = assert(socket.listen { host = "127.0.0.1", port = server.port or 0, reuseaddr = true })
  assert(listener:listen())
  server.listener, server.port = listener, server.port or select(3, listener:localname())
  here.controller:wrap(function()
    while server.listener == listener do
      cqueues.poll { pollfd = listener:pollfd(), events = "r" }
      local client = server.listener == listener and listener:accept({ nodelay = true }, 0)
      if client then on_client(client) end
    end
  end)
end

function M.refuse(server)
  local listener = server.listener
  server.listener = nil
  if listener then
    cqueues.cancel(listener:pollfd())
    listener:close()
  end
end

function Proxy:start()
  M.listen(self, function(client)
    self.opened = self.opened + 1
    here.controller:wrap(serve, self, client)
  end)
end

Proxy.stop = M.refuse

function Proxy:count() return self.open end

function Proxy:reset()
  for connection in pairs(self.connections) do drop(connection, "rst") end
end

function Proxy:vanish()
  for connection in pairs(self.connections) do
    connection.silent = true
    system.deafen(connection.client:pollfd())
  end
end

function M.proxy(url, fault)
  local scheme, port, path = url:match "^(%w+)://[^/]*:(%d+)(.*)$"
  local proxy = setmetatable({ to = tonumber(port), fault = fault, opened = 0, open = 0, sent = 0, connections = {} },
    Proxy)
  proxy:start()
  proxy.url = ("%s://127.0.0.1:%d%s"):format(scheme, proxy.port, path)
  table.insert(here.servers, proxy)
  return proxy
end

function M.beside(server, fn, ...)
  if server then table.insert(here.servers, server) end
  if fn then here.controller:wrap(fn, ...) end
end

function M.wait(fn)
  while not fn() do cqueues.sleep(0.001) end
end

function M.run(fn, limit)
  local before, value, ended = here, nil, false
  local mine = { controller = cqueues.new(), servers = {}, closing = {} }
  here = mine
  mine.controller:wrap(function()
    value = fn()
    ended = true
  end)
  local start, ok, err = system.now(), true, nil
  while ok and not ended do
    local closing = mine.closing
    mine.closing = {}
    ok, err = mine.controller:step(closing[1] and 0 or 1)
    close_all(closing)
    if ok and system.now() - start > (limit or LIMIT) then ok, err = false, "nothing ends" end
  end
  for _, server in ipairs(mine.servers) do
    server:stop()
    server:reset()
  end
  close_all(mine.closing)
  here = before
  if not ok then error(err, 0) end
  return value
end

function M.accounted(asked, result, err)
  local accepted = result and result.accepted or err.accepted
  local remaining = 0
  for _, kind in ipairs(core.kinds) do
    remaining = remaining + #(err and err.remaining and err.remaining[kind] or {})
  end
  if accepted + remaining ~= asked then
    error(("%d asked, %d accepted, %d remain: %s"):format(asked, accepted, remaining, tostring(err)), 2)
  end
end

return M
