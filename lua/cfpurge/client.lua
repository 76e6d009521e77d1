--- A client: the methods that its user calls.
local begin = require "cfpurge.begin"
local completion = require "cfpurge.completion"
local core = require "cfpurge.core"
local drain = require "cfpurge.drain"
local figures = require "cfpurge.figures"
local listing = require "cfpurge.listing"
local look_up = require "cfpurge.look_up"
local loops = require "cfpurge.loop"
local make = require "cfpurge.making"
local metrics = require "cfpurge.metrics"
local tables = require "cfpurge.tables"
local validate = require "cfpurge.validate"

---@class cfpurge.Client
local Client = {}
Client.__index = Client

-- Where a client has what it is inside: no name, so that nothing but methods is to be found in it.
local STATE = {}

-- Raises in the name of the method `name`, at its caller's line, where a dot stands in place of the colon.
local function inside(self, name)
  local state = type(self) == "table" and self[STATE]
  if not state then
    error(("bad argument #1 to '%s' (cfpurge client expected)"):format(name), 3)
  end
  return state
end

-- ---- purging ----

--- Purges, and waits for the answer.
---@param params cfpurge.Params
---@param options? cfpurge.CallOptions
---@return cfpurge.Result?, cfpurge.Error?
---@overload fun(self, params: cfpurge.Params, options: {dry_run: true}): cfpurge.Planned?, cfpurge.Error?
function Client:purge(params, options)
  local result, err = begin.perform(inside(self, "purge"), "purge", 1, params, options)
  return result, err
end

local function check_environment(name, environment_id)
  if type(environment_id) ~= "string" then
    error(("bad argument #1 to '%s' (environment_id: string expected, got %s)"):format(name, type(environment_id)), 3)
  end
end

--- The same in one environment of the zone.
---@param environment_id string
---@param params cfpurge.Params
---@param options? cfpurge.CallOptions
---@return cfpurge.Result?, cfpurge.Error?
---@overload fun(self, id: string, params: cfpurge.Params, options: {dry_run: true}): cfpurge.Planned?, cfpurge.Error?
function Client:purge_environment(environment_id, params, options)
  local state = inside(self, "purge_environment")
  check_environment("purge_environment", environment_id)
  local result, err = begin.perform(state, "purge_environment", 0, params, options, environment_id)
  return result, err
end

-- The options of a call with `invalidate`, which makes the pages in the cache stale and does not drop them.
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

--- A soft purge: pages in the cache become stale, and are revalidated when they are asked for.
---@param params cfpurge.Params
---@param options? cfpurge.CallOptions
---@return cfpurge.Result?, cfpurge.Error?
---@overload fun(self, params: cfpurge.Params, options: {dry_run: true}): cfpurge.Planned?, cfpurge.Error?
function Client:invalidate(params, options)
  local result, err = begin.perform(inside(self, "invalidate"), "invalidate", 1, params, to_invalidate(options))
  return result, err
end

--- The same in one environment of the zone.
---@param environment_id string
---@param params cfpurge.Params
---@param options? cfpurge.CallOptions
---@return cfpurge.Result?, cfpurge.Error?
---@overload fun(self, id: string, params: cfpurge.Params, options: {dry_run: true}): cfpurge.Planned?, cfpurge.Error?
function Client:invalidate_environment(environment_id, params, options)
  local state = inside(self, "invalidate_environment")
  check_environment("invalidate_environment", environment_id)
  local result, err = begin.perform(state, "invalidate_environment", 0, params, to_invalidate(options),
    environment_id)
  return result, err
end

