--- A list whose items go to the zone that each belongs to: `zone = "auto"`.
--
-- It is a job whose parts are requests of one zone, each with a job of its own. What the parts of a zone have learned
-- (how many items it takes, that it refuses all) they share: its lane { counters, cause }. Items that were not accepted
-- are in `left`, in the list's order, and at the end those that were not sent too.
local chunks = require "cfpurge.bulk.chunks"
local core = require "cfpurge.core"
local jobs = require "cfpurge.bulk.job"
local requests = require "cfpurge.request"
local sorters = require "cfpurge.bulk.sorter"
local sources = require "cfpurge.bulk.source"
local tables = require "cfpurge.tables"
local validate = require "cfpurge.validate"

-- Requests without a usable answer in a row, of whatever zones: the API is out of reach.
local UNANSWERED = 3
-- Items in a row that are of no zone, while none was accepted.
local STRAY = 1000

local M = {}

local Auto = setmetatable({}, { __index = jobs.Job })
Auto.__index = Auto

-- ---- reading ----

function Auto:fail(chunk, err)
  jobs.Job.fail(self, chunk, err)
  self:keep_all(chunk)
end

-- Equal causes share one failure.
function Auto:stray(item, place, problem, err)
  local failure = self.strays[problem]
  if failure then
    failure.items[#failure.items + 1], self.failed = item, self.failed + 1
    failure.places[#failure.places + 1] = place
    sorters.keep(self.left, item, place)
  else
    local items = { item }
    self:fail({ items = items, at = place, places = { place } }, err)
    for _, noted in ipairs(self.failures) do
      if noted.items == items then
        self.strays[problem] = noted
      end
    end
  end
  self.stray_count = self.stray_count + 1
  if self.stray_count >= STRAY and self.counters.accepted == 0 and self.in_flight == 0 then
    self:stop(err)
  end
end

function Auto:sort(chunk)
  for i, item in ipairs(chunk.items) do
    local place = chunks.place_of(chunk, i)
    local zone, problem, err = self.sorter:add(item, place)
    if not zone then
      self:stray(item, place, problem, err)
    else
      self.stray_count = 0
    end
  end
end

-- Of a table the first items have all found their zones before anything is sent.
function Auto:may_send()
  local source = self.source
  return not source.list or source.exhausted or source.position >= math.min(source.count, validate.FIRST)
end

--- The next part to send; nil where there is none, or where it is the next turn's to read on.
function Auto:next_chunk()
  local source = self.source
  while not self.stopped do
    local is_end = not source:has_more() or self:hopeless() ~= nil
    local bin = table.remove(self.again) or (self:may_send() and self.sorter:next(is_end))
    if bin then
      return bin
    elseif is_end then
      return nil
    end
    local chunk = self:read()
    if chunk then
      self:sort(chunk)
    elseif source:has_more() or source:error() then
      return nil
    end
  end
end

-- ---- sending ----

-- A request of one zone, and the job that it is.
function Auto:part(bin)
  local part = requests.new(self.state, nil, self.handle)
  part.is_part = true
  local source = sources.read_already(self.state.core, self.kind, bin.items)
  local lane = self.lanes[bin.zone.id]
  local limits = self.limits_of(bin.zone)
  local job = jobs.new(part, self.kind, source, core.now(), self.part_options, { zone_id = bin.zone.id }, limits)
  job.ends, job.counters = self.ends, lane and lane.counters or job.counters
  self.lanes[bin.zone.id] = lane or { counters = job.counters, cause = false }
  job.again[1] = chunks.chunk(bin.items, 1)
  job.again[1].fresh = true
  -- The last one may split in as many requests as are free.
  local is_last = self.sorter:is_empty() and not self.source:has_more()
  job.max_in_flight = is_last and math.max(1, self.max_in_flight - self.in_flight) or 1
  part.job = job
  return part
end

-- False: it waits for one that is in flight to end.
function Auto:send(bin)
  local lane = self.lanes[bin.zone.id]
  if lane and lane.cause then
    self:fail_sent(bin.items, bin.places, lane.cause)
    self:keep_all(bin)
    self.current = false
    return true
  end
  local part = self:part(bin)
  bin.ids, bin.messages, bin.went_back = 0, 0, false
  self.parts[part], self.current = bin, false
  self.in_flight, self.sent = self.in_flight + 1, self.sent + #bin.items
  local ok, raised = pcall(part.job.go_on, part.job)
  -- The requests that it has in flight take it up again.
  if not ok and part.job.in_flight == 0 and self.parts[part] then
    self.parts[part], self.current = nil, bin
    self.in_flight, self.sent = self.in_flight - 1, self.sent - #bin.items
    error(raised, 0)
  end
  return not bin.went_back
end

-- ---- how a part ended ----

function Auto:fail_sent(items, places, err)
  if err.kind == "invalid_request" and err.field then
    local place = ("[%d]"):format(places[1])
    err.field, err.message = err.field:gsub("%[%d+%]", place, 1), err.message:gsub("%[%d+%]", place, 1)
  end
  jobs.Job.fail(self, { items = items, at = places[1], places = places }, err)
end

function Auto:keep_all(bin)
  for i, item in ipairs(bin.items) do
    sorters.keep(self.left, item, chunks.place_of(bin, i))
  end
end

-- A refusal of the zone or of its plan says nothing of the other zones; no other part can escape the rest.
local function is_of_zone(stopped, counters)
  return counters.is_blamed or stopped.about == "zone" or stopped.about == "plan" or stopped.kind == "not_found"
    or stopped.kind == "permission_denied"
end

local unanswered = { connection = true, timeout = true, server = true, bad_response = true }

function Auto:failed_part(bin, job, err)
  local which = sorters.which(bin, type(err.remaining[self.kind]) == "table" and err.remaining[self.kind] or bin.items)
  for _, failure in ipairs(err.failures or {}) do
    self:fail_sent(failure.items, tables.slice(bin.places, failure.at, failure.at + #failure.items - 1), failure.error)
  end
  for _, i in ipairs(which) do
    sorters.keep(self.left, bin.items[i], bin.places[i])
  end
  local stopped, lane = job.stopped, self.lanes[bin.zone.id]
  if stopped and is_of_zone(stopped, job.counters) then
    lane.cause = stopped
  elseif stopped then
    self:stop(stopped)
  end
  self.vain = #which == #bin.items and unanswered[err.kind] and self.vain + 1 or 0
  if self.vain >= UNANSWERED then
    self:stop(err)
  end
  return #bin.items - #which
end

function Auto:ended(part, result, err)
  local bin = self.parts[part]
  if not bin then
    return self:go_on()
  end
  local job = part.job
  self.parts[part] = nil
  self.in_flight = self.in_flight - 1
  if job.stopped and job.stopped.kind == "queue_full" and job.requests == 0 and self.in_flight > 0 then
    job.counters.is_stopped, bin.went_back = false, true
    self.sent = self.sent - #bin.items
    table.insert(self.again, bin)
  else
    local told = result or err
    jobs.add_all(self.ids, told.ids or {}, bin, "ids")
    jobs.add_all(self.messages, told.messages or {}, bin, "messages")
    self.requests, self.attempts = self.requests + job.requests, self.attempts + job.attempts
    self.ray_id = told.ray_id or self.ray_id
    if result then
      self.vain = 0
    end
    self.counters.accepted = self.counters.accepted + (result and #bin.items or self:failed_part(bin, job, err))
    self:progress()
  end
  self:go_on()
end

function Auto:cancel(err)
  self:stop(err or core.error("cancelled", "cancelled"))
  local parts = {}
  for part in tables.entries(self.parts) do
    parts[#parts + 1] = part
  end
  for _, part in ipairs(parts) do
    part.job:cancel(err)
  end
  self:go_on()
end

-- ---- the account ----

function Auto:not_accepted()
  local bins, sorter = { self.current or nil }, self.sorter
  bins[#bins + 1] = self.source.reading or nil
  for _, some in ipairs { self.parts, self.again, sorter.bins, sorter.full } do
    for _, bin in tables.entries(some) do
      bins[#bins + 1] = bin
    end
  end
  bins[#bins + 1] = self.left
  return bins
end

--- All that was not accepted, in the list's order.
function Auto:remaining()
  local bins = self.again
  if self.current then
    bins[#bins + 1], self.current = self.current, false
  end
  repeat
    local bin = self.sorter:next(true)
    bins[#bins + 1] = bin
  until not bin
  for _, one in ipairs(bins) do
    self:keep_all(one)
  end
  self.again = {}
  local items, places = self.left.items, self.left.places
  return self.source:remaining({ items[1] ~= nil and chunks.chunk(items, places[1], places) or nil }, {})
end

-- ---- its beginning ----

--- Sends what `list` holds, of which the first part was checked, and completes `request`.
---@param index table the zones that the credential sees
---@param limits_of fun(zone?: cfpurge.Zone): table those of a call to this zone
function M.start(request, kind, list, call, index, limits_of)
  local source = sources.new(request.state.core, kind, list)
  local limits = limits_of()
  local job = jobs.new(request, kind, source, call.started, tables.copy(call.options), { zone = "auto" }, limits)
  job.part_options = tables.copy(job.options)
  job.part_options.on_progress, job.part_options.zone = nil, nil
  job.sorter = sorters.new(kind, index, function(zone)
    local lane = job.lanes[zone.id]
    local most = lane and lane.counters.size or limits_of(zone).max_items
    -- No part is cut by what another zone holds.
    job.counters.size = math.max(job.counters.size, most)
    return most
  end)
  job.limits_of, job.lanes, job.strays, job.stray_count, job.vain = limits_of, {}, {}, 0, 0
  job.left = { items = {}, places = {} }
  setmetatable(job, Auto)
  requests.give_job(request, job)
  local ok, raised = pcall(job.go_on, job)
  -- The parts in flight take it up again.
  if not ok and job.in_flight == 0 then
    requests.take_job(request)
    error(raised, 0)
  end
end

return M
