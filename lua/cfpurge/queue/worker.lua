--- Sends what waits: looks, claims, purges, settles; and keeps its claims while they are in flight.
--
-- At any time at most one look or claim of it is under way (`is_asking`), and at most `max_in_flight` claims are being
-- sent (`flying`, by fence). `wakes` is when it looks again, not before `not_before`. While there is nothing to claim
-- it only reads.
local budgets = require "cfpurge.queue.budgets"
local core = require "cfpurge.core"
local events = require "cfpurge.queue.events"
local items = require "cfpurge.queue.items"
local outcomes = require "cfpurge.queue.outcome"
local sorting = require "cfpurge.queue.sorting"
local tables = require "cfpurge.tables"

-- Seconds between looks where nothing is known to be due: what other processes add is found then.
local POLL = 0.25
-- At least, where something is due that may not go: its zone rests, or its budget is used up.
local PATIENCE = 0.02
-- After an error of the store.
local PAUSE = 1

local function nothing() end

local Worker = {}
Worker.__index = Worker

function Worker:look_at(instant)
  if not self.wakes or instant < self.wakes then
    self.wakes = instant
  end
  self:set_alarm()
end

function Worker:set_alarm()
  local may_ask = self.is_working and not self.is_asking and self:has_room() and self.wakes
  local at = may_ask and math.max(self.wakes, self.not_before) or math.huge
  at = math.min(at, self.renews or math.huge)
  for _, instant in tables.entries(self.timers) do
    at = math.min(at, instant)
  end
  self.link:alarm(at < math.huge and at or nil)
end

--- Calls `callback` in so many seconds; nil for never.
function Worker:after(seconds, callback)
  self.timers[callback] = seconds and core.now() + seconds
  self:set_alarm()
end

function Worker:run_timers(now)
  for callback, at in tables.entries(self.timers) do
    if at <= now then
      self.timers[callback] = nil
      self:set_alarm()
      return callback()
    end
  end
end

function Worker:has_room()
  return self.in_flight < self.max_in_flight
end

-- ---- claims ----

function Worker:begin(done, commands, decode)
  self.link:begin(commands, decode, done, true)
end

-- The store has failed it: it looks again in a while.
function Worker:put_off(err)
  self:look_at(core.now() + PAUSE)
  if self.on_event and err.kind == "store" then
    events.store_failed(self.on_event, err)
  end
end

function Worker:ask(transition, done)
  self.is_asking = true
  self:begin(function(value, err)
    self.is_asking = false
    if err then
      self:put_off(err)
    else
      done(value)
    end
    self:set_alarm()
  end, transition(self.terms))
  self:set_alarm()
end

function Worker:claim()
  self:ask(self.store.claim, function(claim)
    if claim and not self.is_working then
      -- It came too late.
      self:give_back(claim)
    elseif claim then
      self:take(claim)
      self.wakes = core.now()
    else
      -- Another was quicker, it has swept, or what seemed due was not: there may be more.
      self.wakes = core.now() + PATIENCE
    end
  end)
end

function Worker:look()
  local began = core.now()
  self:ask(self.store.look, function(seconds)
    local now = core.now()
    if seconds == 0 then
      self.is_due = true
      self.wakes = now
    else
      -- A look at many zones that wait in vain is work for the store, which then rests ten times as long.
      self.wakes = now + math.min(math.max(seconds or POLL, PATIENCE, 10 * (now - began)), POLL)
    end
  end)
end

-- ---- sending ----

function Worker:settle(fence, outcome)
  self:begin(function(_, err)
    if err and not (err.kind == "closed" or err.kind == "cancelled") and self.flying[fence] then
      -- The store has not heard of it. Until the lease is over it may.
      self.unsettled[fence] = outcome
      self.renews = math.min(self.renews or math.huge, core.now() + PAUSE)
      self:put_off(err)
      return
    end
    if self.flying[fence] then
      self.flying[fence] = nil
      self.in_flight = self.in_flight - 1
    end
    self:look_at(core.now())
  end, self.store.settle(fence, outcome))