-- The list first.
---@class cfpurge.Client
---@field purge_files fun(self, list: cfpurge.Files, options?: cfpurge.CallOptions): cfpurge.Result?, cfpurge.Error?
---@field purge_tags fun(self, list: cfpurge.Texts, options?: cfpurge.CallOptions): cfpurge.Result?, cfpurge.Error?
---@field purge_hosts fun(self, list: cfpurge.Texts, options?: cfpurge.CallOptions): cfpurge.Result?, cfpurge.Error?
---@field purge_prefixes fun(self, list: cfpurge.Texts, options?: cfpurge.CallOptions): cfpurge.Result?, cfpurge.Error?
for _, kind in ipairs(core.kinds) do
  local name = "purge_" .. kind
  Client[name] = function(self, list, options)
    local state = inside(self, name)
    if type(list) ~= "table" and type(list) ~= "function" then
      error(("bad argument #1 to '%s' (%s: table or function expected, got %s)"):format(name, kind, type(list)), 2)
    end
    local result, err = begin.perform(state, name, 1, { [kind] = list }, options)
    return result, err
  end
end

--- Purges all that the zone, or the environment of the options, has in the cache.
---@param options? cfpurge.CallOptions
---@return cfpurge.Result?, cfpurge.Error?
---@overload fun(self, options: {dry_run: true}): cfpurge.Planned?, cfpurge.Error?
function Client:purge_everything(options)
  local state = inside(self, "purge_everything")
  local result, err = begin.perform(state, "purge_everything", 2, { purge_everything = true }, options)
  return result, err
end

--- Begins a purge and returns at once. `options.environment_id` picks an environment.
---@param params cfpurge.Params
---@param options? cfpurge.CallOptions
---@param on_done? cfpurge.OnDone runs once, unless this returns an error
---@return cfpurge.Request?, cfpurge.Error?
---@overload fun(self, params: cfpurge.Params, on_done: cfpurge.OnDone): cfpurge.Request?, cfpurge.Error?
function Client:start(params, options, on_done)
  local state = inside(self, "start")
  options, on_done = validate.options_and_done("start", 2, options, on_done)
  local request, err = begin.start(state, "start", 1, params, options, nil, on_done)
  return request, err
end

-- ---- names ----

--- The zones that the credential sees.
---@param options? cfpurge.CallOptions
---@return cfpurge.Zone[]?, cfpurge.Error?
function Client:zones(options)
  local state = inside(self, "zones")
  local found, err = look_up.wait(state, options, listing.zones(state, "zones", options))
  return found, err
end

--- The environments of a zone, the client's own by default.
---@param zone_id? string
---@param options? cfpurge.CallOptions
---@return cfpurge.Environment[]?, cfpurge.Error?
function Client:environments(zone_id, options)
  local state = inside(self, "environments")
  local job, err = listing.environments(state, "environments", zone_id, options)
  if not job then
    return nil, err
  end
  local found
  found, err = look_up.wait(state, options, job)
  return found, err
end

--- Begins to ask for the zones and returns at once.
---@param options? cfpurge.CallOptions
---@param on_done? cfpurge.OnZones runs once, unless this returns an error
---@return cfpurge.Request?, cfpurge.Error?
---@overload fun(self, on_done: cfpurge.OnZones): cfpurge.Request?, cfpurge.Error?
function Client:start_zones(options, on_done)
  local state = inside(self, "start_zones")
  options, on_done = validate.options_and_done("start_zones", 1, options, on_done)
  local request, err = look_up.start(state, options, listing.zones(state, "start_zones", options), on_done)
  return request, not request and err or nil
end

--- Begins to ask for the environments of a zone and returns at once.
---@param zone_id? string the client's own by default
---@param options? cfpurge.CallOptions
---@param on_done? cfpurge.OnEnvironments runs once, unless this returns an error
---@return cfpurge.Request?, cfpurge.Error?
---@overload fun(self, zone_id?: string, on_done: cfpurge.OnEnvironments): cfpurge.Request?, cfpurge.Error?
function Client:start_environments(zone_id, options, on_done)
  local state = inside(self, "start_environments")
  options, on_done = validate.options_and_done("start_environments", 2, options, on_done)
  local job, err = listing.environments(state, "start_environments", zone_id, options)
  local request
  if job then
    request, err = look_up.start(state, options, job, on_done)
  end
  return request, not request and err or nil
