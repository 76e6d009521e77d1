--- From a call of a method to what is in flight: names to ids, short lists to one request, long ones to a job.
local core = require "cfpurge.core"
local names = require "cfpurge.names"
local requests = require "cfpurge.request"
local tables = require "cfpurge.tables"

-- What one short list does not need is loaded by init.lua, or when it is needed: the command starts as fast as curl.
local function bulk()
  return require "cfpurge.bulk"
end

-- Nobody's metamethods are run: a table that has some is copied.
local function bare(value)
  return type(value) == "table" and getmetatable(value) ~= nil and tables.copy(value) or value
end

local M = { kinds = { "files", "tags", "hosts", "prefixes" } }

-- Raises what the core raised, in the name of the function that the caller called and at the caller's line. `shift` is
-- how much further right the core has the argument.
function M.raise(raised, name, shift, level)
  local number, detail = tostring(raised):match "^bad argument #(%d) to '[^']*' (.*)$"
  if number then
    raised = ("bad argument #%d to '%s' %s"):format(number - shift, name, detail)
  end
  error(raised, level)
end

local function kind_of(params)
  local kinds = M.kinds
  for i = 1, type(params) == "table" and #kinds or 0 do
    local list = rawget(params, kinds[i])
    if list ~= nil then
      return kinds[i], bare(list)
    end
  end
end

-- The call as it is to be sent: a copy without names, and with the ids that they stand for.
local function resolved(call, zone_id, environment_id)
  local params = tables.copy(call.params)
  params.zone, params.environment = nil, nil
  params.zone_id, params.environment_id = zone_id, environment_id
  return { params = params, options = call.options, started = call.started }
end

-- What the parts of a job have in common with the call.
local function base_of(call)
  local options, params = bare(call.options or {}), bare(call.params)
  return {
    zone_id = params.zone_id or options.zone_id,
    environment_id = call.environment_id or params.environment_id or options.environment_id,
  }
end

-- An item that is right: to check what stands beside an iterator.
local stand_ins = { files = "https://a.example/", tags = "a", hosts = "a.example", prefixes = "a.example/a" }

-- A hole or a name among the keys must not hide what stands behind it.
local function key_problem(kind, list)
  local keys = 0
  for _ in tables.entries(list) do
    keys = keys + 1
  end
  if keys ~= #list then
    local field, problem = kind, "is not a list: it has keys that are not 1 to " .. #list
    for i = 1, #list do
      if list[i] == nil then
        field, problem = ("%s[%d]"):format(kind, i), "the list has a hole here"
        break
      end
    end
    return core.error("invalid_request", field .. ": " .. problem, { field = field })
  end
end

-- The path and the body of a request of these items, of which the first is the list's item `first`, and how many it
-- holds; or nil, what was raised, an error. Both name an item by its place in the list.
local function check_items(self, call, kind, items, first)
  local params = call.params
  if kind then
    params = tables.copy(params)
    params[kind] = items
  end
  local function shifted(text)
    return (text:gsub("^([^%[]*)%[(%d+)%]", function(before, place)
      return ("%s[%d]"):format(before, place + first - 1)
    end))
  end
  local ok, path, body, count = pcall(self.core.check, self.core, params, call.options, call.environment_id)
  if not ok then
    return nil, shifted(path)
  elseif not path then
    local err = body
    err.message, err.field = shifted(err.message), err.field and shifted(err.field)
    err.remaining = requests.asked(call)
    return nil, nil, err
  end
  return path, body, count
end

-- The whole list checked before anything of it is sent.
local function check_list(self, call, kind, list, size)
  if type(list) == "function" then
    list = { stand_ins[kind] }
  else
    local err = key_problem(kind, list)
    if err then
      err.remaining = requests.asked(call)
      return nil, nil, err
    end
  end
  for first = 1, #list, size do
    local path, raised, err = check_items(self, call, kind, tables.slice(list, first, first + size - 1), first)
    if not path then
      return nil, raised, err
    end
  end
  return true
end

