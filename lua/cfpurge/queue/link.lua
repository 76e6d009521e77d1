--- A store as a core: what completion, request and the loops ask of a client's core, over a store's handle.
--
-- A transition is one unit of the store: `commands` that it runs together, and `decode`, which reads their results. The
-- link watches the descriptor of the queue's client, so that one descriptor, one step and one timeout serve both.
local completion = require "cfpurge.completion"
local core = require "cfpurge.core"
local requests = require "cfpurge.request"

-- Remedies for one unit.
local TRIES = 3

local Link = {}
Link.__index = Link

-- The reasons of a store as sentences; its own words stand behind.
local reasons = {
  busy = "the store is locked by another process", full = "the disk is full", readonly = "the store cannot be written",
  corrupt = "the store is damaged", notadb = "the file is no store", io = "the store cannot be read or written",
  memory = "out of memory or descriptors", connection = "no connection to the store",
  broken = "the connection to the store broke", closed = "the queue was closed",
  forked = "the process was forked", cancelled = "cancelled", OOM = "the store has no memory left",
  READONLY = "the store takes no writes", LOADING = "the store is loading its data", NOAUTH = "the store wants a login",
  WRONGPASS = "the store refused the login", NOPERM = "the login may not do this",
  MISCONF = "the store cannot write its disk",
  MASTERDOWN = "the store has lost its primary",
}

-- Another try may end better.
local passing = { broken = true, busy = true, full = true, connection = true, io = true, memory = true, forked = true,
  OOM = true,
  READONLY = true, LOADING = true, MISCONF = true, MASTERDOWN = true, BUSY = true }

local function error_of(problem, reason)
  -- Redis 7 puts its own word before a script's.
  problem = problem:gsub("^ERR ", "")
  if reason == "cancelled" or reason == "closed" then
    return core.error(reason, reasons[reason])
  elseif problem == "queue_full" then
    return core.error("queue_full", "the queue holds as many items as it may (capacity)", { field = "capacity" })
  elseif problem == "newer" then
    return core.error("store", "the store was made by a newer cfpurge", { reason = "newer" })
  elseif problem == "foreign" then
    return core.error("store", "the file is a database of another program", { reason = "notadb" })
  end
  local words = reasons[reason]
  local message = (words and words ~= problem) and words .. ": " .. problem or problem
  return core.error("store", message, { retryable = passing[reason] or false, reason = reason })
end

-- ---- what completion asks ----

--- Steps the store, then the client, then the worker.
function Link:step(timeout)
  local client, state = self.client, self.state
  state.worker:notice_fork()
  local wait = self:timeout()
  if client then
    -- It is another one after a fork.
    self.handle:watch(client:fileno())
  end
  local in_flight, ended = self.handle:step(timeout and wait and math.min(timeout, wait) or timeout or wait)
  if client and client:active() then
    client:step(0)
  end
  state.worker:tick()
  return in_flight, ended
end

function Link:wait()
  local in_flight, ended
  repeat
    in_flight, ended = self:step()
  until ended > 0 or self.state.untold or self.state.later
  return in_flight, ended
end

function Link:take(id)
  local got, results, problem, reason = self.handle:take(id)
  if not got then
    return nil
  elseif not results then
    return got, nil, error_of(problem, reason)
  end
  return got, results
end

function Link:cancel(id)
  return self.handle:cancel(id)
end

function Link:fileno()
  if self.client then
    self.handle:watch(self.client:fileno())
  end
  return self.handle:fileno()
end

function Link:wake()
  self.handle:wake()
end

--- How long a step may be put off, at most.
function Link:timeout()
  local least
  for _, seconds in ipairs { self.at and math.max(self.at - core.now(), 0) or false,
    self.client and self.client:timeout() or false } do
    if seconds and (not least or seconds < least) then
      least = seconds
    end
  end
  return least
end

--- The queue wants a step at this instant of core.now; nil for no such time.
function Link:alarm(at)
  self.at = at
  self.handle:deadline(at and math.max(at - core.now(), 0) or nil)
end

function Link:close()
  self.handle:close()
end

-- ---- transitions ----

-- Until one unit has gone through, each makes what the store needs first: the schema, or the scripts; and what was said
-- to help it.
function Link:submit(commands)
  if self.is_ready then
    return 0, self.handle:submit(commands)
  end
  local all, count = {}, 0
  for i, list in ipairs { self.first, (self.store.open()), commands } do
    for _, command in ipairs(list) do
      all[#all + 1] = command
    end
    count = i < 3 and #all or count
  end
  return count, self.handle:submit(all)
end

local function behind(results, count)
  local rest = {}
  for i = count + 1, #results do
    rest[#rest + 1] = results[i]
  end
  return rest
end

--- Begins one, and calls `done(value…)` or `done(nil, err)` when it has ended. The worker's own `is_kept`: it is no
--- call that `cancel` ends.
---@return table? request
function Link:begin(commands, decode, done, is_kept, tries)
  local before, id, problem, reason = self:submit(commands)
  if not id then
    done(nil, error_of(problem, reason))
    return nil
  end
  local part = requests.new(self.state, nil, function(_, results, err)
    local remedy = err and (tries or 0) < TRIES and self.store.remedy(err)
    if err and err.reason == "broken" and not tries then
      -- The server has closed the connection. Whether it was done nobody knows, and each transition may be done twice.
      remedy = {}
    end
    if not err then
      local _, opened = self.store.open()
      if opened and before > 0 then
        opened(results)
      end
      self.is_ready, self.first = true, {}
      done(decode(before > 0 and behind(results, before) or results))
    elseif remedy then
      -- Nothing of this unit was done: the store is older, or somebody has emptied it, or flushed its scripts.
      self.is_ready, self.first = false, remedy
      self:begin(commands, decode, done, is_kept, (tries or 0) + 1)
    else
      done(nil, err)
    end
  end)
  part.is_kept = is_kept
  completion.register(self.state, part, id)
  return part
end

---@param handle userdata a store's
---@param store table its transitions
---@param client cfpurge.Client?
---@return table link
return function(handle, store, client)
  return setmetatable({
    handle = handle, store = store, client = client, state = nil, at = nil, is_ready = false, first = {},
  }, Link)
end
