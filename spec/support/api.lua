-- The API in a process of its own (spec/hosts/api.lua), and the proof by ids that no purge is told another's answer.
--
--   api.start(settings?)     -> a server: .url (TLS), .clear_url, .proxy (a proxy that ends the TLS itself)
--     server.set(settings)   changes settings; false is the default again
--     server.counts()        what it counted; server.reset() begins anew; server.close(how) ends its connections
--   api.client(server, options?)   a client of it with `loop = "blocking"`
--   api.tags(count, prefix?) fresh tags, of which each tenth ends in 7
--   api.burst(client, tags, options?, width?)   starts a purge for each, `width` in flight (all by default); how each
--                            ended: {[tag] = {result =, err =}}; options(tag) or a table are the options of each call
--   api.wrong(ended, seen)   a list of sentences, empty where each was told what the server said to it
--   api.accepted(ended)      how many were
--   api.stop()               ends all of them: for teardown
local cfpurge = require "cfpurge"
local cjson = require("cjson").new()
local http = require "socket.http"
local clients = require "spec.support.client"
local edge = require "spec.support.edge"
local peer = require "spec.support.peer"
local read = require("spec.support.command").read

local M = { stop = peer.stop }
local batch = 0

function M.start(settings)
  local out = peer.path "api"
  -- Not a Lua that is watched: its memory is not what a spec is about.
  peer.launch(("env -u LUA_PATH -u LUA_CPATH -u LUA_INIT_5_4 PATH=/usr/local/bin:/usr/bin:/bin lua5.4 spec/hosts/api.lua %s")
    :format(edge.up().EDGE), out)
  local ports = cjson.decode(peer.await("api", function() return read(out):match "^{.-}\n" end))
  local self = { url = ("https://127.0.0.1:%d/client/v4"):format(ports.tls), proxy = ("http://127.0.0.1:%d"):format(ports.proxy),
    clear_url = ("http://127.0.0.1:%d/client/v4"):format(ports.clear) }
  local function ask(call, params)
    local url = ("http://127.0.0.1:%d/%s"):format(ports.control, call)
    local body, status = http.request(url, params and cjson.encode(params))
    if status ~= 200 then error(("%s: %s\n%s"):format(call, tostring(status), read(out)), 3) end
    return cjson.decode(body)
  end
  function self.set(changes) ask("set", changes) end
  function self.counts() return ask "counts" end
  function self.reset() ask "reset" end
  function self.close(how) ask("close", { how = how }) end
  if settings then self.set(settings) end
  return self
end

function M.client(server, options)
  local filled = { api_token = "t0k3n-0123456789", zone_id = ("0"):rep(32), base_url = server.url,
    ca_file = edge.up().CA_FILE, loop = "blocking", timeout = 30 }
  for name, value in pairs(options or {}) do filled[name] = value end
  return clients.keep(assert(cfpurge.new(filled)))
end

function M.tags(count, prefix)
  batch = batch + 1
  local list = {}
  for i = 1, count do list[i] = ("%s%d-%d"):format(prefix or "t", batch, i) end
  return list
end

function M.burst(client, tags, options, width)
  local ended, flying = {}, 0
  for _, tag in ipairs(tags) do
    while flying >= (width or math.huge) do client:step(1) end
    flying = flying + 1
    local how = options
    if type(options) == "function" then how = options(tag) end
    local request, err = client:start({ tags = { tag } }, how, function(result, why)
      flying = flying - 1
      ended[tag] = { result = result, err = why, times = (ended[tag] and ended[tag].times or 0) + 1 }
    end)
    if not request then error(tostring(err), 2) end
  end
  while client:step(1) > 0 do end
  return ended
end

function M.accepted(ended)
  local count = 0
  for _, one in pairs(ended) do count = count + (one.result and 1 or 0) end
  return count
end

local function fault(tag, one, read_times)
  local is_bad = tag:find "7$"
  if one.times ~= 1 then return "ended " .. one.times .. " times" end
  if one.result and is_bad then return "was refused, and was told accepted" end
  if one.result and one.result.id ~= tag then return "was told the answer of " .. tostring(one.result.id) end
  if one.result and read_times == 0 then return "was told accepted, and was never sent" end
  if one.err and one.err.kind == "bad_request" then
    if not is_bad then return "was accepted, and was told refused" end
    if one.err.message ~= "refused: " .. tag then return "was told another's: " .. one.err.message end
  end
  local attempts = (one.result or one.err).attempts
  if read_times > attempts then return ("was read %d times in %d attempts"):format(read_times, attempts) end
end

function M.wrong(ended, seen)
  local list = {}
  for tag, one in pairs(ended) do
    local why = fault(tag, one, seen[tag] or 0)
    if why then list[#list + 1] = tag .. " " .. why end
  end
  table.sort(list)
  return list
end

return M
