--- From a call to what is in flight: a short list is one request, a long one a job, names are looked up first.
--
-- A `call` is { params, options, environment_id, started }: as the caller made it, or with ids in place of names.
local completion = require "cfpurge.completion"
local core = require "cfpurge.core"
local loops = require "cfpurge.loop"
local names = require "cfpurge.names"
local plans = require "cfpurge.plans"
local requests = require "cfpurge.request"
local sizes = require "cfpurge.sizes"
local tables = require "cfpurge.tables"
local validate = require "cfpurge.validate"

-- One short list does not need it: init.lua loads it, or its first use; the command starts as fast as curl.
local function jobs()
  return require "cfpurge.bulk.job"
end

local M = {}

-- ---- a list that is one request ----

-- All of a list was one request, which failed: smaller ones go on with it, or all of it is one failure.
local function mend(request, _, err)
  local kind, items = validate.kind_of(err and err.remaining)
  if not kind then
    return false
  elseif jobs().adopt(request, kind, items, err, request.options) then
    return true
  end
  local cause = setmetatable(tables.copy(err), getmetatable(err))
  local places
  if request.asked and #request.asked > #items then
    places = jobs().places(request, kind, items)
  end
  err.failures = { { error = cause, items = items, at = 1, places = places } }
  err.requests, err.ids = 1, {}
  return false
end

-- The caller wants nothing but an answer: no dry run, no progress, no names.
local function is_plain(options)
  if options == nil then
    return true
  elseif type(options) ~= "table" then
    return false
  end
  options = tables.bare(options)
  return options.dry_run ~= true and options.on_progress == nil and options.zone == nil and options.environment == nil
end

-- May it be one request? The core knows how many items that holds, and the server may have taught us a smaller number.
local function is_short(state, params, options)
  if type(params) ~= "table" then
    return true
  end
  params = tables.bare(params)
  if params.zone ~= nil or params.environment ~= nil then
    return false
  end
  local kind, list = validate.kind_of(params)
  if type(list) == "function" then
    return false
  elseif type(list) == "table" and next(state.sizes) ~= nil then
    return tables.length(list) <= sizes.get(state, sizes.zone_of(params, options), kind, math.huge)
  end
  return true
end

-- Has a plan of the zone's own been read, where it is to be?
local function is_planned(state, params, options)
  if not state.plans then
    return true
  end
  local zone_id = tables.bare(params).zone_id or (options and tables.bare(options).zone_id) or state.zone_id
  return not plans.is_wanted(state, zone_id)
end

-- Where items are the same as others the list is kept, for the case that it is split.
local function keep_list(request, params)
  local _, list = validate.kind_of(params)
  request.asked = tables.slice(list, 1, math.huge)
end

-- Begins one request. Nil, what was raised, an error; neither where it is too long to be one.
local function start_one(state, params, options, environment_id, on_done)
  local request = requests.new(state, on_done, mend)
  if options then
    request.options = tables.snapshot(options)
  end
  local ok, id, err = pcall(state.core.start, state.core, params, options, environment_id)
  if not ok then
    return nil, id
  elseif id then
    completion.register(state, request, id)
    if err then
      pcall(keep_list, request, params)
    end
    return request
  end
  return nil, nil, not err.limit and err or nil
end

-- ---- jobs ----

-- The zone and the environment, which the parts of a job have in common.
local function base_of(call)
  local options, params = tables.bare(call.options or {}), tables.bare(call.params)
  return {
    zone_id = params.zone_id or options.zone_id,
    environment_id = call.environment_id or params.environment_id or options.environment_id,
  }
end

-- Begins what `call` asks for, with ids in place of names. False, what was raised, an error.
local function dispatch(request, call)
  local state, kind, list = request.state, validate.kind_of(call.params)
  local options = call.options
  if type(options) == "table" and rawget(options, "dry_run") == true then
    return require "cfpurge.dry_run"(request, kind, list, call)
  end
  local is_list = type(list) == "function" or type(list) == "table"
  local has_progress = type(options) == "table" and type(rawget(options, "on_progress")) == "function"
  if not is_list or (not has_progress and is_short(state, call.params, options)) then
    local ok, id, err = pcall(state.core.start, state.core, call.params, options, call.environment_id)
    if not ok then
      return false, id
    elseif id then
      request.handle, request.options = is_list and mend, options
      completion.register(state, request, id)
      if err then
        pcall(keep_list, request, call.params)
      end
      return true
    elseif not err.limit then
      return false, nil, err
    end
  end
  local limits, raised, err = validate.limits(state, kind, options, call.params.zone_id)
  if limits then
    local ok
    local size = sizes.get(state, base_of(call).zone_id, kind, limits.max_items)
    ok, raised, err = validate.list(state, call, kind, list, size, validate.FIRST)
    if ok then
      jobs().start(request, kind, validate.own(list), call, base_of(call), limits)
      return true
    end
  end
  return false, raised, err