end

-- ---- moving and ending ----

--- Moves everything forward and runs the on_done of what ended; an error raised by one is raised here. It works for
--- some milliseconds at most, and leaves the rest to the next step.
---@param timeout? number seconds to wait for something to happen; 0 not to wait, nil as long as it takes
---@return integer in_flight requests
function Client:step(timeout)
  local state = inside(self, "step")
  completion.step(state, timeout)
  return completion.in_flight(state)
end

--- Is anything in flight? A loop's `drive` asks this, and sees that `step` is called while it is true. `drive` is
--- called when that becomes so and when it no longer is, and may be called at any other time.
---@return boolean
function Client:active()
  return loops.is_active(inside(self, "active"))
end

---@return integer requests that have not ended, or whose end was not told yet
function Client:in_flight()
  return completion.in_flight(inside(self, "in_flight"))
end

--- A descriptor that is readable while `step` has work; nil where the system has no such thing. It is another one
--- after a fork.
---@return integer?
function Client:fileno()
  return inside(self, "fileno").core:fileno()
end

--- How long `step` may be put off.
---@return number? seconds nil where nothing is in flight
function Client:timeout()
  return completion.timeout(inside(self, "timeout"))
end

---@return cfpurge.Stats
function Client:stats()
  return inside(self, "stats").core:stats()
end

--- What it has done in this process, as Prometheus' text. It never waits.
---@param labels? table<string, string|number> that all samples are to have
---@return string? text, cfpurge.Error?
function Client:metrics(labels)
  local state = inside(self, "metrics")
  local page, err = metrics.page(labels, 1, "labels")
  if not page then
    return nil, err
  end
  figures(page, state.core)
  return page:text()
end

--- Ends all that is in flight with an error of the kind `cancelled`; an answer that is there still counts.
---@return cfpurge.Error[] cancelled an error for each, with what remains of it
function Client:cancel()
  return completion.cancel_everything(inside(self, "cancel"))
end

--- Waits until nothing is in flight, and cancels what is left when the time is up: afterwards nothing is.
---@param seconds? number the client's exit_grace by default
---@return cfpurge.Error[]? cancelled an error for each purge that was cut off, with what remains of it; {} for none
---@return cfpurge.Error? err why it cannot wait here; then all goes on
function Client:drain(seconds)
  local state = inside(self, "drain")
  if seconds ~= nil and type(seconds) ~= "number" then
    error(("bad argument #1 to 'drain' (seconds: number expected, got %s)"):format(type(seconds)), 2)
  elseif seconds and (seconds < 0 or seconds ~= seconds) then
    return nil, core.error("invalid_request", "seconds: must be at least 0", { field = "seconds" })
  end
  local cancelled, err = drain(state, seconds or state.exit_grace)
  return cancelled, err
end

--- Ends what is in flight with an error of the kind `closed`, closes the connections and wipes the credentials.
function Client:close()
  completion.close(inside(self, "close"), "the client was closed")
end

Client.__close = Client.close

function Client:__tostring()
  return tostring(self[STATE].core)
end

-- ---- making one ----

--- Errors are of the kind `invalid_request`; a wrong type raises. `assert` shows no error but a string in Lua 5.1, 5.2
--- and nginx: the error's text comes before it.
---@param options? cfpurge.Options
---@return cfpurge.Client?, string? message, cfpurge.Error?
local function new(options)
  local state, message, err = make(options)
  if not state then
    return nil, message, err
  end
  state.client = setmetatable({ [STATE] = state }, Client)
  return state.client
end

loops.hold_in(Client)

return {
  new = new,

  --- What is inside a client, for the queue; nil of anything else.
  state = function(client)
    return type(client) == "table" and getmetatable(client) == Client and client[STATE] or nil
  end,
}
