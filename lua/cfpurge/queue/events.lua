--- What a queue tells its `on_event`: of each claim that has ended, and of the store where it fails the worker.
local items = require "cfpurge.queue.items"

local M = {}

-- As of a client's: what it raises is lost.
local function tell(on_event, name, event)
  event.name = name
  pcall(on_event, event)
end

-- Of a claim; where one item failed, `item` and `text` are its JSON and its error's.
local function event_of(claim, item, text)
  local event = items.shown {
    zone = claim.zone, environment = claim.environment, op = claim.op, kind = claim.kind, item = item or "0",
    error = text or "0",
  }
  if not item then
    event.item, event.error = nil, nil
  end
  return event
end

--- A claim has ended so.
---@param on_event fun(event: cfpurge.QueueEvent)
---@param claim table
---@param outcome table what the store is told
---@param err? cfpurge.Error
function M.ended(on_event, claim, outcome, err)
  local errors = {}
  for _, entry in ipairs(outcome.failed) do
    errors[entry[1]] = entry[2]
  end
  for _, entry in ipairs(claim.items) do
    if errors[entry.key] then
      tell(on_event, "failed", event_of(claim, entry.item, errors[entry.key]))
    end
  end
  local others = #outcome.failed + #outcome.waiting + (outcome.moved_count or 0)
  local accepted = outcome.waiting == "all" and 0 or #claim.items - others
  for name, is_so in pairs { accepted = accepted > 0, rest = outcome.rest, held = outcome.held } do
    if is_so then
      local event = event_of(claim)
      event.items, event.error, event.seconds = accepted, err, name == "held" and outcome.held or nil
      tell(on_event, name, event)
    end
  end
end

--- The store did not do what the worker asked it for.
function M.store_failed(on_event, err)
  tell(on_event, "store", { error = err })
end

return M
