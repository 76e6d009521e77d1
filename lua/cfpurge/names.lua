--- The ids that names of zones and environments stand for: looked up once, kept by the client.
local core = require "cfpurge.core"
local plans = require "cfpurge.plans"
local zones = require "cfpurge.zones"

-- After so many seconds a zone that is not among those known may be a new one.
local RENEW = 60

local M = {}

--- Is the zone a name, or found by each item's host? Anything else is an id.
function M.is_name(zone)
  return zone == "auto" or zone:find(".", 1, true) ~= nil
end

--- The ids of a call that are known, and what is left to look up: `zone` and `environment` are names, or nil; a
--- `problem` where one place gives both.
function M.wanted(state, call)
  local params, options = call.params, call.options or {}
  local wanted = { zone_id = rawget(params, "zone_id"), zone = rawget(params, "zone") }
  for _, place in ipairs { params, options } do
    for _, name in ipairs { "zone", "environment" } do
      if rawget(place, name) ~= nil and rawget(place, name .. "_id") ~= nil then
        wanted.problem = ("%s: either %s or %s_id"):format(name, name, name)
      end
    end
  end
  if not (wanted.zone_id or wanted.zone) then
    wanted.zone_id, wanted.zone = rawget(options, "zone_id"), rawget(options, "zone")
  end
  if not (wanted.zone_id or wanted.zone) then
    wanted.zone = state.zone
  end
  wanted.environment_id = call.environment_id or rawget(params, "environment_id")
  wanted.environment = not wanted.environment_id and rawget(params, "environment") or nil
  if not (wanted.environment_id or wanted.environment) then
    wanted.environment_id, wanted.environment = rawget(options, "environment_id"), rawget(options, "environment")
  end
  if type(wanted.zone) == "string" then
    local plain = zones.plain(wanted.zone)
    wanted.problem = wanted.problem or not plain
      and ("zone: this libcurl cannot write '%s' in ASCII: give its A-label (xn--...)"):format(wanted.zone) or nil
    wanted.zone = plain or wanted.zone
  end
  return wanted
end

--- What cannot be sorted by zone, as an error.
---@return cfpurge.Error?
function M.auto_problem(kind, wanted)
  local field, problem
  if kind ~= "files" and kind ~= "hosts" and kind ~= "prefixes" then
    field, problem = "zone", "'auto' goes by the hosts of files, hosts and prefixes: name the zone of anything else"
  elseif wanted.environment or wanted.environment_id then
    field, problem = "environment", "belongs to one zone, and 'auto' may find several: name the zone"
  end
  return field and core.error("invalid_request", field .. ": " .. problem, { field = field })
end

-- The entries of a list that have this name, or where none has, this id: the command takes an id for a name where it
-- does not look like one.
local function named(list, name, field)
  for _, key in ipairs { "name", "id" } do
    local found = {}
    for _, entry in ipairs(list) do
      local is_named = entry[key] == name or (field == "zone" and key == "name" and zones.plain(entry.name) == name)
      -- Pages move where a zone is made meanwhile: one may stand on two of them.
      if is_named and not (found[1] and found[#found].id == entry.id) then
        found[#found + 1] = entry
      end
    end
    if found[1] then
      return found
    end
  end
  return {}
end

-- "id (active, account Acme)"
local function describe(zone)
  local account = zone.account
  return ("%s (%s%s)"):format(zone.id, zone.status or "of no status",
    account and ", account " .. (account.name or account.id) or "")
end

-- Of several zones of one name the only active one.
local function entry_named(list, name, field)
  local found, active, texts = named(list, name, field), {}, {}
  if not found[1] then
    local problem = ("%s: the credential sees none named '%s'"):format(field, name)
    return nil, core.error("not_found", problem, { field = field })
  end
  for _, entry in ipairs(found) do
    texts[#texts + 1] = field == "zone" and describe(entry) or entry.id
    active[#active + 1] = entry.status == "active" and entry or nil
  end
  if found[2] and #active ~= 1 then
    local problem = ("%s: '%s' stands for %d of them, give the id of one: %s"):format(field, name, #found,
      table.concat(texts, ", "))
    return nil, core.error("invalid_request", problem, { field = field })
  end
  return active[1] or found[1]
end

--- Turns names into ids, without a request where they are known, and calls `done(zone_id, environment_id)` or
--- `done(nil, nil, err)`.
function M.resolve(request, wanted, options, ends, done)
  local state = request.state
  -- `ids` learns what the list says of `what`, and all goes on from the start.
  local function learned(ids, what)
    return function(list, err)
      if list then
        local entry
        entry, err = entry_named(list, wanted[what], what)
        if entry then
          ids[wanted[what]] = entry.id
          plans.note(state, entry)
        end
      end
      if err then
        return done(nil, nil, err)
      end
      M.resolve(request, wanted, options, ends, done)
    end
  end
  local zone_id, environment_id = wanted.zone_id, wanted.environment_id
  if not zone_id and wanted.zone then
    zone_id = state.zone_ids[wanted.zone]
    if not zone_id then
      return zones.zones(request, wanted.zone, options, ends, learned(state.zone_ids, "zone"))
    end
  end
  if not environment_id and wanted.environment then
    local of_zone = zone_id or state.zone_id
    local known = state.environment_ids[of_zone] or {}
    state.environment_ids[of_zone] = known
    environment_id = known[wanted.environment]
    if not environment_id then
      return zones.environments(request, of_zone, options, ends, learned(known, "environment"))
    end
  end
  done(zone_id, environment_id)
end

local function is_denied(err)
  return err.about == "zone" or err.kind == "not_found" or err.kind == "permission_denied"
end

--- Forgets the ids of names that the API denies: the next call looks them up again. The zone may have moved, or have
--- been made anew.
---@param wanted table
---@return fun(err: cfpurge.Error)
function M.forgetting(state, wanted, zone_id)
  local environments = state.environment_ids[zone_id or state.zone_id] or {}
  return function(err)
    local denied = is_denied(err)
    for _, failure in ipairs(err.failures or {}) do
      denied = denied or is_denied(failure.error)
    end
    if denied and wanted.zone then
      state.zone_ids[wanted.zone] = nil
    end
    if denied and wanted.environment then
      environments[wanted.environment] = nil
    end
  end
end

--- The zones that the credential sees, by name, without a request where they are known.
---@param done fun(index?: table, err?: cfpurge.Error)
function M.index(request, options, ends, done)
  local state = request.state
  -- Another credential sees other zones.
  local is_own = options.api_token or options.api_email or options.api_key or options.base_url
  if state.zone_index and not is_own then
    return done(state.zone_index)
  end
  zones.index(request, options, ends, function(index, err)
    if index then
      index.made = core.now()
      state.zone_index = not is_own and index or state.zone_index
    end
    done(index, err)
  end)
end

--- Forgets the zones where the API denies one, or where one is not among them that may be new: no zone has the item, or
--- the one above it refuses it.
---@return fun(err: cfpurge.Error)
function M.forgetting_index(state, index)
  return function(err)
    local is_old = core.now() - index.made > RENEW
    for _, failure in ipairs(err.failures or {}) do
      local cause = failure.error
      if (is_denied(cause) and cause.attempts > 0) or (is_old and (is_denied(cause) or cause.about == "item")) then
        state.zone_index = nil
      end
    end
  end
end

return M
