-- An API in a process of its own, HTTP/1.1 and HTTP/2, that counts each sending that it reads: api.lua DIR. DIR is the
-- edge's and has the certificates. Prints its ports, {tls, clear, proxy, control}.
--
--   tls       speaks what `alpn` says; clear: HTTP/1.1 without TLS
--   proxy     answers CONNECT, ends the TLS of the client itself and speaks HTTP/1.1 there
--   control   GET /seen: the counts below; POST /set {name = value, ...}: changes settings, false is the default again;
--             POST /reset: all counts are 0; POST /close {how}: every connection ends
--
-- A tag that ends in 7 is refused, any other is accepted and its answer's id is the tag. Settings:
--   alpn      "h2", "http/1.1", or "alternate": odd connections h2, even ones HTTP/1.1
--   delay     seconds from the request to its answer       streams   SETTINGS_MAX_CONCURRENT_STREAMS
--   goaway    h2: after so many streams GOAWAY; those that run are answered, then the connection ends
--   reset     {code, every}: h2: each every-th stream is reset by this code
--   refuse    h2: so many streams (of all connections) are reset as refused, before they are read
--   half      h2: of so many streams of the first connection the second half is refused by GOAWAY
--   cut       {at, how, times}: a connection's at-th request (0: any) is read and the connection ends, by "rst", "fin"
--             (without TLS's close_notify) or "goaway" (that stream was the last one processed, then fin)
--   idle      seconds without a request, from the first answer on, until a connection ends by "fin"
-- Counts: seen {tag = how often it was read}, refused, unread {tag = true} (refused), cuts, opened {h1, h2}, open, and
-- most, which were open at once.
local cqueues = require "cqueues"
local errno = require "cqueues.errno"
local socket = require "cqueues.socket"
local context = require "openssl.ssl.context"
local pkey = require "openssl.pkey"
local x509 = require "openssl.x509"
local luasocket = require "socket"
local cjson = require "cjson"

local DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
local REFUSED_STREAM = 7
local PREFACE = #"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
local loop, settings, counts, connections = cqueues.new(), {}, nil, {}
local handshakes = 0

local function reset_counts()
  local open = counts and counts.open or 0
  counts = { seen = {}, refused = 0, unread = {}, cuts = 0, opened = { h1 = 0, h2 = 0 }, open = open, most = open }
  handshakes = 0
end
reset_counts()

local function slurp(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

local function context_of(choose)
  local made = context.new("TLS", true)
  made:setCertificate(x509.new(slurp(arg[1] .. "/ssl/server.pem")))
  made:setPrivateKey(pkey.new(slurp(arg[1] .. "/ssl/server.key")))
  made:setAlpnSelect(function(_, offered)
    local wanted = choose()
    for _, name in ipairs(offered) do
      if name == wanted then return name end
    end
    for _, name in ipairs(offered) do
      if name == "http/1.1" then return name end
    end
  end)
  return made
end

local direct = context_of(function()
  handshakes = handshakes + 1
  if settings.alpn == "alternate" then return handshakes % 2 == 1 and "h2" or "http/1.1" end
  return settings.alpn or "h2"
end)
local intercepting = context_of(function() return "http/1.1" end)

-- ---- a connection ----

local Connection = {}
Connection.__index = Connection

-- One writer at a time: what others say meanwhile goes with it.
function Connection:put(bytes)
  self.out = self.out .. bytes
  if self.writing then return end
  self.writing = true
  while self.out ~= "" and not self.ended do
    local now, at = self.out, 1
    self.out = ""
    while at <= #now and not self.ended do
      local sent, why = self.socket:send(now, at, #now)
      at = at + sent
      if why and why ~= errno.EAGAIN then return self:close "fin" end
      if at <= #now then cqueues.poll({ pollfd = self.socket:pollfd(), events = "w" }, 0.1) end
    end
  end
  self.writing = false
end

-- nil where the connection is over, or said nothing for `limit` seconds.
function Connection:read(count, limit)
  local start = cqueues.monotime()
  while type(count) == "number" and #self.buffer < count
    or type(count) == "string" and not self.buffer:find(count, 1, true) do
    if self.ended then return nil end
    local bytes, why = self.socket:recv(-16384)
    if bytes then
      self.buffer = self.buffer .. bytes
    elseif why ~= errno.EAGAIN then
      return nil
    else
      local left = limit and limit - (cqueues.monotime() - start)
      if left and left <= 0 then return nil end
      cqueues.poll({ pollfd = self.socket:pollfd(), events = "r" }, left and math.min(left, 1) or 1)
    end
  end
  local size = type(count) == "number" and count or select(2, self.buffer:find(count, 1, true))
  local bytes = self.buffer:sub(1, size)
  self.buffer = self.buffer:sub(size + 1)
  return bytes
end

function Connection:close(how)
  if self.ended then return end
  self.ended = true
  if connections[self] then
    connections[self] = nil
    counts.open = counts.open - 1
  end
  local fd = self.socket:pollfd()
  if how == "rst" then
    local borrowed = luasocket.tcp4()
    local own = borrowed:getfd()
    borrowed:setfd(fd)
    borrowed:setoption("linger", { on = true, timeout = 0 })
    borrowed:setfd(own)
    borrowed:close()
  end
  cqueues.cancel(fd)
  loop:wrap(function() self.socket:close() end) -- when those who poll it have left it
end

local function tag_of(body) return body:match '"tags":%["([^"]*)"' or "?" end

local function note_refused(body)
  counts.refused = counts.refused + 1
  counts.unread[tag_of(body)] = true
end

local function envelope(tag)
  if not tag:find "7$" then
    return 200, ('{"success":true,"errors":[],"messages":[],"result":{"id":"%s"}}'):format(tag)
  end
  return 400, ('{"success":false,"errors":[{"code":1100,"message":"refused: %s"}],"messages":[],"result":null}')
    :format(tag)
end

-- A whole request was read: its status and its answer, or nil where the connection ends before a byte of it.
function Connection:request(body, last)
  local tag = tag_of(body)
  self.requests = self.requests + 1
  counts.seen[tag] = (counts.seen[tag] or 0) + 1
  local cut = settings.cut
  if cut and (cut.at == 0 or self.requests == cut.at) and counts.cuts < (cut.times or math.huge) then
    counts.cuts = counts.cuts + 1
    if cut.how == "goaway" then self:put(("\0\0\8\7\0\0\0\0\0") .. string.pack(">I4I4", last or 0, 0)) end
    self:close(cut.how)
    return nil
  end
  return envelope(tag)
end

-- ---- HTTP/1.1 ----

local function serve_h1(self)
  while true do
    local head = self:read("\r\n\r\n", self.requests > 0 and settings.idle or nil)
    if not head then return self:close "fin" end
    local length = tonumber(head:lower():match "\r\ncontent%-length: *(%d+)") or 0
    local body = self:read(length)
    if not body then return self:close "fin" end
    local status, text = self:request(body)
    if not status then return end
    if settings.delay then cqueues.sleep(settings.delay) end
    self:put(("HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s")
      :format(status, #text, text))
  end
end

-- ---- HTTP/2 ----

local function frame(kind, flags, id, payload)
  return string.pack(">I3BBI4", #payload, kind, flags, id) .. payload
end

local function field(name, value) return "\0" .. string.pack("s1s1", name, value) end

local function answer(self, id, status, text)
  if self.ended then return end
  self:put(frame(HEADERS, 4, id, field(":status", tostring(status)) .. field("content-type", "application/json"))
    .. frame(DATA, 1, id, text))
  self.running = self.running - 1
  if self.leaving and self.running == 0 then
    cqueues.sleep(0.01)
    self:close "fin"
  end
end

local function stream_done(self, id, body)
  self.streams = self.streams + 1
  if settings.refuse and counts.refused < settings.refuse then
    note_refused(body)
    return self:put(frame(RST_STREAM, 0, id, string.pack(">I4", REFUSED_STREAM)))
  end
  if settings.half and self.n == 1 then
    -- The requests may end in any order: GOAWAY goes by the streams' numbers, which are odd.
    if id > settings.half then
      note_refused(body)
    else
      local status, text = self:request(body, id)
      self.running, self.held = self.running + 1, self.held or {}
      table.insert(self.held, { id = id, status = status, text = text })
    end
    if self.streams == settings.half then
      self.leaving = true
      self:put(frame(GOAWAY, 0, 0, string.pack(">I4I4", settings.half - 1, 0)))
      loop:wrap(function()
        cqueues.sleep(0.02)
        for _, one in ipairs(self.held) do answer(self, one.id, one.status, one.text) end
      end)
    end
    return
  end
  local status, text = self:request(body, id)
  if not status then return end
  if settings.reset and self.streams % settings.reset.every == 0 then
    return self:put(frame(RST_STREAM, 0, id, string.pack(">I4", settings.reset.code)))
  end
  self.running = self.running + 1
  if settings.goaway and self.streams == settings.goaway then
    self.leaving = true
    self:put(frame(GOAWAY, 0, 0, string.pack(">I4I4", 2 ^ 31 - 1, 0)))
  end
  if not settings.delay then return answer(self, id, status, text) end
  loop:wrap(function()
    cqueues.sleep(settings.delay or 0)
    answer(self, id, status, text)
  end)
end

local function serve_h2(self)
  if not self:read(PREFACE) then return self:close "fin" end
  self.streams, self.running = 0, 0
  self:put(frame(SETTINGS, 0, 0, string.pack(">I2I4I2I4", 3, settings.streams or 100, 4, 65535)))
  local bodies = {}
  while true do
    local head = self:read(9, self.streams > 0 and self.running == 0 and settings.idle or nil)
    if not head then return self:close "fin" end
    local size, kind, flags, id = string.unpack(">I3BBI4", head)
    local payload = self:read(size)
    if not payload or kind == GOAWAY then return self:close "fin" end
    if kind == HEADERS then
      bodies[id] = ""
    elseif kind == DATA and bodies[id] then
      bodies[id] = bodies[id] .. payload
      if size > 0 then self:put(frame(WINDOW_UPDATE, 0, 0, string.pack(">I4", size))) end
    elseif (kind == SETTINGS or kind == PING) and flags % 2 == 0 then
      self:put(frame(kind, 1, 0, kind == PING and payload or ""))
    end
    if (kind == HEADERS or kind == DATA) and flags % 2 == 1 and bodies[id] then
      local body = bodies[id]
      bodies[id] = nil
      stream_done(self, id, body)
      if self.ended then return end
    end
  end
end

-- ---- the listeners ----

local function begin(client, is_control)
  client:setmode("b", "bn")
  client:onerror(function(_, _, why) return why end)
  local self = setmetatable({ socket = client, buffer = "", out = "", requests = 0 }, Connection)
  if not is_control then
    connections[self] = true
    counts.open = counts.open + 1
    counts.most = math.max(counts.most, counts.open)
  end
  return self
end

local function speak(self)
  local tls = self.socket:checktls()
  local protocol = tls and tls:getAlpnSelected() == "h2" and "h2" or "h1"
  counts.opened[protocol] = counts.opened[protocol] + 1
  self.n = counts.opened.h1 + counts.opened.h2
  return (protocol == "h2" and serve_h2 or serve_h1)(self)
end

local serve = {}

function serve.clear(self) return speak(self) end

function serve.tls(self)
  if not self.socket:starttls(direct, 10) then return self:close "fin" end
  return speak(self)
end

function serve.proxy(self)
  if not self:read "\r\n\r\n" then return self:close "fin" end
  self:put "HTTP/1.1 200 Connection established\r\n\r\n"
  if not self.socket:starttls(intercepting, 10) then return self:close "fin" end
  return speak(self)
end

function serve.control(self)
  local head = self:read "\r\n\r\n"
  local body = head and self:read(tonumber(head:lower():match "\r\ncontent%-length: *(%d+)") or 0)
  local path = head and head:match "^%u+ /(%w+)"
  if path == "set" then
    for name, value in pairs(cjson.decode(body)) do settings[name] = value or nil end
  elseif path == "reset" then
    reset_counts()
  elseif path == "close" then
    local all = {}
    for one in pairs(connections) do all[#all + 1] = one end
    for _, one in ipairs(all) do one:close(cjson.decode(body).how) end
  end
  local text = cjson.encode(counts)
  self:put(("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"):format(#text, text))
  self:close "fin"
end

local ports = {}
for name, fn in pairs(serve) do
  local server = assert(socket.listen { host = "127.0.0.1", port = 0 })
  assert(server:listen())
  ports[name] = select(3, server:localname())
  loop:wrap(function()
    for client in server:clients() do
      local self = begin(client, name == "control")
      loop:wrap(function() fn(self) end)
    end
  end)
end
print(cjson.encode(ports))
io.stdout:flush()
assert(loop:loop())
