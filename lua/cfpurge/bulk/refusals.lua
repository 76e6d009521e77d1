--- What is refused of a list as it is read: equal causes share one failure, since a list may hold any number of wrong
--- items.
local core = require "cfpurge.core"

local M = {
  --- So many wrong items in a row, and nothing accepted, are no list of such items.
  IN_A_ROW = 1000,
}

-- From so many causes on the character that an item has makes no cause of its own.
local CAUSES = 50

local Refusals = {}
Refusals.__index = Refusals

--- What the core raised for an item of a wrong type, as an error.
---@return cfpurge.Error
function M.wrong_type(raised)
  if raised == "not enough memory" then
    error(raised, 0)
  end
  local problem = tostring(raised):match "%((.*)%)$" or "item: " .. tostring(raised)
  return core.error("invalid_request", problem, { field = problem:match "^[^:]*" })
end

--- Adds the item that stands at `at`. The core calls it "item".
---@param err cfpurge.Error
function Refusals:add(item, at, err)
  local problem = err.message:sub(#err.field + 1)
  if not self.causes[problem] and #self.failures >= CAUSES then
    problem = problem:gsub(": it has U%+.*", "")
  end
  local failure = self.causes[problem]
  if not failure then
    local name = ("%s[%d]"):format(self.kind, at)
    err.field, err.message = err.field:gsub("^item", name), err.message:gsub("^item", name)
    failure = { error = err, items = {}, at = at, places = {} }
    self.causes[problem] = failure
  end
  local count = #failure.places + 1
  -- Where memory was short it may be known and not yet be there.
  if count == 1 and self.failures[#self.failures] ~= failure then
    self.failures[#self.failures + 1] = failure
  end
  failure.items[count] = item
  failure.places[count] = at
  self.count = self.count + 1
end

--- Why a list ends that has nothing but wrong items.
---@return cfpurge.Error
function Refusals:cause(in_a_row)
  return core.error("invalid_request", ("%s: %d items in a row were refused here, and none was accepted: %s"):format(
    self.kind, in_a_row, self.failures[1].error.message), { field = self.kind })
end

---@return table refusals { failures, in the order of their first items; count, of items }
function M.new(kind)
  return setmetatable({ kind = kind, failures = {}, count = 0, causes = {} }, Refusals)
end

return M
