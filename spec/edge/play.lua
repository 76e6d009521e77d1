-- Plays an answer that a spec has scripted, a hostile one as well: any status, headers and bytes, however they arrive.
--
-- An answer is a table; the first of a zone's script that fits a request answers it:
--   match         only a request whose path or body contains this text
--   times         how often it answers: 1; 0 is for ever
--   delay         seconds before anything is sent
--   pass          true: the real API answers (after `delay`)
--   commit        true: the real API carries the purge out, and then this answer is given in place of its own
--   status reason headers body json    200, {}, "": headers are {name = value or list} or a list of {name, value};
--                 `json` is a value to be encoded, with its Content-Type
--   hang          seconds of silence after the last byte, before the connection closes
--   close         true: closes before a byte was sent
--   cut           closes after that many bytes of the body
--   length        this Content-Length, whatever the body's length; false: none, the body ends with the connection
--   drip          seconds between single bytes
--   endless       "body", or "headers" or "informational" (HTTP/1.1): until the client has gone, 64 MiB or 10 s;
--                 `limit` is another number of bytes
-- and for HTTP/1.1 alone, where the bytes are written here and not by nginx:
--   raw           these bytes are all of the answer, then the connection closes
--   before        bytes ahead of the status line (103 Early Hints and the like)
--   version       "1.0": the version in the status line
--   cut_head      closes after that many bytes of status line and headers
--   idle_close    seconds: a whole answer that lets the connection live, which then closes unannounced
--   wire          true: written here though nothing above asks for it (headers exactly as given, nothing added)
-- HTTP/2 cannot carry these last; asked for them there, the stream is reset.
local cjson = require "cjson"

local M = {}
local CHUNK = ("{\"success\":true,\"padding\":\"" .. ("x"):rep(99) .. "\"}\n"):rep(512)
local LIMIT, SECONDS = 64 * 1024 * 1024, 10

function M.next(zone, request)
  for i, entry in ipairs(zone.script) do
    local match = entry.match
    if not match or request.path:find(match, 1, true) or request.body:find(match, 1, true) then
      local times = entry.times or 1
      if times == 1 then table.remove(zone.script, i) end
      if times > 1 then entry.times = times - 1 end
      return entry
    end
  end
end

local function header_list(entry)
  local list, seen = {}, {}
  local function add(name, value)
    list[#list + 1] = { name, tostring(value) }
    seen[name:lower()] = true
  end
  for name, value in pairs(entry.headers or {}) do
    if type(name) == "number" then
      add(value[1], value[2])
    else
      for _, one in ipairs(type(value) == "table" and value or { value }) do add(name, one) end
    end
  end
  if not seen["content-type"] and not (entry.wire and not entry.json) then
    add("Content-Type", "application/json")
  end
  return list, seen
end

-- Sends by `put(bytes)`, which gives false when the client has gone.
local function pour(put, text, drip)
  if not drip then return text == "" or put(text) end
  for i = 1, #text do
    if not put(text:sub(i, i)) then return false end
    ngx.sleep(drip)
  end
  return true
end

local function flood(put, chunk, limit)
  local sent, start = 0, ngx.now()
  while sent < limit and ngx.now() - start < SECONDS do
    if not put(chunk) then return end
    sent = sent + #chunk
    ngx.sleep(0)
  end
end

local function on_wire(entry, body)
  local sock = ngx.req.socket(true)
  if not sock then return ngx.exit(444) end
  sock:settimeout(SECONDS * 1000)
  local function put(bytes) return (sock:send(bytes)) end
  local limit = entry.limit or LIMIT
  local headers, seen = header_list(entry)
  local length = entry.length
  if length == nil and not seen["content-length"] and not seen["transfer-encoding"] and not entry.endless then
    length = #body
  end
  if length then headers[#headers + 1] = { "Content-Length", length } end
  if entry.close then return end
  if entry.raw then return pour(put, entry.raw, entry.drip) and entry.hang and ngx.sleep(entry.hang) end

  if entry.before and not pour(put, entry.before) then return end
  if entry.endless == "informational" then
    return flood(put, ("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"):rep(64), limit)
  end
  local lines = { ("HTTP/%s %d %s"):format(entry.version or "1.1", entry.status or 200, entry.reason or "Scripted") }
  for _, header in ipairs(headers) do lines[#lines + 1] = header[1] .. ": " .. header[2] end
  local head = table.concat(lines, "\r\n") .. "\r\n"
  if entry.endless == "headers" then
    return put(head) and flood(put, ("X-Padding: " .. ("p"):rep(100) .. "\r\n"):rep(32), limit)
  end
  head = head .. "\r\n"
  if entry.cut_head then
    pour(put, head:sub(1, entry.cut_head), entry.drip)
  elseif pour(put, head, entry.drip) then
    if entry.endless then return flood(put, body ~= "" and body or CHUNK, limit) end
    pour(put, entry.cut and body:sub(1, entry.cut) or body, entry.drip)
  end
  if entry.hang or entry.idle_close then ngx.sleep(entry.hang or entry.idle_close) end
end

local function by_nginx(entry, body)
  if entry.close or entry.raw or entry.cut_head then
    if entry.hang then ngx.sleep(entry.hang) end
    return ngx.exit(444)
  end
  local function put(bytes) return ngx.print(bytes) and ngx.flush(true) end
  ngx.status = entry.status or 200
  for _, header in ipairs((header_list(entry))) do
    local name, value = header[1], header[2]
    local present = ngx.header[name]
    if present and name:lower() ~= "content-type" then
      value = type(present) == "table" and { value, unpack(present) } or { present, value }
    end
    ngx.header[name] = value
  end
  local length = entry.length
  if length == nil and not entry.endless then length = #body end
  if length and entry.status ~= 204 then ngx.header.content_length = length end
  ngx.send_headers()
  if entry.endless then
    flood(put, body ~= "" and body or CHUNK, entry.limit or LIMIT)
    return ngx.exit(ngx.ERROR)
  end
  ngx.flush(true)
  local whole = pour(put, entry.cut and body:sub(1, entry.cut) or body, entry.drip)
  if entry.hang then ngx.sleep(entry.hang) end
  if not whole or entry.cut or (length and length ~= #body and entry.status ~= 204) then return ngx.exit(ngx.ERROR) end
end

local wire_only = { "wire", "raw", "before", "version", "cut_head", "idle_close", "reason", "close", "cut", "length",
  "endless", "drip" }

function M.run(entry, request, real)
  if entry.delay then ngx.sleep(entry.delay) end
  if entry.pass then return real(request) end
  local body = entry.body or (entry.json ~= nil and cjson.encode(entry.json)) or ""
  if request.protocol ~= "HTTP/2.0" then
    for _, key in ipairs(wire_only) do
      if entry[key] ~= nil then return on_wire(entry, body) end
    end
  end
  return by_nginx(entry, body)
end

return M
