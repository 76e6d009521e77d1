-- What must be true of every table of options, be it refused or not (options.c).
local names = { "api_token", "api_email", "api_key", "zone_id", "environment_id", "base_url", "timeout",
  "connect_timeout", "max_retries", "max_retry_wait", "deadline", "plan", "rate", "max_items", "max_in_flight",
  "isolate", "invalidate", "dry_run", "proxy", "ca_file", "default_headers", "user_agent", "allow_http",
  "loop", "on_event", "on_progress" }
local variables = { "CLOUDFLARE_API_TOKEN", "CLOUDFLARE_EMAIL", "CLOUDFLARE_API_KEY", "CLOUDFLARE_ZONE_ID",
  "CLOUDFLARE_BASE_URL" }
local rates = { "requests", "requests_bucket", "urls", "urls_bucket", "overall", "address" }
local odd = { t = true, f = false, e = {}, l = { "a" }, F = print, c = coroutine.create(print), n = 0 / 0, i = 1 / 0,
  I = -1 / 0, m = math.mininteger, M = math.maxinteger, h = 1e300, d = 5e-324, z = 0, o = 1, s = 0.0004 }
local SECRET = "cfSecret1"

-- One line is one instruction, its first byte says which:
--   a…z text    the option of that number is the text       = a o    it is odd[o]       # a number    it is a number
--   e n text    the variable of that number of the environment
--   h name:value   a default header      H o     a header odd[o]       r n number   a rate     R n o   the same, odd[o]
--   ? key   an unknown key               > …     the instruction is for the call's options
local function build(text)
  local own, call = { api_token = SECRET, zone_id = "zone" }, {}
  local function instruct(to, line)
    local op, rest = line:sub(1, 1), line:sub(2)
    local function name_at(byte, list) return list[(byte or 97) % 97 % #list + 1] end
    if op == ">" and to == own then return instruct(call, rest) end
    if op == "=" then to[name_at(rest:byte(), names)] = odd[rest:sub(2, 2)]
    elseif op == "#" then to[name_at(rest:byte(), names)] = tonumber(rest:sub(2))
    elseif op == "!" then
      local value = rest:sub(2):gsub("%z.*", "")
      environment(name_at(rest:byte(), variables), value)
    elseif op == "h" or op == "H" then
      if type(to.default_headers) ~= "table" then to.default_headers = {} end
      local name, value = rest:match "^([^:]*):?(.*)$"
      if op == "h" then to.default_headers[name] = value else to.default_headers[rest:sub(2)] = odd[rest:sub(1, 1)] end
    elseif op == "r" or op == "R" then
      if type(to.rate) ~= "table" then to.rate = {} end
      local value = rest:sub(2)
      if op == "r" then value = tonumber(value) else value = odd[value:sub(1, 1)] end
      to.rate[name_at(rest:byte(), rates)] = value
    elseif op == "?" then to[rest] = "value"
    elseif op == "." then to.api_token = nil
    elseif op:find "[%l%u]" then to[name_at(op:lower():byte(), names)] = rest
    end
  end
  for _, name in ipairs(variables) do environment(name) end
  -- Who writes the credential elsewhere, in a header's name say, has shown it.
  for line in text:gsub(SECRET, "?"):gmatch "[^\n]+" do instruct(own, line) end
  return own, call
end

-- ---- where a credential may go in clear text: to this machine, by whatever name ----

local function is_quad(host)
  local parts = {}
  for part in host:gmatch "[^.]+" do
    local number = part:find "^0[0-7]+$" and tonumber(part, 8) or part:find "^0x%x+$" and tonumber(part:sub(3), 16)
      or part:find "^%d+$" and tonumber(part)
    if not number then return false end
    parts[#parts + 1] = number
  end
  local last = 2 ^ (8 * (5 - #parts))
  if #parts < 1 or #parts > 4 or host:find "%.%." or host:find "^%." or host:find "%.$" then return false end
  for i = 1, #parts - 1 do
    if parts[i] > 255 then return false end
  end
  return parts[#parts] < last and (#parts == 1 and parts[1] // 2 ^ 24 or parts[1]) == 127
end

local function is_own(url)
  local host = url:match "^%a[%w.+-]*:/+([^/?#]*)" or url:match "^[^/?#]*"
  host = host:gsub("^.*@", "")
  if host:find "^%[" then return host:find "^%[[0:]*:0*1[%%%]]" ~= nil end -- behind the % is a link's name
  host = host:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end):lower():gsub(":%d*$", "")
  return host == "localhost" or is_quad(host)
end

local function check_address(url, proxy, allow_http)
  assert(not url:find "[%z\1-\32\127?#]" and not url:find "^%a+:/+[^/]*[^/:@][^/]*@", "what may stand in a base_url")
  local scheme = assert(url:match "^(%a+):/"):lower()
  if scheme == "https" then return end
  assert(scheme == "http")
  if allow_http then return end
  assert(is_own(url), "clear text to another machine: " .. url)
  assert((proxy or "") == "" or is_own(proxy), "clear text by another machine: " .. tostring(proxy))
end

local function check_refusal(fine, err)
  if not fine then
    assert(type(err) == "string" and (err:find "expected, got" or err:find "bad argument"), err)
    assert(not err:find(SECRET, 1, true), "a credential came out")
    return
  end
  assert(err.kind == "invalid_request" and type(err.message) == "string")
  assert(type(err.field) == "string", "no field is named")
  assert(not tostring(err):find(SECRET, 1, true), "a credential came out")
end

local function own_value(name, own, call)
  local value = call[name]
  if value == nil then value = own[name] end
  return value
end

return function(text)
  local own, call = build(text)
  local fine, client, _, err = pcall(core.new, own)
  if not fine then return check_refusal(false, client) end
  if not client then return check_refusal(true, err) end
  local base = own.base_url or os.getenv "CLOUDFLARE_BASE_URL"
  if base and base ~= "" then check_address(base, own.proxy, own.allow_http) end
  for _, bucket in pairs(client:stats().buckets) do
    assert(bucket.wait >= 0 and (bucket.left == nil or bucket.left >= 0))
  end
  local seconds = client:forecast("files", 3, 100)
  assert(seconds >= 0 and seconds < 1e12)
  local path, body, items
  fine, path, body, items = pcall(client.check, client, { tags = { "a" } }, call)
  if not fine then
    check_refusal(false, path)
  elseif not path then
    check_refusal(true, body)
  else
    local zone = own_value("zone_id", own, call) or os.getenv "CLOUDFLARE_ZONE_ID"
    assert(zone:find "^[%w_-]+$" and #zone <= 32)
    local environment_id = call.environment_id
    assert(path == "/zones/" .. zone .. (environment_id and "/environments/" .. environment_id or "") ..
      (call.invalidate and "/invalidate_cache" or "/purge_cache"), "the path")
    assert(body == '{"tags":["a"]}' and items == 1)
    base = own_value("base_url", own, call) or os.getenv "CLOUDFLARE_BASE_URL"
    if base and base ~= "" then
      check_address(base, own_value("proxy", own, call), own_value("allow_http", own, call))
    end
  end
  client:close()
end
