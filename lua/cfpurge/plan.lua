--- A dry run: the requests that would go out, none of them sent.
local bulk = require "cfpurge.bulk"
local requests = require "cfpurge.request"
local tables = require "cfpurge.tables"

-- An iterator, or a checked list, in chunks. Where one cannot be sent nothing was, and so what was read of an iterator
-- comes again before the rest of it.
local function plan_list(kind, list, size, call, add)
  local next_item, read, at, exhausted = tables.each(list), {}, 1, false
  local function refused(raised, err)
    if err and type(list) == "function" then
      err.remaining = tables.copy(requests.asked(call))
      err.remaining[kind] = exhausted and read or tables.chained(tables.each(read), list)
    end
    return nil, raised, err
  end
  repeat
    for _ = 1, size do
      local called, item = pcall(next_item)
      if not called then
        exhausted = bulk.ends_iterator(item)
        return refused(nil, bulk.iterator_error(kind, item))
      elseif item == nil then
        exhausted = true
        break
      end
      read[#read + 1] = item
    end
    local items, ok, raised, err = tables.slice(read, at, #read), true, nil, nil
    if #items > 0 or at == 1 then
      ok, raised, err = add(items, at)
    end
    if not ok then
      return refused(raised, err)
    end
    at = at + #items
  until exhausted
  return true
end

--- Completes `request` with { dry_run, requests = { path, body, items }, items, seconds by the plan }.
---@return boolean ok, string? raised, cfpurge.Error? err
return function(client, request, kind, list, call, checked, check_items)
  local planned, items = {}, 0
  local function add(chunk, at)
    local path, body, count = check_items(client, call, kind, chunk, at)
    if not path then
      return nil, body, count
    end
    planned[#planned + 1] = { path = path, body = body, items = count }
    items = items + count
    return true
  end
  local ok, raised, err
  if type(list) ~= "function" and type(list) ~= "table" then
    ok, raised, err = add(list, 1)
  else
    local known, size, refused = pcall(client.core.limits, client.core, kind, call.options)
    if not (known and size) then
      return false, not known and size or nil, known and refused or nil
    end
    size = math.min(size, client.sizes[kind] or size)
    list, raised, err = checked(client, call, kind, list, size)
    ok = list
    if ok then
      ok, raised, err = plan_list(kind, list, size, call, add)
    end
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