end

-- ---- names ----

-- The call as it is to be sent: a copy without names, and with the ids that they stand for.
local function resolved(call, zone_id, environment_id)
  local params = tables.copy(call.params)
  params.zone, params.environment = nil, nil
  params.zone_id, params.environment_id = zone_id, environment_id
  return { params = params, options = call.options, started = call.started }
end

-- The options of a call for a request that is not the purge itself.
local function options_of_lookup(options)
  local copy = tables.copy(options)
  copy.environment_id, copy.on_progress, copy.dry_run = nil, nil, nil
  return copy
end

-- The faults of the rest of the call are found before names are looked up.
local function check_named(state, call, wanted)
  local stand_in = resolved(call, wanted.zone_id or "0", (wanted.environment_id or wanted.environment) and "0" or nil)
  local kind, list = validate.kind_of(stand_in.params)
  local size
  for _, options in ipairs { call.options or {}, { zone = wanted.zone, environment = wanted.environment } } do
    local limits, raised, err = validate.limits(state, kind or "tags", options)
    if not limits then
      return false, raised, err
    end
    size = size or limits.max_items
  end
  if kind and (type(list) == "function" or (type(list) == "table" and tables.length(list) > 0)) then
    return validate.list(state, stand_in, kind, list, size, validate.FIRST)
  end
  local ok, path, err = pcall(state.core.check, state.core, stand_in.params, call.options)
  return ok and path, not ok and path or nil, err
end

-- Ends a request whose call began nothing once its names were known.
local function end_refused(request, call, ok, raised, err)
  if not ok then
    err = err or core.error("invalid_request", tostring(raised))
    err.remaining = err.remaining or requests.asked(call)
    completion.complete(request.state, request, nil, err)
  end
end

local function begin_named(request, call, wanted)
  local state, kind, list = request.state, validate.kind_of(call.params)
  local right, wrong, refused = check_named(state, call, wanted)
  if not right then
    return false, wrong, refused
  elseif wanted.environment and not (wanted.zone_id or wanted.zone or state.zone_id) then
    return false, nil, core.error("invalid_request",
      "no zone_id: set CLOUDFLARE_ZONE_ID, or give it to new, with the call or in params", { field = "zone_id" })
  end
  if type(list) == "table" then
    call.params = tables.copy(call.params)
    call.params[kind] = validate.own(list)
  end
  local lookup_options = options_of_lookup(call.options)
  local ends = requests.ends(state, call.started, call.options)
  local function go(zone_id, environment_id, err)
    if request.ended then
      return
    elseif not jobs().is_job(request.job) then
      request.job, state.jobs[request] = nil, nil
    end
    local ok, raised
    if not err then
      local known = resolved(call, zone_id, environment_id)
      -- The time that looking up its names has left.
      known.options = requests.left(known.options, ends)
      request.on_failure = names.forgetting(state, wanted, zone_id)
      ok, raised, err = dispatch(request, known)
    end
    end_refused(request, call, ok, raised, err)
  end
  names.resolve(request, wanted, lookup_options, requests.ends(state, call.started, lookup_options),
    function(zone_id, environment_id, err)
      if err then
        return go(nil, nil, err)
      end
      plans.ask(request, zone_id or state.zone_id, lookup_options, function(ended)
        go(zone_id, environment_id, ended)
      end)
    end)
  return true
end

-- Each item goes to the zone that it belongs to.
local function begin_auto(request, call, wanted)
  local state = request.state
  local right, wrong, refused = check_named(state, call, wanted)
  local kind, list = validate.kind_of(call.params)
  if not right then
    return false, wrong, refused
  end
  refused = names.auto_problem(kind, wanted)
  if refused then
    return false, nil, refused
  end
  list = validate.own(list)
  local options = options_of_lookup(call.options)
  local ends = requests.ends(state, call.started, call.options)
  names.index(request, options, requests.ends(state, call.started, options), function(index, err)
    request.job, state.jobs[request] = nil, nil
    local ok, raised = not err, nil
    if ok then
      local known = resolved(call)
      known.options = requests.left(known.options, ends)
      request.on_failure = names.forgetting_index(state, index)
      local function limits_of(zone)
        if zone then
          plans.note(state, zone)
        end
        return (validate.limits(state, kind, known.options, zone and zone.id))
      end
      if rawget(known.options or {}, "dry_run") == true then
        ok, raised, err = require "cfpurge.dry_run"(request, kind, list, known, index, limits_of)
      else
        require "cfpurge.bulk.auto".start(request, kind, list, known, index, limits_of)
      end
    end
    end_refused(request, call, ok, raised, err)
  end)
  return true
