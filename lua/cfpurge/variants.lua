--- Every combination of URLs and key headers, for custom cache keys.
local tables = require "cfpurge.tables"

-- How many items an iterator will give, for whoever wants to know how far it is.
local totals = setmetatable({}, { __mode = "k" })

local function check_table(number, field, value)
  local got = type(value) == "table" and tables.is_iterator(value) and "an iterator" or type(value)
  if got ~= "table" then
    error(("bad argument #%d to 'variants' (%s: table expected, got %s)"):format(number, field, got), 3)
  end
end

---@param urls string[]
---@param headers cfpurge.VariantHeaders
---@return (fun(): cfpurge.Variant?) items, integer count
local function variants(urls, headers)
  check_table(1, "urls", urls)
  check_table(2, "headers", headers)
  local names = {
    device = "CF-Device-Type", country = "CF-IPCountry", language = "Accept-Language", origin = "Origin",
  }
  local axes, count = {}, #urls
  for _, axis in ipairs { "device", "country", "language", "origin" } do
    local values = headers[axis]
    if values ~= nil then
      check_table(2, axis, values)
      if #values == 0 then
        error(("bad argument #2 to 'variants' (%s: must not be empty)"):format(axis), 2)
      end
      axes[#axes + 1] = { name = names[axis], values = values }
      count = count * #values
    end
  end
  for axis in pairs(headers) do
    if not names[axis] then
      error(("bad argument #2 to 'variants' (%s: not device, country, language or origin)"):format(tostring(axis)), 2)
    end
  end
  local i = -1
  local function next_item()
    i = i + 1
    if i >= count then
      return nil
    end
    local rest, chosen = i, {}
    for _, axis in ipairs(axes) do
      chosen[axis.name] = axis.values[rest % #axis.values + 1]
      rest = math.floor(rest / #axis.values)
    end
    return { url = urls[rest + 1], headers = chosen }
  end
  totals[next_item] = count
  return next_item, count
end

return {
  variants = variants,

  ---@return integer? items nil where the iterator is not one of ours
  total = function(iterator)
    return totals[iterator]
  end,
}
