-- Long lists for the specs, in both forms, and what the edge saw of them.
--
--   lists.tags(count)            t1, t2, ...
--   lists.iterator(list)         a function that gives them one by one
--   lists.all(items)             a list, or what an iterator gives, as a sorted copy
--   lists.sent(zone, kind?)      what the requests on the edge's record asked for, in order of arrival, and how many items
--                                each had; kind is "tags" where it is not given
--   lists.refusal(code, status?) the edge's answer that refuses every request by this code
local cjson = require("cjson").new()
local edge = require "spec.support.edge"

local M = {}

function M.tags(count)
  local list = {}
  for i = 1, count do list[i] = "t" .. i end
  return list
end

M.iterator = require("cfpurge.tables").each

function M.all(items)
  local list = {}
  if type(items) == "function" then
    for item in items do list[#list + 1] = item end
  else
    for i, item in ipairs(items) do list[i] = item end
  end
  table.sort(list)
  return list
end

function M.sent(zone, kind)
  local items, sizes = {}, {}
  for i, request in ipairs(edge.requests(zone)) do
    local list = cjson.decode(request.body)[kind or "tags"]
    sizes[i] = #list
    for _, item in ipairs(list) do items[#items + 1] = item end
  end
  return items, sizes
end

function M.refusal(code, status)
  return { status = status or 400, times = 0,
    json = { success = false, errors = { { code = code, message = "refused " .. code } }, messages = cjson.empty_array } }
end

return M
