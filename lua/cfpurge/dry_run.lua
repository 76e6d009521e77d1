--- A dry run: the requests that would go out, none of them sent.
local completion = require "cfpurge.completion"
local requests = require "cfpurge.request"
local sources = require "cfpurge.bulk.source"
local tables = require "cfpurge.tables"
local validate = require "cfpurge.validate"

-- A checked list, or an iterator, in chunks. Where one cannot be sent nothing was, and so what was read of an iterator
-- comes again before the rest of it.
local function plan_list(state, kind, list, size, call, add)
  local source, read, is_first = sources.new(state.core, kind, list), {}, true
  while is_first or source:has_more() do
    source.budget = math.huge
    local chunk = source:read(size)
    for _, item in ipairs(chunk and chunk.items or {}) do
      read[#read + 1] = item
    end
    local raised, err = nil, source:error()
    if not err and (chunk or is_first) then
      chunk = chunk or sources.chunk({}, 1)
      raised, err = add(chunk.items, chunk.at)
    end
    if err and type(list) == "function" then
      err.remaining = tables.copy(requests.asked(call))
      err.remaining[kind] = source.exhausted and read or tables.chained(read, list)
    end
    if raised or err then
      return raised, err
    end
    is_first = false
  end
end

--- Completes `request` with { dry_run, requests = { path, body, items }, items, seconds by the plan }.
---@return boolean ok, string? raised, cfpurge.Error? err
return function(request, kind, list, call)
  local state, planned, items = request.state, {}, 0
  local function add(chunk, at)
    local path, body, count = validate.items(state, call, kind, chunk, at)
    if not path then
      return body, count
    end
    planned[#planned + 1] = { path = path, body = body, items = count }
    items = items + count
  end
  local raised, err
  if type(list) ~= "function" and type(list) ~= "table" then
    raised, err = add(list, 1)
  else
    local limits, ok
    limits, raised, err = validate.limits(state, kind, call.options)
    local size = limits and math.min(limits.max_items, state.sizes[kind] or limits.max_items)
    if limits then
      ok, raised, err = validate.list(state, call, kind, list, size, math.huge)
    end
    if ok then
      raised, err = plan_list(state, kind, list, size, call, add)
    end
  end
  if raised or err then
    return false, raised, err
  end
  completion.complete(state, request, {
    dry_run = true,
    requests = planned,
    items = items,
    seconds = state.core:forecast(kind or "purge_everything", #planned, planned[1].items),
  })
  return true
end
