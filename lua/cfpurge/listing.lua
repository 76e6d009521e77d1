--- The lists that a caller asks for, of zones and of the environments of one: the call is checked, and looked up.
local core = require "cfpurge.core"
local names = require "cfpurge.names"
local requests = require "cfpurge.request"
local tables = require "cfpurge.tables"
local validate = require "cfpurge.validate"
local zones = require "cfpurge.zones"

local M = {}

-- The fault of the zone whose environments are wanted, if any; the client's own is filled in.
local function zone_problem(state, wanted)
  wanted.environment = nil
  if not wanted.zone then
    wanted.zone_id = wanted.zone_id or state.zone_id
  end
  local id = wanted.zone_id or (wanted.zone and "0") or ""
  if wanted.zone == "auto" then
    return "zone: 'auto' has no environments: give the zone's name or id"
  elseif not wanted.problem and (#id > 32 or not id:match "^[%w_-]+$") then
    return "zone_id: must be 1 to 32 letters, digits, '_' or '-'"
  end
  return wanted.problem
end

-- The environments of the zone, whose name is looked up first where it has one.
local function environments(request, wanted, options, ends, done)
  names.resolve(request, wanted, options, ends, function(zone_id, _, err)
    if err then
      return done(nil, err)
    end
    zones.environments(request, zone_id, options, ends, done)
  end)
end

--- What looks zones up, for look_up. `name` is the method that was called.
---@return function job
function M.zones(state, name, options)
  local started = core.now()
  validate.options(state, name, 1, options, 1)
  options = tables.snapshot(options)
  return function(request, done)
    zones.zones(request, nil, options, requests.ends(state, started, options), done)
  end
end

--- The same for the environments of a zone.
---@return function? job, cfpurge.Error?
function M.environments(state, name, zone_id, options)
  if zone_id ~= nil and type(zone_id) ~= "string" then
    error(("bad argument #1 to '%s' (zone_id: string expected, got %s)"):format(name, type(zone_id)), 3)
  end
  local started = core.now()
  validate.options(state, name, 2, options, 1)
  options = tables.snapshot(options)
  local wanted = names.wanted(state, { params = { zone_id = zone_id }, options = options })
  local problem = zone_problem(state, wanted)
  if problem then
    return nil, core.error("invalid_request", problem, { field = problem:match "^[%w_]+" })
  end
  return function(request, done)
    environments(request, wanted, options, requests.ends(state, started, options), done)
  end
end

return M