end

-- A sentence where `zone` or `environment` is no string.
local function name_problem(call)
  for _, field in ipairs { "zone", "environment" } do
    local value = rawget(call.params, field)
    if value ~= nil and type(value) ~= "string" then
      return ("bad argument #2 to '' (%s: string expected, got %s)"):format(field, type(value))
    end
  end
end

-- ---- the calls ----

-- Begins a call that is not one plain request. Nil, what was raised, an error.
local function start_call(state, call, on_done)
  local request = requests.new(state, on_done)
  local params, options = call.params, call.options
  local ok, raised, err
  if type(params) ~= "table" or not (options == nil or type(options) == "table") then
    ok, raised, err = dispatch(request, call)
  else
    raised = name_problem(call)
    local wanted = not raised and names.wanted(state, call)
    if wanted and wanted.problem then
      err = core.error("invalid_request", wanted.problem, { field = wanted.problem:match "^%w+" })
    elseif wanted and wanted.zone == "auto" then
      ok, raised, err = begin_auto(request, call, wanted)
    elseif wanted and (wanted.zone or wanted.environment
      or plans.is_wanted(state, wanted.zone_id or state.zone_id)) then
      ok, raised, err = begin_named(request, call, wanted)
    elseif wanted then
      ok, raised, err = dispatch(request, call)
    end
  end
  if ok then
    return request
  end
  return nil, raised, err
end

-- A request that a loop steps from now on; nil and an error; or nil, nil and what was raised.
local function begin(state, params, options, environment_id, on_done)
  local before = #state.failures
  local call, request, raised, err
  if not state.zone and is_plain(options) and is_short(state, params, options) and type(params) == "table"
    and is_planned(state, params, options) then
    request, raised, err = start_one(state, params, options, environment_id, on_done)
  end
  if not (request or raised or err) then
    call = {
      params = params, options = tables.snapshot(options), environment_id = environment_id, started = core.now(),
    }
    request, raised, err = start_call(state, call, on_done)
  end
  call = call or { params = params, options = options, environment_id = environment_id }
  if raised then
    return nil, nil, raised
  elseif not request then
    err.remaining = err.remaining or requests.asked(call)
    return nil, err
  end
  local driven, loop = requests.drive(request, call, before)
  if not driven then
    return nil, loop
  end
  return request, nil, nil, loop, call
end

--- Begins a purge. `name` is the function that the caller called, `shift` how much further right the core has its
--- params.
---@return cfpurge.Request?, cfpurge.Error?
function M.start(state, name, shift, params, options, environment_id, on_done)
  local request, err, raised = begin(state, params, options, environment_id, on_done)
  if raised then
    validate.raise(raised, name, shift, 4)
  end
  return request, err
end

-- Nothing else is in flight in a host that blocks, and nobody watches: the core does all of it in one call. Nil where
-- nothing began: the core refuses what is not one request, and the fault, or that it is not the core's to do, is found
-- once more by `begin`.
local function perform_in_core(state, params, options)
  local ok, result, err = pcall(state.core.purge, state.core, params, options)
  if ok and result then
    return result
  elseif not ok then
    return nil, nil, not tostring(result):find "^bad argument" and result or nil
  elseif err.attempts == 0 and not err.elapsed then
    return nil
  end
  local request = requests.new(state)
  request.options = tables.snapshot(options)
  if validate.kind_of(params) then
    keep_list(request, params)
  end
  if mend(request, nil, err) then
    return requests.finish(request, loops.drive(state), { params = params, options = options })
  end
  return nil, err
end

--- Purges, and waits for the answer.
---@return cfpurge.Result?, cfpurge.Error?
function M.perform(state, name, shift, params, options, environment_id)
  local result, err, raised, request, loop, call
  if state.count == 0 and not (state.zone or state.has_events or environment_id) and is_plain(options)
    and next(state.sizes) == nil and not state.plans and loops.pick(state.loop).blocks then
    result, err, raised = perform_in_core(state, params, options)
    if result then
      return result
    end
  end
  if not (err or raised) then
    request, err, raised, loop, call = begin(state, params, options, environment_id)
  end
  if raised then
    validate.raise(raised, name, shift, 4)
  elseif request then
    return requests.finish(request, loop, call)
  end
  return result, err
end

return M
