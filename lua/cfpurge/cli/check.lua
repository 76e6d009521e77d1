--- What the cache says of pages: `cfpurge check`, and `--check` after a purge.
--
-- Each page is asked for its headers, which the cache answers as it would answer a visitor, without the credential.
local core = require "cfpurge.core"
local text = require "cfpurge.cli.text"
local text_of = require "cfpurge.cli.items".text_of

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

-- What the cache gives without asking the origin.
local is_stored = { HIT = true, STALE = true, UPDATING = true }

local NO_ITEM = "must be a URL, or an object with a url and headers"

-- The library does not look at it. libcurl sends a header as it is, and a line break in one would begin another.
local function problem_of(item)
  local headers = type(item) == "table" and item.headers or {}
  for name, value in pairs(type(headers) == "table" and headers or { false }) do
    if type(name) ~= "string" or type(value) ~= "string" then
      return NO_ITEM
    elseif (name .. value):find "%c" or name:find "[%s:;]" or name == "" then
      return "headers." .. name .. ": is no header, or has a control character"
    end
  end
  return type(type(item) == "table" and item.url or item) ~= "string" and NO_ITEM or nil
end

-- `old`: it was stored before `since`, which is what the purge was to end. Its age is as old as the look at it.
local function look(pages, item, args, since)
  local wrong = problem_of(item)
  if wrong then
    return { url = text_of(item), error = wrong }
  end
  local url, asked = type(item) == "table" and item.url or item, core.now()
  local found, problem = pages:get(url, {
    head = true, timeout = args.timeout, ca_file = args.ca_file,
    headers = lines_of(type(item) == "table" and item.headers),
  })
  if not found then
    return { url = url, error = problem }
  end
  local headers = found.headers
  local age = tonumber(headers.age)
  return {
    old = is_stored[headers["cf-cache-status"]] and (not age or age >= math.floor(asked - since)) or false,
    url = url, status = found.status, cache = headers["cf-cache-status"], age = age,
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

local function count(pages, fault)
  local n = 0
  for _, page in ipairs(pages) do
    n = n + (page[fault] and 1 or 0)
  end
  return n
end

--- Looks at the items, again and again for `args.wait` seconds while one of them is older than `since`.
---@param since number an instant of core.now
---@return table found a page for each item, fewer where a signal came
function M.look_at(items, args, since)
  local pages, ends, found = core.pages(), core.now() + (args.wait or 0), {}
  while true do
    for i, item in ipairs(items) do
      if core.interrupted() == 0 and (not found[i] or found[i].error or found[i].old) then
        found[i] = look(pages, item, args, since)
      end
    end
    local is_over = count(found, "error") + count(found, "old") == 0 or core.now() >= ends
    if is_over or core.interrupted() > 0 then
      return found
    end
    core.sleep(PAUSE)
  end
end

--- Tells of the pages that were found.
---@return integer status 0; 1 where one still is from before and somebody waited for it; 4 where one gave no answer
function M.tell(report, found, args)
  for _, page in ipairs(not report.json and found or {}) do
    if not report.quiet or page.error or (args.wait and page.old) then
      report:write(text.printable(line_of(page)), "\n")
    end
  end
  local old = args.wait and count(found, "old") or 0
  if old > 0 then
    report:line(("%s still from before"):format(text.count_of(old, "page")))
  end
  return count(found, "error") > 0 and 4 or old > 0 and 1 or 0
end

return M
