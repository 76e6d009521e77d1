-- A small HTTP/2 server over TLS that says what a spec tells it to, frame by frame. Inside faults.run (spec/support/faults).
--
--   h2.server(on_request, options?) -> server: .url (a base_url), .connections (a list), :stop(), :start(), :reset()
--     on_request(connection, stream)   a whole request is there: stream.id, stream.body, stream.n (which of this server's)
--     options: on_connect(connection)  in place of the server's SETTINGS
--   connection.n                       which of this server's
--   connection:answer(stream, body?, status?)     a whole answer; the body of clients.OK by default
--   connection  :headers(id, status, length?), :data(id, text, fin?), :reset(id, code), :goaway(last id, code)
--   connection:frame(type, flags, id, payload), :send(bytes)    the latter each in TLS records of its own
--   connection:close(how?)             "fin" (the default: no more than TCP says) or "rst"
--   h2.frame(type, flags, id, payload), h2.answer(id, body?, status?)   the bytes
local context = require "openssl.ssl.context"
local pkey = require "openssl.pkey"
local x509 = require "openssl.x509"
local clients = require "spec.support.client"
local edge = require "spec.support.edge"
local faults = require "spec.support.faults"

local M = { DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, WINDOW_UPDATE = 8 }
local Connection, Server = {}, {}
Connection.__index, Server.__index = Connection, Server
local PREFACE = #"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

local function bytes_of(number, count)
  local list = {}
  for i = count, 1, -1 do
    list[i] = string.char(number % 256)
    number = math.floor(number / 256)
  end
  return table.concat(list)
end

local function number_of(text)
  local number = 0
  for i = 1, #text do number = number * 256 + text:byte(i) end
  return number
end

function M.frame(kind, flags, id, payload)
  return bytes_of(#payload, 3) .. string.char(kind, flags) .. bytes_of(id, 4) .. payload
end

-- HPACK without tables: every field a literal.
local function block(status, length)
  local function field(name, value)
    return "\0" .. string.char(#name) .. name .. string.char(#value) .. value
  end
  return field(":status", tostring(status)) .. field("content-type", "application/json")
    .. (length and field("content-length", tostring(length)) or "")
end

function M.answer(id, body, status)
  body = body or clients.OK
  return M.frame(M.HEADERS, 4, id, block(status or 200, #body)), M.frame(M.DATA, 1, id, body)
end

function Connection:send(bytes) return faults.put(self, self.client, bytes) end
function Connection:frame(...) return self:send(M.frame(...)) end
function Connection:headers(id, status, length) return self:frame(M.HEADERS, 4, id, block(status, length)) end
function Connection:data(id, text, fin) return self:frame(M.DATA, fin and 1 or 0, id, text) end
function Connection:reset(id, code) return self:frame(M.RST_STREAM, 0, id, bytes_of(code, 4)) end
function Connection:goaway(last, code) return self:frame(M.GOAWAY, 0, 0, bytes_of(last, 4) .. bytes_of(code, 4)) end

function Connection:answer(stream, ...)
  local headers, data = M.answer(stream.id, ...)
  return self:send(headers) and self:send(data)
end

function Connection:close(how)
  if self.ended then return end
  self.ended = true
  faults.close(self.client, how)
end

local function read(connection, count)
  while #connection.buffer < count do
    local bytes = faults.take(connection, connection.client)
    if not bytes then return nil end
    connection.buffer = connection.buffer .. bytes
  end
  local bytes = connection.buffer:sub(1, count)
  connection.buffer = connection.buffer:sub(count + 1)
  return bytes
end

local function next_frame(connection)
  local head = read(connection, 9)
  local payload = head and read(connection, number_of(head:sub(1, 3)))
  if not payload then return end
  return head:byte(4), head:byte(5), number_of(head:sub(6, 9)), payload
end

local function serve(server, connection)
  local client = connection.client
  client:setmode("b", "bn")
  client:onerror(function(_, _, why) return why end)
  if not client:starttls(server.context) or connection.ended or not read(connection, PREFACE) then
    return connection:close()
  end
  if server.on_connect then
    server.on_connect(connection)
  else
    connection:frame(M.SETTINGS, 0, 0, "")
  end
  local streams = {}
  while true do
    -- Not the iterator of a `for`: 5.1 cannot yield in one.
    local kind, flags, id, payload = next_frame(connection)
    if not kind then break end
    local stream = streams[id]
    if kind == M.GOAWAY then break end
    if kind == M.HEADERS then
      streams[id] = { id = id, body = "" }
    elseif kind == M.DATA and stream then
      stream.body = stream.body .. payload
      if #payload > 0 then connection:frame(M.WINDOW_UPDATE, 0, 0, bytes_of(#payload, 4)) end
    elseif (kind == M.SETTINGS or kind == M.PING) and flags % 2 == 0 then
      connection:frame(kind, 1, 0, kind == M.PING and payload or "")
    elseif kind == M.RST_STREAM and stream then
      streams[id] = nil
    end
    if (kind == M.HEADERS or kind == M.DATA) and flags % 2 == 1 and streams[id] then
      server.requests = server.requests + 1
      streams[id].n = server.requests
      table.insert(server.bodies, streams[id].body)
      server.on_request(connection, streams[id])
    end
  end
  connection:close()
end

local function make_context()
  local made = context.new("TLS", true)
  local function read_file(name)
    local file = assert(io.open(edge.up().EDGE .. "/ssl/" .. name))
    local text = file:read "*a"
    file:close()
    return text
  end
  made:setCertificate(x509.new(read_file "server.pem"))
  made:setPrivateKey(pkey.new(read_file "server.key"))
  made:setAlpnSelect(function(_, offered)
    for _, name in ipairs(offered) do
      if name == "h2" then return name end
    end
  end)
  return made
end

function Server:start()
  faults.listen(self, function(client)
    local connection = setmetatable({ client = client, buffer = "", n = #self.connections + 1 }, Connection)
    table.insert(self.connections, connection)
    faults.beside(nil, serve, self, connection)
  end)
end

Server.stop = faults.refuse

function Server:reset()
  for _, connection in ipairs(self.connections) do connection:close "rst" end
end

function M.server(on_request, options)
  local server = setmetatable({ on_request = on_request, on_connect = options and options.on_connect, connections = {},
    requests = 0, bodies = {}, context = make_context() }, Server)
  server:start()
  server.url = ("https://127.0.0.1:%d/client/v4"):format(server.port)
  faults.beside(server)
  return server
end

return M
