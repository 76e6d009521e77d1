--- Claims of zone = "auto": their items go to the lanes of the zones that they belong to, and are claimed there once
--- more, each by its own zone's budget and rest.
local core = require "cfpurge.core"
local items = require "cfpurge.queue.items"
local look_up = require "cfpurge.look_up"
local names = require "cfpurge.names"
local sorters = require "cfpurge.bulk.sorter"

-- Seconds to look the zones up, and how old those we know may be where an item is of none of them.
local PATIENCE, RENEW = 30, 60

local M = {}

local function find_zones(state, done)
  look_up.start(state, nil, function(request, ended)
    names.index(request, { max_retries = 0, max_retry_wait = 0, deadline = PATIENCE }, nil, ended)
  end, done)
end

-- What is of no zone fails, and can be retried when there is one.
local function sort(claim, list, index)
  local sorter, outcome = sorters.new(claim.kind, index, function()
    return math.huge
  end), { failed = {}, waiting = {}, moved = {}, moved_count = 0, is_unsent = true }
  for i, item in ipairs(list) do
    local zone, _, err = sorter:add(item, i)
    if not zone then
      outcome.failed[#outcome.failed + 1] = { claim.items[i].key, items.error_text(err) }
    end
  end
  local bin = sorter:next(true)
  while bin do
    local keys = {}
    for i, place in ipairs(bin.places) do
      keys[i] = claim.items[place].key
    end
    outcome.moved[#outcome.moved + 1] = { bin.zone.id, keys }
    outcome.moved_count = outcome.moved_count + #keys
    bin = sorter:next(true)
  end
  return outcome
end

--- Finds the zones of a claim's items, and calls `done(outcome)`, or `done(nil, err)` where nobody tells them.
---@param state table the client's
function M.start(state, claim, done)
  local params, broken = items.decode(state.core, claim)
  if not params then
    return done(broken)
  end
  find_zones(state, function(index, err)
    if not index then
      err.remaining = err.remaining or params
      return done(nil, err)
    end
    local outcome = sort(claim, params[claim.kind], index)
    if not outcome.failed[1] or core.now() - index.made <= RENEW then
      return done(outcome)
    end
    -- Its zone may be new.
    state.zone_index = nil
    find_zones(state, function(fresh)
      done(fresh and sort(claim, params[claim.kind], fresh) or outcome)
    end)
  end)
end

return M
