-- Run by spec/hosts/secret.c: all that can be done with credentials, then none of our blocks may hold one.
-- Arguments: two functions of the host; which credential, a zone, a base_url, an open proxy or "".
-- Prints {before, after, freed}: pieces of the markers.
local secret, found, scenario, zone, base, proxy = ...
local cfpurge = require "cfpurge"

local function options(more)
  local all = { zone_id = zone, base_url = base, ca_file = os.getenv "CA_FILE", max_retries = 1 }
  if scenario == "key" then
    all.api_email, all.api_key = secret(1), secret(2)
  else
    all.api_token = secret(1)
  end
  if proxy and proxy ~= "" then all.proxy = (proxy:gsub("//", "//users:" .. secret(3) .. "@")) end
  for name, value in pairs(more or {}) do all[name] = value end
  return all
end

local untaken

local function work()
  local kinds = {}
  local client = assert(cfpurge.new(options()))
  local function purge(tag, ...)
    local result, err = client:purge({ tags = { tag } }, ...)
    kinds[tag] = result and "accepted" or err.kind
  end
  purge "plain"
  purge "again"
  purge "denied"
  purge "busy"
  purge "echo"
  purge("late", { timeout = 0.05, max_retries = 0 })
  purge("long-headers", { default_headers = { ["X-Long"] = ("x"):rep(5000) } })
  purge("another", scenario == "key" and { api_token = secret(2) } or { api_email = secret(2), api_key = secret(2) })
  purge("bad option", { timeout = 0 })
  local tags = {}
  for i = 1, 250 do tags[i] = "bulk" .. i end
  local result, err = client:purge { tags = tags }
  kinds.bulk = result and "accepted" or err.kind
  local request = client:start { tags = { "never" } }
  client:step(0)
  client:step(0.02)
  request:cancel()
  request = client:start { tags = { "never" } }
  client:step(0.02)
  local before = (found())
  client:close()
  kinds.never = select(2, request:result()).kind
  -- The core alone, of which nobody takes what has ended.
  untaken = require "cfpurge.core".new(options())
  for _, tag in ipairs { "plain", "echo", "denied", "busy", "late", "never", "cut" } do
    assert(untaken:start({ tags = { tag } }, tag == "late" and { timeout = 0.05, max_retries = 0 } or nil))
  end
  while untaken:stats().done < 5 do untaken:step(0.1) end
  untaken:step(0.1)
  untaken:close()
  -- One that is collected without having been closed.
  client = assert(cfpurge.new(options()))
  purge "collected"
  client = assert(cfpurge.new(options()))
  purge "echo"
  client:close()
  return before, kinds
end

local before, kinds = work()
-- An ending whose answer repeats the credential is masked when it is taken.
kinds.untaken = {}
for _, result, err in function() return untaken:take() end do
  local kind = result and "accepted" or err.kind
  kinds.untaken[kind] = (kinds.untaken[kind] or 0) + 1
  if kind == "bad_request" then kinds.masked = err.message end
  assert(not (err and err.ray_id and err.ray_id:find(secret(1), 1, true)), "it stands in a ray_id")
end
collectgarbage()
collectgarbage()
local after, freed = found()
print(require("cjson").encode { before = before, after = after, freed = freed, kinds = kinds })
