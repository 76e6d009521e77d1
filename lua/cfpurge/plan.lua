--- A dry run: the requests that would go out, none of them sent.
local tables = require "cfpurge.tables"

-- The next at most `size` items; fewer only at the end.
local function read(next_item, size)
  local items = {}
  while #items < size do
    local item = next_item()
    if item == nil then
      break
    end
    items[#items + 1] = item
  end
  return items
end

--- Completes `request` with { dry_run, requests = { path, body, items }, items, seconds by the plan }.
---@return boolean ok, string? raised, cfpurge.Error? err
return function(client, request, kind, list, call)
  local planned, items = {}, 0
  local function add(params)
    local ok, path, body, count = pcall(client.core.check, client.core, params, call.options, call.environment_id)
    if not (ok and path) then
      return false, not ok and path or nil, ok and body or nil
    end
    planned[#planned + 1] = { path = path, body = body, items = count }
    items = items + count
    return true
  end
  local ok, raised, err
  if type(list) ~= "function" and type(list) ~= "table" then
    ok, raised, err = add(call.params)
  else
    local known, size, refused = pcall(client.core.limits, client.core, kind, call.options)
    if not (known and size) then
      return false, not known and size or nil, known and refused or nil
    end
    local next_item = tables.each(list)
    size = math.min(size, client.sizes[kind] or size)
    repeat
      local chunk = read(next_item, size)
      if #chunk > 0 or #planned == 0 then
        local params = tables.copy(call.params)
        params[kind] = chunk
        ok, raised, err = add(params)
      end
    until not ok or #chunk < size
  end
  if not ok then
    return false, raised, err
  end
  client:complete(request, {
    dry_run = true,
    requests = planned,
    items = items,
    seconds = client.core:forecast(kind or "purge_everything", #planned, planned[1].items),
  })
  return true
end
