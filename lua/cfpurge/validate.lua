--- Finds the faults of a call before anything of it is sent.
local core = require "cfpurge.core"
local requests = require "cfpurge.request"
local tables = require "cfpurge.tables"

local kinds = core.kinds

local M = {
  --- Of a longer list so many items are checked before anything is sent, and the others as they are read.
  FIRST = 1000,
}

-- An item that is right: to check what stands beside an iterator.
local stand_ins = { files = "https://a.example/", tags = "a", hosts = "a.example", prefixes = "a.example/a" }

--- Raises what the core raised, in the name of the function that the caller called and at the caller's line. `shift` is
--- how much further right the core has the argument.
function M.raise(raised, name, shift, level)
  local number, detail = tostring(raised):match "^bad argument #(%d) to '[^']*' (.*)$"
  if number then
    raised = ("bad argument #%d to '%s' %s"):format(number - shift, name, detail)
  end
  error(raised, level)
end

--- The kind of list that params ask for, and the list, as a function where it is an iterator; nobody's metamethods
--- are run: a short list is a copy where it has a metatable. A longer one is itself, and is read by tables.length and
--- rawget alone: a copy would hold up the host.
---@return string? kind, any list
function M.kind_of(params)
  for i = 1, type(params) == "table" and #kinds or 0 do
    local list = rawget(params, kinds[i])
    if type(list) == "table" and tables.is_iterator(list) then
      return kinds[i], function()
        return list()
      end
    elseif list ~= nil then
      return kinds[i], type(list) == "table" and tables.length(list) > M.FIRST and list or tables.bare(list)
    end
  end
end

--- A list as it is now where it has been checked as a whole; a longer one is read as it is sent.
function M.own(list)
  return type(list) == "table" and tables.length(list) <= M.FIRST and tables.slice(list, 1, M.FIRST) or list
end

--- A hole or a name among the keys must not hide what stands behind it.
---@return cfpurge.Error?
function M.key_problem(kind, list)
  local keys, count = 0, tables.length(list)
  for _ in tables.entries(list) do
    keys = keys + 1
  end
  if keys ~= count then
    local field, problem = kind, "is not a list: it has keys that are not 1 to " .. count
    for i = 1, count do
      if rawget(list, i) == nil then
        field, problem = ("%s[%d]"):format(kind, i), "the list has a hole here"
        break
      end
    end
    return core.error("invalid_request", field .. ": " .. problem, { field = field })
  end
end

--- The path and the body of a request of these items, of which the first is the list's item `first`, and how many it
--- holds; or nil, what was raised, an error. Both name an item by its place in the list.
function M.items(state, call, kind, items, first)
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
  local ok, path, body, count = pcall(state.core.check, state.core, params, call.options, call.environment_id)
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

--- A list and what stands beside it, checked up to the item `last`; of an iterator what stands beside it.
---@return boolean? ok, string? raised, cfpurge.Error? err
function M.list(state, call, kind, list, size, last)
  if type(list) == "function" then
    list = { stand_ins[kind] }
  elseif tables.length(list) <= last then
    local err = M.key_problem(kind, list)
    if err then
      err.remaining = requests.asked(call)
      return nil, nil, err
    end
  end
  for first = 1, math.min(tables.length(list), last), size do
    local items = tables.slice(list, first, math.min(first + size - 1, last))
    local path, raised, err = M.items(state, call, kind, items, first)
    if not path then
      return nil, raised, err
    end
  end
  return true
end

--- The limits that hold for a call, to this zone where it is given; or nil, what was raised, an error.
---@return table? limits, string? raised, cfpurge.Error? err
function M.limits(state, kind, options, zone_id)
  local ok, limits, err = pcall(state.core.limits, state.core, kind, options, zone_id)
  if not ok then
    return nil, limits
  elseif not limits then
    return nil, nil, err
  end
  return limits
end

--- Raises for a wrong type among the options of a call, the argument `arg` of the method `name`; `deeper` is how many
--- functions stand between the method and this.
function M.options(state, name, arg, options, deeper)
  if options ~= nil and type(options) ~= "table" then
    error(("bad argument #%d to '%s' (table expected, got %s)"):format(arg, name, type(options)), 3 + deeper)
  end
  local _, raised = M.limits(state, "tags", options)
  if raised then
    M.raise(raised, name, 3 - arg, 4 + deeper)
  end
end

--- Options may be left out before an on_done; `arg` is their number among the arguments of the method `name`.
function M.options_and_done(name, arg, options, on_done)
  if type(options) == "function" and on_done == nil then
    options, on_done = nil, options
  end
  if on_done ~= nil and type(on_done) ~= "function" then
    error(("bad argument #%d to '%s' (on_done: function expected, got %s)"):format(arg + 1, name, type(on_done)), 3)
  end
  return options, on_done
end

--- What `new` and `queue` return of a field that is wrong.
---@return nil, string message, cfpurge.Error
function M.refused(field, problem)
  local err = core.error("invalid_request", field .. ": " .. problem, { field = field })
  return nil, tostring(err), err
end

return M
