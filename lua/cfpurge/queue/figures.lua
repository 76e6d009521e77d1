--- A queue's figures as Prometheus' text. Which zones rest it does not name; `status` does.
local of_client = require "cfpurge.figures"
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

local function of_store(page, status)
  page:family("gauge", "cfpurge_queue_items", "Items in the store by their state; failed ones were refused for good.")
  for _, state in ipairs { "waiting", "in_flight", "failed" } do
    page:sample(status[state], "state", state)
  end
  page:family("gauge", "cfpurge_queue_oldest_seconds", "How long the first item has been due; 0 where none is.")
  page:sample(status.oldest or 0)
  page:family("gauge", "cfpurge_queue_resting_zones", "Zones that rest, by the kind of the error that is to blame.")
  local counts, kinds = resting(status)
  for _, kind in ipairs(kinds) do
    page:sample(counts[kind], "kind", kind)
  end
  page:family("gauge", "cfpurge_queue_recent_requests", "Requests of all workers in the last 5 minutes.")
  page:sample(status.calls)
  page:family("gauge", "cfpurge_queue_held_seconds", "How long the server has all workers wait with every request.")
  page:sample(status.held)
  page:family("gauge", "cfpurge_queue_budget_left", "Tokens left of a plan's budget: requests, or URLs.")
  local plans = {}
  for _, budget in ipairs(status.budgets) do
    plans[#plans + 1] = not metrics.is_zones(budget.name) and budget or nil
    if plans[#plans] == budget and budget.rate > 0 then
      page:sample(budget.left, "budget", budget.name, "bucket", budget.bucket)
    end
  end
  page:family("gauge", "cfpurge_queue_budget_held_seconds", "How long the server has all workers wait for a budget.")
  for _, budget in ipairs(plans) do
    page:sample(budget.held, "budget", budget.name, "bucket", budget.bucket)
  end
end

local function of_adds(page, adds)
  page:family("counter", "cfpurge_queue_added_items_total", "Items that this process added and that did not wait yet.")
  page:sample(adds.added)
  page:family("counter", "cfpurge_queue_merged_items_total", "Items that this process added and that waited already.")
  page:sample(adds.merged)
end

---@param store table a page of cfpurge.metrics for what the store holds, the same from every process
---@param own table a page for what this process has done
---@param status cfpurge.QueueStatus
---@param adds table what was added here: added, merged
---@param core? userdata of the client that sends
---@return string text
return function(store, own, status, adds, core)
  of_store(store, status)
  of_adds(own, adds)
  if core then
    of_client(own, core)
  end
  return store:text() .. own:text()
end
