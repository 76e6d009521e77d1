--- A store as a core: what completion, request and the loops ask of a client's core, over a store's handle.
--
-- A transition is one unit of the store: `commands` that it runs together, and `decode`, which reads their results. The
-- link watches the descriptor of the queue's client, so that one descriptor, one step and one timeout serve both.
local completion = require "cfpurge.completion"
local core = require "cfpurge.core"
local gather = require "cfpurge.queue.gather"
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
  MASTERDOWN = "the store has lost its primary", NOREPLICAS = "the store has too few replicas",
}

-- Another try may end better.
local passing = { broken = true, busy = true, full = true, connection = true, io = true, memory = true, forked = true,
  OOM = true,
  READONLY = true, LOADING = true, MISCONF = true, MASTERDOWN = true, NOREPLICAS = true, BUSY = true }

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
  ended = ended - (self.units[1] and self:absorb() or 0)
  if client and client:active() then
    client:step(0)
  end
  state.worker:tick()
  if self.gather.count > 0 then
    -- Who steps may leave some for the next time.
    self.handle:wake()
  end
  return in_flight, ended + self.gather.count
end

function Link:wait()
  local in_flight, ended
  repeat
    in_flight, ended = self:step()
  until ended > 0 or self.state.untold or self.state.later
  return in_flight, ended
end

-- An id, and the results or an error. Where memory is short nothing has been taken.
function Link:take_unit(id)
  return self.handle:take(id, error_of)
end

--- What has ended: a unit's id, or an entry of `gather`.
function Link:take(id)
  if not id and self.gather.count == 0 and self.units[1] then
    -- Its end may lie in the store, where no step has looked since.
    self:absorb()
  end
  if type(id) == "table" or (not id and self.gather.count > 0) then
    return self.gather:take(id)
  end
  return self:take_unit(id)
end

function Link:cancel(id)
  return (type(id) == "table" and self.gather or self.handle):cancel(id)
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
  local least = (self.gather.count > 0 or self.is_behind) and 0 or nil
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

-- What the results say; nil and an error where no store of ours says that: to raise it would be to raise it for ever.
local function decoded(unit, results)
  local ok, value = pcall(unit.decode, results)
  if ok then
    return value
  elseif tostring(value):find("not enough memory", 1, true) then
    error(value, 0)
  end
  return nil, error_of("it says what no store says", "corrupt")
end

-- A unit has ended: what it failed for want of is done, and then it once more.
function Link:over(unit, results, err)
  local remedy = err and unit.tries < TRIES and self.store.remedy(err)
  if err and (err.reason == "broken" or err.reason == "READONLY") and unit.tries == 0 then
    -- The server has closed the connection, or we have, to look for the one that took over. Whether it was done nobody
    -- knows, and each transition may be done twice.
    remedy = {}
  end
  if not err then
    local opened = unit.before > 0 and select(2, self.store.open())
    if opened then
      opened(results)
    end
    self.is_ready, self.first = true, {}
    unit.done(decoded(unit, unit.before > 0 and behind(results, unit.before) or results))
  elseif remedy then
    -- Nothing of this unit was done: the store is older, or somebody has emptied it, or flushed its scripts.
    self.is_ready, self.first = false, remedy
    unit.tries = unit.tries + 1
    self:carry_out(unit)
  else
    unit.done(nil, err)
  end
end

--- Ends it with an error of this reason.
function Link.refuse(_, unit, reason)
  unit.done(nil, error_of(reason, reason))
end

--- Submits a unit { commands, decode, done }; one with `entries` ends as part of a step, any other by a request.
---@return table? request
function Link:carry_out(unit)
  unit.tries = unit.tries or 0
  if unit.entries and not unit.is_listed then
    -- Before it is submitted: where memory is short afterwards its end would be lost.
    self.units[#self.units + 1] = unit
    unit.is_listed = true
  end
  local before, id, problem, reason = self:submit(unit.commands)
  -- Made before anything changes: where memory is short, one that was to go once more ends by the next step.
  local refusal = not id and error_of(problem, reason)
  unit.before = before
  if refusal then
    unit.has_ended = true
    unit.done(nil, refusal)
    return
  end
  unit.id = id
  if unit.entries then
    unit.has_ended = false
  else
    local part = requests.new(self.state, nil, function(_, results, err)
      self:over(unit, results, err)
    end)
    part.is_kept = unit.is_kept
    completion.register(self.state, part, id)
    return part
  end
end

-- Ends the units with entries that the store has ended; returns how many. A finalizer or a hook that comes back to the
-- queue in the middle may end others, and this one: it is found anew.
function Link:absorb()
  local i, count, units = 1, 0, self.units
  while units[i] do
    local unit = units[i]
    if unit.id and not unit.has_ended then
      local got, results, err = self:take_unit(unit.id)
      if got then
        unit.results, unit.err, unit.has_ended, count = results or false, err or false, true, count + 1
      end
    end
    if unit.has_ended and unit.id and unit.is_listed then
      self.is_behind = true
      self:over(unit, unit.results or nil, unit.err or nil)
      self.is_behind = false
    end
    -- It may have been submitted once more.
    if unit.has_ended then
      for at = #units, 1, -1 do
        if units[at] == unit then
          table.remove(units, at)
        end
      end
      unit.is_listed = false
    elseif units[i] == unit then
      i = i + 1
    end
  end
  return count
end

--- Begins one, and calls `done(value…)` or `done(nil, err)` when it has ended. The worker's own `is_kept`: it is no
--- call that `cancel` ends.
---@return table? request
function Link:begin(commands, decode, done, is_kept)
  if not is_kept then
    -- It is to find what was begun before it.
    self.gather:flush()
  end
  return self:carry_out { commands = commands, decode = decode, done = done, is_kept = is_kept }
end

---@param handle userdata a store's
---@param store table its transitions
---@param client cfpurge.Client?
---@return table link
return function(handle, store, client)
  local self = setmetatable({
    handle = handle, store = store, client = client, state = nil, at = nil, is_ready = false, first = {}, units = {},
    is_behind = false, -- where memory ran out as the end of a unit was told of
  }, Link)
  self.gather = gather.new(self)
  return self
end
