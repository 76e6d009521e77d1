-- A server on a port of its own that says whatever it is told: peer.lua PLAY LOG. PLAY is a file with a JSON list of
-- steps, done with every connection:
--   {read = text}              until what was received holds this text
--   {send = bytes}
--   {flood = bytes}            again and again, until the other side has gone, 64 MiB or 10 s
--   {drip = bytes, every = s}  the same, one byte at a time
--   {hang = s}
--   {tunnel = port}            what either side says is passed on
-- Prints its port and its process id. LOG: a line of JSON for each connection that ended, {received, sent}.
local cqueues = require "cqueues"
local socket = require "cqueues.socket"
local cjson = require "cjson"

local function slurp(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

local play, log = cjson.decode(slurp(arg[1])), assert(io.open(arg[2], "a"))
local loop = cqueues.new()

local function relay(from, to)
  for bytes in function() return from:read(-16384) end do
    if not (to:write(bytes) and to:flush()) then break end
  end
  to:shutdown "w"
end

local function serve(client, seen)
  local function put(bytes)
    seen.sent = seen.sent + #bytes
    return client:write(bytes) and client:flush()
  end
  local function take(timeout)
    client:settimeout(timeout)
    local bytes = client:read(-4096)
    client:settimeout(10)
    if bytes and #seen.received < 100000 then seen.received = seen.received .. bytes end
    return bytes
  end
  local function again(bytes, pause)
    local start, limit = cqueues.monotime(), seen.sent + 64 * 1024 * 1024
    while seen.sent < limit and cqueues.monotime() - start < 10 do
      if not put(bytes) then return end
      cqueues.sleep(pause)
    end
  end
  for _, step in ipairs(play) do
    if step.read then
      while not seen.received:find(step.read, 1, true) do
        if not take(10) then return end
      end
    elseif step.send then
      if not put(step.send) then return end
    elseif step.flood then
      again(step.flood, 0)
    elseif step.drip then
      for i = 1, 10000 do
        if not put(step.drip:sub((i - 1) % #step.drip + 1, (i - 1) % #step.drip + 1)) then return end
        cqueues.sleep(step.every)
      end
    elseif step.hang then
      cqueues.sleep(step.hang)
    elseif step.tunnel then
      local upstream = socket.connect("127.0.0.1", ("%d"):format(step.tunnel))
      upstream:setmode("b", "bf")
      upstream:onerror(function(_, _, why) return why end)
      loop:wrap(function() pcall(relay, client, upstream) end)
      relay(upstream, client)
      upstream:close()
    end
  end
  -- What is still on its way is seen too, and closing does not become a reset.
  client:shutdown "w"
  while take(0.5) do end
end

local server = assert(socket.listen { host = "127.0.0.1", port = 0 })
assert(server:listen())
local _, _, port = server:localname()
local stat = slurp "/proc/self/stat"
print(port, stat:match "^%d+")
io.stdout:flush()
loop:wrap(function()
  for client in server:clients() do
    loop:wrap(function()
      local seen = { received = "", sent = 0 }
      client:setmode("b", "bf")
      client:onerror(function(_, _, why) return why end)
      pcall(serve, client, seen)
      client:close()
      log:write(cjson.encode(seen), "\n")
      log:flush()
    end)
  end
end)
assert(loop:loop())