end

-- Its items wait again: nothing of it was sent.
function Worker:give_back(claim)
  claim.is_preparing = false
  self:settle(claim.fence, { failed = {}, waiting = "all", is_unsent = true })
end

function Worker:ended(claim, err, result)
  if self.flying[claim.fence] ~= claim or self.client_state.is_collected then
    -- A forked child is told of the end of what its parent sends. And where Lua itself ends, lua-cjson may have been
    -- finalized before the client: it then writes into memory that it has freed.
    return
  end
  local outcome
  if err then
    outcome = outcomes.failed(err, claim, function(item)
      return (self.handle:key(claim.kind, item))
    end, items.error_text)
    if outcome.held and not claim.budget then
      -- No budget holds it back: its zone rests as long.
      outcome.rest = outcome.rest or { first = outcome.held, most = outcome.held, why = tostring(err) }
    elseif outcomes.of(err) == "ended" then
      -- The client takes nothing, or is closed: it would say so again at once.
      self.not_before = core.now() + PAUSE
    end
  else
    outcome = { failed = {}, waiting = {}, accepted = true, extra = result and (result.requests or 1) - 1 or 0 }
  end
  outcome.is_unsent = claim.is_unsent
  outcomes.hold(outcome, self.handle:ordered(budgets.key(claim), claim.kind))
  self:settle(claim.fence, outcome)
  self:tell(claim, outcome, err)
end

function Worker:tell(claim, outcome, err)
  if self.on_event then
    events.ended(self.on_event, claim, outcome, err)
  end
end

function Worker:take(claim)
  self.flying[claim.fence] = claim
  self.in_flight = self.in_flight + 1
  if not self.renews then
    self.renews = core.now() + self.terms.lease / 3
  end
  -- Until it is with the client.
  claim.is_preparing, claim.is_unsent = true, true
  if claim.zone == "auto" then
    self:sort(claim)
  elseif budgets.is_unknown(self.client_state, claim, self.terms) then
    self:learn(claim)
  else
    self:send(claim)
  end
end

-- Its items go to their zones' lanes.
function Worker:sort(claim)
  sorting.start(self.client_state, claim, function(outcome, err)
    if not claim.is_preparing then
      return
    end
    claim.is_preparing = false
    if not outcome then
      self:ended(claim, err)
    elseif self.flying[claim.fence] == claim then
      self:settle(claim.fence, outcome)
      self:tell(claim, outcome)
    end
  end)
end

-- The plan of its zone is read; then the items wait once more, for a claim that draws from it.
function Worker:learn(claim)
  budgets.learn(self.client_state, claim, self.terms, function(name, buckets)
    if self.flying[claim.fence] ~= claim or not claim.is_preparing then
      return
    elseif not name then
      if claim.is_stale then
        self:begin(nothing, self.store.set_zone(claim.zone, claim.budget))
      end
      -- The purge tells why, or gets through.
      return self:send(claim)
    end
    self:begin(nothing, self.store.set_budget(name, buckets))
    self:begin(nothing, self.store.set_zone(claim.zone, name))
    self:give_back(claim)
  end)
end

function Worker:send(claim)
  claim.is_preparing, claim.is_unsent = false, false
  local params, options = items.decode(self.handle, claim)
  if not params then
    self:settle(claim.fence, options)
    return self:tell(claim, options)
  end
  -- One sending for each token: the store decides about another, and hears of a 429 at once.
  options.max_retries, options.max_retry_wait = 0, 0
  -- Nor does the client's own plan hold it back.
  options.budget = budgets.key(claim)
  local ok, request, err = pcall(self.client.start, self.client, params, options, function(result, failure)
    claim.request = nil
    self:ended(claim, failure, result)
  end)
  if not ok then
    err = core.error("invalid_request", tostring(request))
    request = nil
  end
  if request then
    claim.request = not request:done() and request or nil
  else
    claim.is_unsent = true
    self:ended(claim, err)
  end
