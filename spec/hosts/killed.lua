-- The programs of spec/queue/kills_spec.lua, any of which is killed at any moment: killed.lua ROLE DIR STORE ZONE.
-- Instants are of the monotonic clock, which all processes share.
--
--   api      answers purges; prints its port. DIR/arrived: a line for each accepted one, "INSTANT TAG..."
--   adder    adds, on and on. DIR/added: a line for each add that has returned, "INSTANT-BEFORE-IT TAG..."
--   web      the same by requests of a site, at DIR/site.sock
--   worker   sends what waits, to the API at CLOUDFLARE_BASE_URL
local role, dir, store, zone = (table.unpack or unpack)(arg)

local function now()
  return require("cfpurge.core").now()
end

-- One write for each line: it is whole, or not there.
local function log_to(name)
  local file = assert(io.open(dir .. "/" .. name, "a"))
  file:setvbuf "full"
  return function(...)
    file:write(table.concat({ ... }, " "), "\n")
    file:flush()
  end
end

-- Few enough for many adds of the same item.
local function some_tags()
  local tags = {}
  for i = 1, math.random(3) do tags[i] = "t" .. math.random(60) end
  return tags
end

local roles = {}

function roles.api()
  local cqueues = require "cqueues"
  local socket = require "cqueues.socket"
  local arrived, count = log_to "arrived", 0
  local loop, server = cqueues.new(), assert(socket.listen("127.0.0.1", 0))
  local function serve(client)
    client:setmode("b", "bf")
    while true do
      local length = 0
      local line
      repeat
        line = client:read "*l"
        if not line then return client:close() end
        length = tonumber(line:lower():match "^content%-length: *(%d+)") or length
      until line:find "^%s*$"
      local body = client:read(length)
      if not body then return client:close() end
      count = count + 1
      -- Now and then it has no answer.
      local is_ill = count % 50 == 0
      if not is_ill then
        local tags = { ("%.6f"):format(cqueues.monotime()) }
        for tag in body:gmatch '"(t%d+)"' do tags[#tags + 1] = tag end
        arrived(table.concat(tags, " "))
      end
      cqueues.sleep(0.02)
      local text = is_ill and "ill" or '{"success":true,"errors":[],"messages":[],"result":{"id":"0"}}'
      client:write(("HTTP/1.1 %s X\r\nContent-Length: %d\r\n\r\n%s"):format(is_ill and "503" or "200", #text, text))
      client:flush()
    end
  end
  loop:wrap(function()
    for client in server:clients() do loop:wrap(pcall, serve, client) end
  end)
  print((select(3, server:localname())))
  io.stdout:flush()
  assert(loop:loop())
end

function roles.adder()
  local queue = assert(require("cfpurge").queue { store = store })
  local added = log_to "added"
  while true do
    local tags, before = some_tags(), now()
    local result, err = queue:add({ tags = tags }, { zone_id = zone })
    if result then
      added(("%.6f"):format(before), table.concat(tags, " "))
    else
      io.stderr:write(tostring(err), "\n")
    end
    require("socket").sleep(math.random() * 0.02)
  end
end

function roles.web()
  local socket, unix = require "socket", require "socket.unix"
  local added = log_to "added"
  while true do
    local tags, before, site = some_tags(), now(), unix.stream and unix.stream() or unix()
    site:settimeout(20)
    if site:connect(dir .. "/site.sock") then
      site:send(("GET /add?%s HTTP/1.0\r\n\r\n"):format(table.concat(tags, "+")))
      local text = site:receive "*a"
      if text and text:find "stored\n$" then added(("%.6f"):format(before), table.concat(tags, " ")) end
    end
    site:close()
    socket.sleep(math.random() * 0.02)
  end
end

function roles.worker()
  local cfpurge = require "cfpurge"
  local client = assert(cfpurge.new { api_token = "t0k3n-0123456789", timeout = 5 })
  local queue = assert(cfpurge.queue { store = store, client = client, lease = 1, linger = 0.01 })
  assert(queue:work())
  while true do queue:step(1) end
end

math.randomseed(math.floor(now() * 1e6) % 2 ^ 31)
roles[role]()
