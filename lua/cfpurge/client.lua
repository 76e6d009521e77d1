--- The only conductor: requests, waiting, conveniences.
local calls = require "cfpurge.call"
local core = require "cfpurge.core"
local loops = require "cfpurge.loop"
local names = require "cfpurge.names"
local requests = require "cfpurge.request"
local tables = require "cfpurge.tables"

---@class cfpurge.Client
local Client = {}
Client.__index = Client

--- Errors are of the kind `invalid_request`; a wrong type raises.
---@param options? cfpurge.Options
---@return cfpurge.Client?, cfpurge.Error?
local function new(options)
  local ok, handle, err = pcall(core.new, options)
  if not ok then
    calls.raise(handle, "new", 0, 3)
  end
  if not handle then
    return nil, err
  end
  local loop = options and rawget(options, "loop") or "auto"
  local problem = loops.check(loop)
  if not problem then
    -- Loaded now: when it is needed there may be no descriptor left.
    local is_there, raised = pcall(loops.pick, loop)
    problem = not is_there and tostring(raised):match "[^\n]*"
  end
  if problem then
    return nil, core.error("invalid_request", "loop: " .. problem, { field = "loop" })
  end
  local zone, zone_id = options and rawget(options, "zone"), options and rawget(options, "zone_id")
  if zone and zone_id then
    return nil, core.error("invalid_request", "zone: either zone or zone_id", { field = "zone" })
  end
  local path = not zone and handle:check { purge_everything = true }
  local self = setmetatable({
    core = handle, loop = loop, open = true,
    zone = zone, zone_id = path and path:match "^/zones/([^/]+)", zone_ids = {}, environment_ids = {},
    requests = {}, count = 0, driven = {}, failures = {}, raised = false, untold = false, telling = 0,
    -- What the server taught: items in a request, by kind.
    sizes = {},
  }, Client)
  -- What is in flight when the client is collected is reported too.
  handle:settle(function()
    for driving in tables.entries(self.driven) do
      if driving.closing then
        driving.closing()
      end
    end
    self.driven = {}
    -- Whoever waited would keep the client alive.
    for _, request in tables.entries(self.requests) do
      request.waiters = nil
    end
    self:settle()
  end)
  return self
end

-- Asks the current loop to step this client from now on, and returns it; false and a sentence where it cannot.
function Client:drive()
  local loop = loops.pick(self.loop)
  self.driven[loop] = true
  local can, problem = loop.drive(self)
  return can ~= false and loop, problem
end

-- Tells every loop that was asked to step this client that it need not any more.
function Client:undrive()
  local loop = next(self.driven)
  while loop and not self:active() do
    self.driven[loop] = nil
    loop.drive(self)
    loop = next(self.driven)
  end
end

