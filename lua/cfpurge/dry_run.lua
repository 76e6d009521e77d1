--- A dry run: the requests that would go out, none of them sent.
local chunks = require "cfpurge.bulk.chunks"
local completion = require "cfpurge.completion"
local requests = require "cfpurge.request"
local sorters = require "cfpurge.bulk.sorter"
local sources = require "cfpurge.bulk.source"
local sizes = require "cfpurge.sizes"
local tables = require "cfpurge.tables"
local validate = require "cfpurge.validate"

-- A checked list, or an iterator, in chunks. Where one cannot be sent nothing was, and so what was read of an iterator
-- comes again before the rest of it.
local function plan_list(state, kind, list, size, call, add)
  local source, read, is_first = sources.new(state.core, kind, list), {}, true
  source.most_in_a_row = 1
  while is_first or source:has_more() do
    source.budget = math.huge
    local chunk, refused = source:read(size), source.refusals.failures[1]
    for _, item in ipairs(chunk and chunk.items or {}) do
      read[#read + 1] = item
    end
    if refused then
      read[#read + 1] = refused.items[1]
    end
    local raised, err = nil, source:error() or refused and refused.error
    if not err and (chunk or is_first) then
      chunk = chunk or chunks.chunk({}, 1)
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

-- Where the items go to several zones: each is put into its zone's bin, and `send` is given the bins that are full; all
-- that are left with `send_rest`.
local function sorting(kind, index, limits_of, send)
  local sorter = sorters.new(kind, index, function(zone)
    return limits_of(zone).max_items
  end)
  local function send_bins(is_end)
    local raised, err
    repeat
      local bin = not (raised or err) and sorter:next(is_end)
      if bin then
        raised, err = send(bin.items, bin.places[1], bin.zone.id)
      end
    until not bin
    return raised, err
  end
  local function add(items, at)
    if not items[1] then
      -- The list is empty, which the core refuses.
      return send(items, at, "0")
    end
    for i, item in ipairs(items) do
      local zone, _, err = sorter:add(item, at + i - 1)
      if not zone then
        return nil, err
      end
    end
    return send_bins(false)
  end
  return add, function()
    return send_bins(true)
  end
end

local function of_zone(call, zone_id)
  local params = tables.copy(call.params)
  params.zone_id = zone_id
  return { params = params, options = call.options }
end

--- Completes `request` with { dry_run, requests = { path, body, items }, items, seconds by the plan }. `index` and
--- `limits_of` are given where each item goes to the zone that it belongs to.
---@return boolean ok, string? raised, cfpurge.Error? err
return function(request, kind, list, call, index, limits_of)
  local state, planned, items = request.state, {}, 0
  local function add(chunk, at, zone_id)
    local path, body, count = validate.items(state, zone_id and of_zone(call, zone_id) or call, kind, chunk, at)
    if not path then
      return body, count
    end
    planned[#planned + 1] = { path = path, body = body, items = count }
    items = items + count
  end
  local add_some, add_rest = add, nil
  if index then
    add_some, add_rest = sorting(kind, index, limits_of, add)
  end
  local raised, err
  if type(list) ~= "function" and type(list) ~= "table" then
    raised, err = add(list, 1)
  else
    local limits, ok
    local zone_id = sizes.zone_of(call.params, call.options)
    limits, raised, err = validate.limits(state, kind, call.options, zone_id)
    local size = limits and sizes.get(state, zone_id, kind, limits.max_items)
    if limits then
      ok, raised, err = validate.list(state, index and of_zone(call, "0") or call, kind, list, size, math.huge)
    end
    if ok then
      raised, err = plan_list(state, kind, list, size, call, add_some)
    end
    if add_rest and not (raised or err) then
      raised, err = add_rest()
    end
  end
  if raised or err then
    return false, raised, err
  end
  completion.complete(state, request, {
    dry_run = true,
    requests = planned,
    items = items,
    seconds = state.core:forecast(kind or "purge_everything", #planned, planned[1].items,
      planned[1].path:match "^/zones/([^/]+)"),
  })
  return true
end