-- Without the items that are the same to the API.
local function distinct(self, kind, list)
  local seen, items = {}, {}
  for _, item in ipairs(list) do
    -- None where memory ran out: it may then be sent twice.
    local key = self.core:key(kind, item) or item
    if not seen[key] then
      seen[key] = true
      items[#items + 1] = item
    end
  end
  return items
end

-- What is to be sent of `list`, in requests of at most `size` items; or nil, what was raised, an error.
local function checked(self, call, kind, list, size)
  local ok, raised, err = check_list(self, call, kind, list, size)
  if not ok then
    return nil, raised, err
  end
  return type(list) == "table" and distinct(self, kind, list) or list
end

-- Begins what `call` asks for, with ids in place of names. False, what was raised, or an error.
local function dispatch(self, request, call)
  local params, options = call.params, call.options
  if call ~= request then
    -- What looking up its names has left.
    options = requests.left(options, requests.ends(request, options))
  end
  local kind, list = kind_of(params)
  local size = kind and self.sizes[kind]
  if type(options) == "table" then
    if rawget(options, "dry_run") == true then
      return require "cfpurge.plan"(self, request, kind, list, call, checked, check_items)
    elseif type(rawget(options, "on_progress")) == "function" then
      -- Whoever wants to hear of the progress of a short one gets a job as well.
      size = 0
    end
  end
  if type(list) ~= "function" and not (size and type(list) == "table" and #list > size) then
    local ok, id, err = pcall(self.core.start, self.core, params, options, call.environment_id)
    if not ok then
      return false, id
    elseif id then
      request.kind = kind
      self:register(request, id)
      return true
    elseif not err.limit then
      return false, nil, err
    end
  end
  return bulk().start(self, request, kind, list, call, base_of(call), checked)
end

-- The options of a call for a request that is not the purge itself.
local function plain(options)
  local copy = tables.copy(options)
  copy.environment_id, copy.on_progress, copy.dry_run = nil, nil, nil
  return copy
end

-- Names first. What is wrong with the rest of the call is found before they are looked up.
local function check_named(self, call, wanted)
  local stand_in = resolved(call, wanted.zone_id or "0", (wanted.environment_id or wanted.environment) and "0" or nil)
  local kind, list = kind_of(stand_in.params)
  local size
  for _, options in ipairs { call.options or {}, { zone = wanted.zone, environment = wanted.environment } } do
    local ok, found, err = pcall(self.core.limits, self.core, kind or "tags", options)
    if not (ok and found) then
      return false, not ok and found or nil, ok and err or nil
    end
    size = size or found
  end
  if kind and (type(list) == "function" or (type(list) == "table" and #list > 0)) then
    return check_list(self, stand_in, kind, list, size)
  end
  local called, path, problem = pcall(self.core.check, self.core, stand_in.params, call.options)
  return called and path, not called and path or nil, problem
end

local function begin_named(self, request, call, wanted)
  local right, wrong, refused = check_named(self, call, wanted)
  if not right then
    if refused then
      refused.remaining = requests.asked(call)
    end
    return false, wrong, refused
  end
  if wanted.environment and not (wanted.zone_id or wanted.zone or self.zone_id) then
    return false, nil, core.error("invalid_request", "no zone_id: give it to new, with the call or in params",
      { field = "zone_id", remaining = requests.asked(call) })
  end
  names.resolve(self, request, wanted, plain(call.options), function(zone_id, environment_id, err)
    if not bulk().is_job(request.job) then
      request.job = nil
    end
    local ok, raised
    if not err then
      request.call = resolved(call, zone_id, environment_id)
      ok, raised, err = dispatch(self, request, request.call)
    end
    if not ok then
      err = err or core.error("invalid_request", tostring(raised))
      err.remaining = err.remaining or requests.asked(call)
      self:complete(request, nil, err)
    end
  end)
  return true
end

local function check_name(name, shift, params, field)
  local value = rawget(params, field)
  if value ~= nil and type(value) ~= "string" then
    error(("bad argument #%d to '%s' (%s: string expected, got %s)"):format(2 - shift, name, field, type(value)), 5)
  end
  return value
end

local function begin_wanted(self, request, name, shift)
  local params, options = request.params, request.options
  local zone, environment = check_name(name, shift, params, "zone"), check_name(name, shift, params, "environment")
  if options then
    zone, environment = zone or rawget(options, "zone"), environment or rawget(options, "environment")
  end
  -- Nearly every call has ids.
  if not (zone or environment or self.zone) then
    return dispatch(self, request, request)
  end
  local wanted = names.wanted(self, request)
  if wanted.problem then
    return false, nil, core.error("invalid_request", wanted.problem,
      { field = wanted.problem:match "^%w+", remaining = requests.asked(request) })
  elseif wanted.zone or wanted.environment then
    return begin_named(self, request, request, wanted)
  end
  return dispatch(self, request, request)
end

-- `name` is the function that the caller called, `shift` how much further right the core has its params.
function M.begin(self, name, shift, params, options, environment_id, on_done)
  local before = #self.failures
  local request = requests.new(self, params, options, environment_id, on_done)
  local ok, raised, err
  if type(params) == "table" and (options == nil or type(options) == "table") then
    ok, raised, err = begin_wanted(self, request, name, shift)
  else
    ok, raised, err = dispatch(self, request, request)
  end
  if raised then
    M.raise(raised, name, shift, 4)
  elseif not ok then
    err.remaining = err.remaining or requests.asked(request)
    return nil, err
  end
  request, err = request:drive()
  if request then
    self:raise_failures(before)
  end
  return request, err
end

--- Goes on with a single request that failed, where smaller ones may do better. False: they may not, and all of its
--- list is one failure.
function M.mend(self, request, err)
  local kind, remaining = request.kind, err.remaining
  local items = kind and remaining and remaining[kind]
  if not items then
    return false
  elseif bulk().adopt(self, request, kind, items, err) then
    return true
  end
  local cause = tables.copy(err)
  cause.kind, cause.message = nil, nil
  err.failures = { { error = core.error(err.kind, err.message, cause), items = items } }
  err.requests, err.ids = 1, {}
  return false
end

return M
