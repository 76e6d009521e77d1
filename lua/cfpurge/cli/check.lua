--- What the cache says of pages: `cfpurge check`, and `--check` after a purge.
--
-- Each page is asked for its headers, which the cache answers as it would answer a visitor, without the credential.
local core = require "cfpurge.core"
local text = require "cfpurge.cli.text"

-- Pages that are looked at after a purge, and seconds between two looks.
local MOST, PAUSE = 100, 1

local M = { MOST = MOST }

local function lines_of(headers)
  local lines = {}
  for name, value in pairs(headers or {}) do
    lines[#lines + 1] = name .. ": " .. value
  end
  table.sort(lines)
  return lines
end

-- A HIT that was stored before `since` is what the purge was to end.
local function is_old(page, since)
  local lasted = core.now() - since
  return page.cache == "HIT" and (not page.age or page.age >= math.floor(lasted))
end

local function look(pages, item, args)
  local url = type(item) == "table" and item.url or item
  local found, problem = pages:get(url, {
    head = true, ca_file = args.ca_file, headers = lines_of(type(item) == "table" and item.headers),
  })
  if not found then
    return { url = url, error = problem }
  end
  local headers = found.headers
  return {
    url = url, status = found.status, cache = headers["cf-cache-status"], age = tonumber(headers.age),
    tags = headers["cache-tag"], ray_id = headers["cf-ray"], location = headers.location,
  }
end

local function line_of(page)
  if page.error then
    return ("%s: %s"):format(page.url, page.error)
  end
  local parts = { page.cache or "no CF-Cache-Status" }
  for _, fact in ipairs { { "age", page.age and page.age .. " s" }, { "status", page.status }, { "ray", page.ray_id },
    { "tags", page.tags }, { "to", page.location } } do
    parts[#parts + 1] = fact[2] and fact[1] .. " " .. fact[2] or nil
  end
  return ("%s: %s"):format(page.url, table.concat(parts, ", "))
end

local function count(pages, predicate)
  local n = 0
  for _, page in ipairs(pages) do
    n = n + (predicate(page) and 1 or 0)
  end
  return n
end

local function tell(report, found)
  if report.json then
    report:write(require "cfpurge.cli.json".encode { pages = found }, "\n")
    return
  end
  for _, page in ipairs(found) do
    report:write(text.printable(line_of(page)), "\n")
  end
end

--- Looks at the items, again and again for `args.wait` seconds while one of them is a HIT that is older than `since`.
---@param since number an instant of core.now
---@return integer status 0; 1 where one still is such a HIT and somebody waited for it; 4 where one gave no answer
function M.run(report, items, args, since)
  local pages, ends, found = core.pages(), core.now() + (args.wait or 0), nil
  repeat
    found = found or {}
    for i, item in ipairs(items) do
      if not found[i] or found[i].error or is_old(found[i], since) then
        found[i] = look(pages, item, args)
      end
    end
    local old = count(found, function(page) return page.error or is_old(page, since) end)
    local is_over = old == 0 or core.now() >= ends or core.interrupted() > 0
    if not is_over then
      core.sleep(PAUSE)
    end
  until is_over
  tell(report, found)
  local unanswered = count(found, function(page) return page.error end)
  local old = count(found, function(page) return is_old(page, since) end)
  if args.wait and old > 0 then
    report:line(("%s still from before"):format(text.count_of(old, "page")))
  end
  return unanswered > 0 and 4 or args.wait and old > 0 and 1 or 0
end

return M