-- What a callback raises waits until all that ended has been reported.
local function keep_failure(self, raised)
  self.failures[#self.failures + 1] = { raised }
end

function Client:call(callback, ...)
  if callback then
    local ok, raised = pcall(callback, ...)
    if not ok then
      keep_failure(self, raised)
    end
  end
end

-- What memory is too short for is taken up again by the next step: a request that ended stays in the list `untold`
-- until whoever waits for it is told. Nothing is made between the core's telling and that.
local function add_untold(self, request, result, err)
  request.value, request.failure = result, err
  request.next, self.untold = self.untold, request
end

-- Takes it off the list, and runs what is to run once; `handle` is a job's, which can go on where it was cut off.
local function tell(self, request)
  self.untold = request.next
  if not request.ended then
    if request.failure and calls.mend(self, request, request.failure) then
      return
    end
    request.ended = true
  end
  if request.handle then
    request.handle(request, request.value, request.failure)
  end
  local on_done = request.on_done
  if on_done then
    request.on_done = false
    on_done(request.value, request.failure)
  end
end

local function wake_all(self, request)
  for _, waiter in ipairs(request.waiters) do
    local wake = rawget(waiter, "wake")
    if wake then
      waiter.wake = false
      self:call(wake)
    end
  end
end

function Client:report()
  self.telling = self.telling + 1
  while self.untold do
    local request = self.untold
    local ok, raised = pcall(tell, self, request)
    if not ok and request.ended and request.on_done == false then
      -- Where there is no memory to keep it until the others have been told, it is raised at once.
      ok = pcall(keep_failure, self, raised)
    end
    if ok and request.ended and request.waiters then
      ok, raised = pcall(wake_all, self, request)
    end
    if not ok then
      self.telling = self.telling - 1
      if self.untold ~= request then
        request.next, self.untold = self.untold, request
      end
      error(raised, 0)
    end
  end
  self.telling = self.telling - 1
end

-- Ends a request and reports it, once.
function Client:complete(request, result, err)
  if not request.ended then
    request.ended = true
    add_untold(self, request, result, err)
    self:report()
  end
end

-- Takes every request that ended. All of them are reported before an error of an on_done is raised: as it is, or where
-- there are several, as their texts.
function Client:settle()
  local settled, before = false, #self.failures
  self:report()
  while true do
    local id, result, err = self.core:take()
    if not id then
      break
    end
    local request = self.requests[id]
    if request then
      settled = true
      self.requests[id] = nil
      self.count = self.count - 1
      add_untold(self, request, result, err)
      self:report()
    end
  end
  if settled then
    self:undrive()
  end
  self:raise_failures(before)
end

-- What an on_done calls raises only what has been added to the `before` that there were: the rest is not its doing, and
-- is raised by whoever reports.
function Client:raise_failures(before)
  local failures, first = self.failures, self.telling > 0 and before + 1 or 1
  local failure = failures[first]
  if failure then
    local texts = {}
    for i = first, #failures do
      texts[#texts + 1] = tostring(failures[i][1])
    end
    for i = #failures, first, -1 do
      failures[i] = nil
    end
    self.raised = texts[2] and table.concat(texts, "\n") or failure[1]
    error(self.raised, 0)
  end
end

--- Is anything in flight? What a loop's `drive` asks: it sees that `step` is called while this is true. It is called
--- when that becomes so and when it no longer is, and may be called at any other time.
---@return boolean
function Client:active()
  return self.open and self:in_flight() > 0
end

---@return integer requests
function Client:in_flight()
  return self.untold and self.count + 1 or self.count
end

-- ---- beginning ----

-- Notes what the core has started for `request`.
function Client:register(request, id)
  request.id = id
  self.requests[id] = request
  self.count = self.count + 1
end

-- Drops a request of the core without a report.
function Client:forget(request)
  if self.requests[request.id] then
    self.requests[request.id] = nil
    self.count = self.count - 1
    self.core:cancel(request.id)
    self.core:take(request.id)
  end
end

local function part_of(self, handle, ok, id, err)
  if not ok and id == "not enough memory" then
    error(id, 0)
  elseif not ok then
    -- A wrong type in what an iterator gave: nobody is there to raise it to.
    local field, problem = tostring(id):match "%(([^:]+): (.*)%)$"
    problem = (field or "params") .. ": " .. (problem or tostring(id))
    id, err = nil, core.error("invalid_request", problem, { field = field })
  end
  if not id then
    return nil, err
  end
  local part = requests.new(self)
  part.handle = handle
  self:register(part, id)
  return part
end

--- A request of a job, whose `handle(part, result, err)` is run until it does not raise. Errors of its input are
--- returned, never raised.
function Client:part(params, options, handle)
  return part_of(self, handle, pcall(self.core.start, self.core, params, options))
end

--- A GET of a job; its result is what the envelope holds.
function Client:fetch(path, options, handle)
  return part_of(self, handle, pcall(self.core.fetch, self.core, path, options))
end

-- ---- methods ----

--- Begins a purge and returns at once. `options.environment_id` picks an environment.
---@param params cfpurge.Params
---@param options? cfpurge.CallOptions
---@param on_done? fun(result?: cfpurge.Result, err?: cfpurge.Error) runs once, unless this returns an error
---@return cfpurge.Request?, cfpurge.Error?
function Client:start(params, options, on_done)
  if on_done ~= nil and type(on_done) ~= "function" then
    error("bad argument #3 to 'start' (on_done: function expected, got " .. type(on_done) .. ")", 2)
  end
  local request, err = calls.begin(self, "start", 1, params, options, nil, on_done)
  return request, err
end

---@param params cfpurge.Params
---@param options? cfpurge.CallOptions
---@return cfpurge.Result|cfpurge.Planned|nil, cfpurge.Error?
function Client:purge(params, options)
  return requests.finish(calls.begin(self, "purge", 1, params, options))
end

local function check_environment(name, environment_id)
  if type(environment_id) ~= "string" then
    error(("bad argument #1 to '%s' (environment_id: string expected, got %s)"):format(name, type(environment_id)), 3)
  end
end

---@param environment_id string
---@param params cfpurge.Params
---@param options? cfpurge.CallOptions
---@return cfpurge.Result?, cfpurge.Error?
function Client:purge_environment(environment_id, params, options)
  check_environment("purge_environment", environment_id)
  return requests.finish(calls.begin(self, "purge_environment", 0, params, options, environment_id))
end

-- The options of a call with `invalidate`, which makes what the cache holds stale instead of dropping it.
local function to_invalidate(options)
  if options ~= nil and type(options) ~= "table" then
    return options
  end
  local copy = tables.copy(options)
  if copy.invalidate == nil then
    copy.invalidate = true
  end
  return copy
end

--- A soft purge: what the cache holds becomes stale, and is revalidated when it is asked for.
---@param params cfpurge.Params
---@param options? cfpurge.CallOptions
---@return cfpurge.Result?, cfpurge.Error?
function Client:invalidate(params, options)
  return requests.finish(calls.begin(self, "invalidate", 1, params, to_invalidate(options)))
end

---@param environment_id string
---@param params cfpurge.Params
---@param options? cfpurge.CallOptions
---@return cfpurge.Result?, cfpurge.Error?
function Client:invalidate_environment(environment_id, params, options)
  check_environment("invalidate_environment", environment_id)
  return requests.finish(calls.begin(self, "invalidate_environment", 0, params, to_invalidate(options), environment_id))
end

-- The list first.
---@class cfpurge.Client
---@field purge_files cfpurge.Listed
---@field purge_tags cfpurge.Listed
---@field purge_hosts cfpurge.Listed
---@field purge_prefixes cfpurge.Listed
for _, kind in ipairs(calls.kinds) do
  local name = "purge_" .. kind
  Client[name] = function(self, list, options)
    if type(list) ~= "table" and type(list) ~= "function" then
      error(("bad argument #1 to '%s' (%s: table or function expected, got %s)"):format(name, kind, type(list)), 2)
    end
    return requests.finish(calls.begin(self, name, 1, { [kind] = list }, options))
  end
end

---@param options? cfpurge.CallOptions
---@return cfpurge.Result?, cfpurge.Error?
function Client:purge_everything(options)
  return requests.finish(calls.begin(self, "purge_everything", 2, { purge_everything = true }, options))
end

-- A wrong type among the options of a call, the argument `arg` of the method `name`.
local function check_options(self, name, arg, options)
  if options ~= nil and type(options) ~= "table" then
    error(("bad argument #%d to '%s' (table expected, got %s)"):format(arg, name, type(options)), 3)
  end
  local ok, raised = pcall(self.core.limits, self.core, "tags", options)
  if not ok then
    calls.raise(raised, name, 3 - arg, 4)
  end
end

-- Waits for a list that `list(done)` looks up.
local function listed(self, options, list)
  local request = requests.new(self, nil, options)
  list(request, function(found, err)
    self:complete(request, found, err)
  end)
  return requests.finish(request:drive())
end

--- The zones that the credential sees.
---@param options? cfpurge.CallOptions
---@return {id: string, name: string}[]?, cfpurge.Error?
function Client:zones(options)
  check_options(self, "zones", 1, options)
  return listed(self, options, function(request, done)
    names.zones(self, request, options, done)
  end)
end

--- The environments of a zone, the client's own by default.
---@param zone_id? string
---@param options? cfpurge.CallOptions
---@return {id: string, name: string}[]?, cfpurge.Error?
function Client:environments(zone_id, options)
  if zone_id ~= nil and type(zone_id) ~= "string" then
    error(("bad argument #1 to 'environments' (zone_id: string expected, got %s)"):format(type(zone_id)), 2)
  end
  check_options(self, "environments", 2, options)
  local wanted = names.wanted(self, { params = { zone_id = zone_id }, options = options })
  wanted.environment = nil
  if not wanted.zone then
    wanted.zone_id = wanted.zone_id or self.zone_id
  end
  local id = wanted.zone_id or (wanted.zone and "0") or ""
  if wanted.problem or #id > 32 or not id:match "^[%w_-]+$" then
    local problem = wanted.problem or "zone_id: must be 1 to 32 letters, digits, '_' or '-'"
    return nil, core.error("invalid_request", problem, { field = problem:match "^[%w_]+" })
  end
  return listed(self, options, function(request, done)
    names.resolve(self, request, wanted, options, function(found, _, err)
      if err then
        return done(nil, err)
      end
      names.environments(self, request, found, options, done)
    end)
  end)
end

--- Moves everything forward and runs the on_done of what ended; an error raised by one is raised here.
---@param timeout? number seconds to wait for something to happen; 0 not to wait, nil as long as it takes
---@return integer in_flight requests
function Client:step(timeout)
  -- Within an on_done, what has ended meanwhile is told of before anything is waited for.
  self.core:step((self.untold or (self.telling > 0 and self.core:timeout() == 0)) and 0 or timeout)
  self:settle()
  return self:in_flight()
end

--- A descriptor that is readable while `step` has work; nil where the system has no such thing. It is another one
--- after a fork.
---@return integer?
function Client:fileno()
  return self.core:fileno()
end

--- How long `step` may be put off.
---@return number? seconds nil where nothing is in flight
function Client:timeout()
  return self.untold and 0 or self.core:timeout()
end

---@return cfpurge.Stats
function Client:stats()
  return self.core:stats()
end

--- Ends what is in flight with an error of the kind `closed`, closes the connections and wipes the credentials.
function Client:close()
  self.open = false
  -- A loop must not watch a descriptor that is closed; what a host's own raises must not keep it open.
  local ok, raised = pcall(self.undrive, self)
  self.core:close()
  self:settle()
  if not ok then
    error(raised, 0)
  end
end

Client.__close = Client.close

function Client:__tostring()
  return tostring(self.core)
end

return { new = new }
