--- A queue's status as Prometheus' text.
--
-- No sample names a zone: their number has no bounds, and a page of metrics is for more eyes than the store. `status`
-- names those that rest.
local metrics = require "cfpurge.metrics"
local tables = require "cfpurge.tables"

-- How many zones rest, by kind of error; 0 for those that may be to blame and are not.
local function resting(status)
  local counts, kinds = tables.copy(status.resting), {}
  for _, kind in ipairs(metrics.kinds) do
    counts[kind] = counts[kind] or 0
  end
  for kind in tables.entries(counts) do
    kinds[#kinds + 1] = kind
  end
  table.sort(kinds)
  return counts, kinds
end

---@param page table of cfpurge.metrics, empty
---@param status cfpurge.QueueStatus
---@return string text
return function(page, status)
  page:family("gauge", "cfpurge_queue_items", "Items in the store by their state; failed ones were refused for good.")
  for _, state in ipairs { "waiting", "in_flight", "failed" } do
    page:sample(status[state], "state", state)
  end
  page:family("gauge", "cfpurge_queue_oldest_seconds", "Age of the oldest item that is due; 0 where none is.")
  page:sample(status.oldest or 0)
  page:family("gauge", "cfpurge_queue_resting_zones", "Zones that rest, by the kind of the error that is to blame.")
  local counts, kinds = resting(status)
  for _, kind in ipairs(kinds) do
    page:sample(counts[kind], "kind", kind)
  end
  page:family("gauge", "cfpurge_queue_budget_left", "Tokens left of a plan's budget: requests, or URLs.")
  local plans = {}
  for _, budget in ipairs(status.budgets) do
    -- Where a plan could not be read, a zone has a budget of its own.
    plans[#plans + 1] = not budget.name:find "^zone " and budget or nil
    if plans[#plans] == budget and budget.rate > 0 then
      page:sample(budget.left, "budget", budget.name, "bucket", budget.bucket)
    end
  end
  page:family("gauge", "cfpurge_queue_budget_held_seconds", "How long the server has all workers wait for a budget.")
  for _, budget in ipairs(plans) do
    page:sample(budget.held, "budget", budget.name, "bucket", budget.bucket)
  end
  return page:text()
end