end

-- ---- leases ----

function Worker:renew()
  local fences = {}
  for fence in tables.entries(self.flying) do
    fences[#fences + 1] = fence
  end
  self.renews = fences[1] and core.now() + self.terms.lease / 3 or nil
  if fences[1] then
    self:begin(function(ours)
      for _, fence in ipairs(ours and fences or {}) do
        if not ours[fence] and self.flying[fence] and self.unsettled[fence] then
          self.unsettled[fence], self.flying[fence] = nil, nil
          self.in_flight = self.in_flight - 1
        end
      end
    end, self.store.renew(fences, self.terms.lease))
  end
  for fence, outcome in tables.entries(self.unsettled) do
    self.unsettled[fence] = nil
    self:settle(fence, outcome)
  end
end

-- What its parent has in flight is none of a forked child's business.
function Worker:notice_fork()
  local generation = core.generation()
  if self.generation ~= generation then
    self.generation = generation
    self.flying, self.unsettled, self.timers, self.in_flight = {}, {}, {}, 0
    self.is_asking, self.is_due, self.renews, self.wakes = false, false, nil, core.now()
  end
end

--- Does what is due; the link calls it with each step.
function Worker:tick()
  local now = core.now()
  self:notice_fork()
  if self.is_working and self:problem() then
    self:rest()
  end
  self:run_timers(now)
  if self.renews and now >= self.renews then
    self:renew()
    self:set_alarm()
  end
  if self.is_working and not self.is_asking and self:has_room() and self.wakes
    and now >= math.max(self.wakes, self.not_before) then
    if self.is_due then
      self.is_due = false
      self:claim()
    else
      self:look()
    end
  end
  if self.link.state.busy and not self:is_active() then
    self.on_rest()
  end
end

-- ---- its beginning and end ----

--- Why it can send nothing, ever.
---@return cfpurge.Error?
function Worker:problem()
  return not self.client_state.open and core.error("closed", "the queue's client was closed") or nil
end

function Worker:wake()
  self:begin(function(has_more)
    if has_more then
      self:wake()
    end
  end, self.store.wake())
end

function Worker:work()
  if not self.is_working then
    self.is_working, self.is_due = true, false
    self.wakes = core.now()
    self:wake()
    self.link:wake()
    self:set_alarm()
  end
end

--- Claims nothing more; what is in flight ends first.
function Worker:rest()
  self.is_working = false
  self:set_alarm()
end

--- Something was added here: it is sent as soon as it has waited for company.
function Worker:hear(delay)
  if self.is_working then
    self:look_at(core.now() + self.terms.linger + (delay or 0))
  end
end

function Worker:is_active()
  return self.is_working or self.in_flight > 0
end

--- Ends what is in flight, and tells the store.
---@return boolean was_active
function Worker:stop()
  self:notice_fork()
  local was_active = self:is_active() or self.is_asking
  self.is_working = false
  for _, claim in tables.entries(self.flying) do
    if claim.request then
      claim.request:cancel()
    elseif claim.is_preparing then
      self:give_back(claim)
    end
  end
  return was_active
end

--- Where it rests: what the store could not be told of is over with the leases.
function Worker:give_up()
  for fence in tables.entries(not self.is_working and self.unsettled or {}) do
    self.unsettled[fence], self.flying[fence] = nil, nil
    self.in_flight = self.in_flight - 1
  end
end

local M = {}

---@param link table queue/link
---@param store table the store's transitions
---@param client_state table of what sends
---@param terms table what a claim asks for: full, linger, lease, budget
function M.new(link, store, client_state, terms, max_in_flight)
  return setmetatable({
    link = link, store = store, handle = client_state.core, client = client_state.client, client_state = client_state,
    terms = terms, max_in_flight = max_in_flight,
    flying = {}, unsettled = {}, timers = {}, in_flight = 0, is_working = false, is_asking = false, is_due = false,
    wakes = false, not_before = 0, renews = nil, generation = core.generation(),
  }, Worker)
end

return M
