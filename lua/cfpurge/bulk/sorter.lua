--- Sorts items by the zone that each belongs to: `zone = "auto"`. Pure: it sends nothing and knows no client.
--
-- A bin holds items of one zone, and their places in the list. It is handed out when it is full. The bins that are not
-- full are handed out at the list's end, and the oldest of them when too much is held.
local core = require "cfpurge.core"
local zones = require "cfpurge.zones"

-- So many items wait in bins at most, whatever the list holds.
local HELD = 10000

local M = {}

-- ---- the zone of an item ----

-- Nil where the item has none: the core refuses it, or has.
local function host_of(kind, item)
  if kind == "files" then
    local url = type(item) == "table" and rawget(item, "url") or item
    local authority = type(url) == "string" and url:match "^%a[%w+.-]*://([^/?#]*)"
    return authority and authority:gsub("^.*@", ""):gsub(":%d*$", "")
  elseif type(item) == "string" then
    return item:match "^[^/]*"
  end
end

-- The zone whose name is the longest suffix of the host's, in whole labels: one look a label. Nil, why there is none,
-- and the kind of that.
local function zone_of_host(index, host)
  local name = zones.plain(host)
  while name do
    local same = index.by_name[name]
    if same then
      local active, ids = {}, {}
      for _, zone in ipairs(same) do
        active[#active + 1] = zone.status == "active" and zone or nil
        ids[#ids + 1] = zone.id
      end
      if same[2] and #active ~= 1 then
        return nil, ("'%s' stands for %d zones, of which none is to be preferred: %s"):format(name, #same,
          table.concat(ids, ", ")), "invalid_request"
      end
      return active[1] or same[1]
    end
    name = name:match "^[^.]*%.(.+)$"
  end
  return nil, ("the credential sees no zone of the host '%s'"):format(host), "not_found"
end

local Sorter = {}
Sorter.__index = Sorter

--- Puts an item that is in the list at `place` into its zone's bin. Nil, or why it has no zone.
---@return table? zone, string? problem, cfpurge.Error? err
function Sorter:add(item, place)
  local host = host_of(self.kind, item) or ""
  local zone = self.seen[host]
  if not zone then
    local found, problem, error_kind = zone_of_host(self.index, host)
    if not found then
      local field = ("%s[%d]"):format(self.kind, place)
      return nil, problem, core.error(error_kind, field .. ": " .. problem, { field = field, about = "zone" })
    end
    zone = found
    if self.seen_count >= HELD then
      self.seen, self.seen_count = {}, 0
    end
    self.seen[host], self.seen_count = zone, self.seen_count + 1
  end
  local bin = self.bins[zone.id]
  if not bin then
    bin = { zone = zone, items = {}, places = {}, is_out = false, most = self.most(zone) }
    self.bins[zone.id] = bin
    self.order[#self.order + 1] = bin
  end
  bin.items[#bin.items + 1], bin.places[#bin.places + 1] = item, place
  self.held = self.held + 1
  if #bin.items >= bin.most then
    self:take_out(bin)
    self.full[#self.full + 1] = bin
  end
  return zone
end

function Sorter:take_out(bin)
  bin.is_out = true
  self.bins[bin.zone.id] = nil
  self.held = self.held - #bin.items
end

--- The next bin; nil while none is full.
---@param is_end boolean the list has no more items
---@return table? bin { zone, items, places }
function Sorter:next(is_end)
  local bin = self.full[self.first_full]
  if bin then
    self.full[self.first_full], self.first_full = nil, self.first_full + 1
    return bin
  end
  self.full, self.first_full = {}, 1
  while self.held > 0 and (is_end or self.held > HELD) do
    bin = self.order[self.first]
    self.order[self.first], self.first = nil, self.first + 1
    if not bin.is_out then
      self:take_out(bin)
      return bin
    end
  end
  if self.held == 0 then
    self.order, self.first = {}, 1
  end
end

--- Is nothing in it?
function Sorter:is_empty()
  return self.held == 0 and self.full[self.first_full] == nil
end

---@param kind string files, hosts or prefixes
---@param index table of zones.index
---@param most fun(zone: cfpurge.Zone): integer how many items a request of this zone holds
---@return table sorter
function M.new(kind, index, most)
  return setmetatable({
    kind = kind, index = index, most = most, bins = {}, order = {}, first = 1, full = {}, first_full = 1, held = 0,
    seen = {}, seen_count = 0,
  }, Sorter)
end

-- ---- what is left ----

--- Adds an item to a list that is in the order of its `places`. What comes late is not far from where it belongs.
function M.keep(left, item, place)
  local items, places = left.items, left.places
  local i = #places
  while i > 0 and places[i] > place do
    i = i - 1
  end
  table.insert(places, i + 1, place)
  table.insert(items, i + 1, item)
end

--- The places of those items of a bin that remain: `remaining` has them in the bin's order.
---@return integer[] which of the bin's items
function M.which(bin, remaining)
  local which, at = {}, 1
  for i, item in ipairs(bin.items) do
    if remaining[at] ~= nil and rawequal(item, remaining[at]) then
      which[#which + 1], at = i, at + 1
    end
  end
  return which
end

return M
