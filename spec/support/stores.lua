-- The two stores of the queue, for specs that hold for both.
--
--   for _, store in ipairs(stores)   SQLite and Redis; Valkey alone where CFPURGE_VALKEY is set (valkey_spec.lua)
--   stores.of.sqlite, .redis      the same by name
--   store.name                    "sqlite" or "redis"
--   store.target()                a fresh, empty store: what cfpurge.queue is given as `store`; stores.target(name)
--   store.rules(target?)          its transitions, each carried out at once: rules.add(...) -> what it decodes to, or
--                                 nil, the problem, the reason; rules.handle is the store's own
--   rules.pass(seconds)           so much time passes for the store, at once; less than 0: its clock is set back
--   store.queue(options?, client_options?)  -> a queue, its client, the zone's id, the target, what
--                                 edge.zone says of the zone
--   stores.group(zone, kind, names, more?)  a group for rules.add; names are the items, their keys and their JSON
--   stores.terms(more?)           what a claim is asked with: no linger, a lease of a minute
--   stores.settled(more?)         an outcome: all accepted, but for what `more` says
--   stores.names(claim)           its keys, sorted, as one text
--   stores.redis()                the redis-server of this run: { socket, dir, pid, command(words) -> what it printed }
--   stores.server(words?)         one of its own, with these words on its command line; stop(), start()
--   stores.close()                closes all queues and clients that came from here
local cfpurge = require "cfpurge"
local cjson = require("cjson").new()
local clients = require "spec.support.client"
local output = require "spec.support.command".output

local M = { of = {} }
local valkey = os.getenv "CFPURGE_VALKEY"

local function own_pid()
  local file = assert(io.open "/proc/self/stat")
  local pid = file:read "*l":match "^%d+"
  file:close()
  return pid
end

-- ---- redis-server ----

local Server = {}
Server.__index = Server

function Server:command(words)
  return (output(("timeout 10 redis-cli --no-auth-warning -s %s %s 2>&1"):format(self.socket, words)):gsub("%s+$", ""))
end

-- It ends with this process, whatever becomes of it, and after half an hour at the latest.
function Server:start()
  local run = ("timeout -k 1 1800 %s --port %d --unixsocket %s --databases 2000 --save '' --dir %s %s"):format(
    valkey and "valkey-server" or "redis-server", self.port or 0, self.socket, self.dir, self.words)
  self.pid = output(("setsid sh -c '%s >>%s/log 2>&1 & echo $!; exec >/dev/null 2>&1; "
    .. "while kill -0 %s && kill -0 $!; do sleep 0.3; done; kill $!; "
    .. "kill -0 %s || rm -rf %s' &"):format(run:gsub("'", "'\\''"), self.dir, own_pid(), own_pid(), self.dir)):match "%d+"
  for _ = 1, 100 do
    if self:command(self.auth or "PING"):find("PONG", 1, true) then return self end
    os.execute "sleep 0.05"
  end
  error("redis-server did not start: " .. output("cat " .. self.dir .. "/log"))
end

function Server:stop()
  os.execute("pkill -9 -P " .. self.pid .. " 2>/dev/null; while pgrep -P " .. self.pid .. " >/dev/null; do sleep 0.02; done")
end

function Server:url(db)
  return ("unix://%s?db=%d"):format(self.socket, db or 0)
end

function M.server(words, auth, port)
  local dir = output "mktemp -d /tmp/cfpurge-redis.XXXXXX":match "%S+"
  return setmetatable({ dir = dir, socket = dir .. "/s", words = words or "", auth = auth, port = port }, Server):start()
end

local server
function M.redis()
  server = server or M.server "--appendonly no"
  return server
end

-- ---- fresh stores ----

local databases, files = 0, nil

local targets = {
  redis = function()
    databases = databases + 1
    return M.redis():url(databases)
  end,
  sqlite = function()
    files = files or output "mktemp -d /tmp/cfpurge-sqlite.XXXXXX":match "%S+"
    databases = databases + 1
    return ("%s/%d.db"):format(files, databases)
  end,
}

function M.target(name)
  return targets[name]()
end

-- ---- transitions, one at a time ----

local Rules = {}

local function run(self, commands, decode)
  local all, before = {}, 0
  local opening, opened = self.store.open()
  for _, list in ipairs { not self.is_ready and opening or {}, commands } do
    for _, command in ipairs(list) do all[#all + 1] = command end
    before = before == 0 and #all or before
  end
  before = self.is_ready and 0 or before
  local id, problem, reason = self.handle:submit(all)
  if not id then return nil, problem, reason end
  local last = os.time() + 100 -- the machine may be slow
  local got, results
  repeat
    self.handle:step(1)
    got, results, problem, reason = self.handle:take(id)
    assert(os.time() < last, "the store does not answer")
  until got
  if not results then return nil, problem, reason end
  if opened and not self.is_ready then opened(results) end
  self.is_ready = true
  local rest = {}
  for i = before + 1, #results do rest[#rest + 1] = results[i] end
  return decode(rest)
end

local clocks = {
  sqlite = function(seconds) return { "UPDATE meta SET ahead = ahead + ?1", seconds } end,
  redis = function(seconds) return { "HINCRBYFLOAT", "{cfpurge}:meta", "ahead", tostring(seconds) } end,
}

function Rules.__index(self, name)
  if name == "pass" then
    return function(seconds) return run(self, { clocks[self.kind](seconds) }, function() end) end
  end
  return function(...) return run(self, self.store[name](...)) end
end

local function rules(name, target)
  local handle = assert(require("cfpurge." .. name).open(target or targets[name]()))
  return setmetatable({ handle = handle, store = require("cfpurge.queue." .. name), kind = name,
    is_ready = false }, Rules)
end

function M.group(zone, kind, names, more)
  local group = { zone = zone, environment = "", op = "purge", kind = kind, items = {} }
  for i, name in ipairs(names) do group.items[i] = { name, cjson.encode(name) } end
  for field, value in pairs(more or {}) do group[field] = value end
  return group
end

local function filled(values, more)
  for field, value in pairs(more or {}) do values[field] = value end
  return values
end

function M.terms(more)
  return filled({ full = { files = 100, others = 100 }, linger = 0, lease = 60, budget = "" }, more)
end

function M.settled(more)
  return filled({ failed = {}, waiting = {}, accepted = not more or not more.waiting, budget = "" }, more)
end

function M.names(claim)
  local keys = {}
  for i, item in ipairs(claim and claim.items or {}) do keys[i] = item.key end
  table.sort(keys)
  return table.concat(keys, " ")
end

-- ---- queues ----

local kept = {}

local function queue(name, options, client_options)
  local filled_in = filled({ store = options and options.store or targets[name]() }, options)
  local client, zone, about = clients.new(client_options)
  filled_in.client = client
  local made = assert(cfpurge.queue(filled_in))
  kept[#kept + 1] = made
  return made, client, zone, filled_in.store, about
end

function M.close()
  for i = #kept, 1, -1 do
    kept[i]:close()
    kept[i] = nil
  end
  clients.close()
end

for _, name in ipairs { "sqlite", "redis" } do
  M.of[name] = {
    name = name, target = targets[name],
    rules = function(target) return rules(name, target) end,
    queue = function(...) return queue(name, ...) end,
  }
  if name == "redis" or not valkey then M[#M + 1] = M.of[name] end
end

return M
