-- A purge table made from instructions, and what must become of it (params.c): either a body from which a JSON parser
-- reads exactly what went in, equal items once, or an error that names a field. The rules stand here a second time.
local cjson = require("cjson").new()

local kinds = { F = "files", T = "tags", H = "hosts", P = "prefixes" }
local odd = { t = true, f = false, i = 7, n = -1, x = 1.5, z = 0, h = 2 ^ 53, m = math.mininteger, e = {}, l = { "a" },
  F = print, c = coroutine.create(print), s = "text", u = io.stdout }

local function raise() error "a metamethod was run" end
local angry = { __index = raise, __newindex = raise, __len = raise, __pairs = raise, __tostring = raise,
  __name = "angry" }

-- One line is one instruction, its first byte says which:
--   F T H P rest   a list of that kind (the rest is its first item, where there is one)    E rest   purge_everything
--   s rest   an item                u rest   an item { url = rest }     v name:value   a header of the last such item
--   U o      an item { url = odd[o] }
--   w o      its headers are odd[o]           k o      a key odd[o] in it        K rest   another member of it
--   n o      an item odd[o]         o        a hole                     d o      a key odd[o] in the list
--   r n      the last item 16 * n times more, each with a number        R        the last item again
--   z rest, i rest   zone_id, environment_id     y o, j o  the same, odd[o]      x rest   an unknown key
--   X o      a key odd[o] in params           M        metatables that raise     l a b    the limits
local function build(text)
  local params, max_files, max_items, list, item = {}, 100, 100, nil, nil
  local count = 0
  local function add(value)
    if not list then return end
    count = count + 1
    rawset(list, count, value)
    item = value
  end
  local function set(table, key, value)
    if type(table) == "table" and key ~= nil then rawset(table, key, value) end
  end
  for line in text:gmatch "[^\n]+" do
    local op, rest = line:sub(1, 1), line:sub(2)
    local strange = odd[rest:sub(1, 1)]
    if kinds[op] then
      list, count = {}, 0
      rawset(params, kinds[op], list)
      if rest ~= "" then add(rest) end
    elseif op == "E" then rawset(params, "purge_everything", #rest ~= 1 or strange)
    elseif op == "s" then add(rest)
    elseif op == "u" then add { url = rest }
    elseif op == "U" then add { url = strange }
    elseif op == "v" and type(item) == "table" and getmetatable(item) == nil then
      local name, value = rest:match "^([^:]*):?(.*)$"
      if type(item.headers) ~= "table" or item.headers == odd.e or item.headers == odd.l then item.headers = {} end
      rawset(item.headers, name, value)
    elseif op == "w" then set(item ~= odd.l and item ~= odd.e and item, "headers", strange)
    elseif op == "k" then set(item ~= odd.l and item ~= odd.e and item, strange, "value")
    elseif op == "K" then set(item ~= odd.l and item ~= odd.e and item, rest, "value")
    elseif op == "n" then add(strange)
    elseif op == "o" then count = count + 1
    elseif op == "d" then set(list, strange, "value")
    elseif op == "R" then add(item)
    elseif op == "r" then
      local last = item
      for i = 1, 16 * (rest:byte() or 0) % 64 do
        if type(last) == "string" then add(last .. i)
        elseif type(last) == "table" then
          add { url = tostring(rawget(last, "url")) .. i, headers = rawget(last, "headers") }
        end
      end
    elseif op == "z" then rawset(params, "zone_id", rest)
    elseif op == "i" then rawset(params, "environment_id", rest)
    elseif op == "y" then rawset(params, "zone_id", strange)
    elseif op == "j" then rawset(params, "environment_id", strange)
    elseif op == "x" then rawset(params, rest, "value")
    elseif op == "X" then set(params, strange, "value")
    elseif op == "l" then max_files, max_items = (rest:byte(1) or 0) * 4, rest:byte(2) or 0
    elseif op == "M" then
      setmetatable(params, angry)
      if list then setmetatable(list, angry) end
      if type(item) == "table" and item ~= odd.l and item ~= odd.e then setmetatable(item, angry) end
    end
  end
  return params, max_files, max_items
end

-- ---- the rules: true, or false for what must be refused or raised ----

local function is_text(text)
  return type(text) == "string" and utf8.len(text) ~= nil and not text:find "[%c]" and not text:find "[\127]"
end

local rules = {}

-- White space and what nobody sees.
local function is_unseen(code)
  return code <= 0x20 or code >= 0x7f and code <= 0xa0 or code == 0xad or code == 0x1680 or code == 0x180e
    or code >= 0x2000 and code <= 0x200f and code ~= 0x200c and code ~= 0x200d
    or code >= 0x2028 and code <= 0x202f or code >= 0x205f and code <= 0x206f or code == 0x3000 or code == 0xfeff
end

local function has_unseen(text)
  for _, code in utf8.codes(text) do
    if is_unseen(code) then return true end
  end
  return false
end

local function is_host(text) return not text:find '[*,"]' and not has_unseen(text) end

local function is_url(text)
  if not is_text(text) then return false end
  local rest = text:match "^[Hh][Tt][Tt][Pp][Ss]?://(.*)$"
  if not rest or not rest:find "^[^/?#:]" or not is_host(rest:match "^[^/?#]*") then return false end
  local lower = rest:lower()
  for before in lower:gmatch "()https?://" do
    local start = before > 1 and utf8.offset(lower, -1, before)
    if start and is_unseen(utf8.codepoint(lower, start)) then return false end
  end
  return true
end

function rules.files(item)
  if type(item) ~= "table" then return is_url(item) end
  for key in next, item do
    if key ~= "url" and key ~= "headers" then return false end
  end
  local headers = rawget(item, "headers")
  if headers ~= nil then
    if type(headers) ~= "table" then return false end
    for name, value in next, headers do
      if name == "" or not is_text(name) or not is_text(value) then return false end
    end
  end
  return is_url(rawget(item, "url"))
end


function rules.tags(item)
  return type(item) == "string" and #item <= 1024 and item:find "^[!-~]+$" ~= nil and not item:find '[,"]'
end

function rules.hosts(item) return is_text(item) and item:find "^[^/]+$" ~= nil and is_host(item) end

function rules.prefixes(item)
  return is_text(item) and item:find "^[^/?#][^?#]*$" ~= nil and not item:find "^[^/]*://" and
    select(2, item:gsub("/", "/")) <= 31 and not has_unseen(item) and is_host(item:match "^[^/]*")
end

local function is_id(id) return type(id) == "string" and #id <= 32 and id:find "^[%w_-]+$" ~= nil end

-- The kind and its value where params as a whole keep the rules.
local function valid(params, max_files, max_items)
  local kind, count = nil, 0
  for key, value in next, params do
    if key == "zone_id" or key == "environment_id" then
      if not is_id(value) then return nil end
    elseif key == "purge_everything" then
      if value ~= true then return nil end
      kind, count = key, count + 1
    elseif rules[key] then
      kind, count = key, count + 1
    else
      return nil
    end
  end
  if count ~= 1 then return nil end
  if kind == "purge_everything" then return kind, true end
  local list = rawget(params, kind)
  if type(list) ~= "table" then return nil end
  local items = 0
  for key in next, list do
    if math.type(key) ~= "integer" or key < 1 then return nil end
    items = items + 1
  end
  if items == 0 or items > (kind == "files" and max_files or max_items) then return nil end
  for i = 1, items do
    local item = rawget(list, i)
    if item == nil or not rules[kind](item) then return nil end
  end
  return kind, list
end

-- ---- what is the same to the API ----

local function fold_url(url)
  local scheme, host, rest = url:match '^([^/]*//)([^/?#"]*)(.*)$'
  return scheme:lower() .. host:lower() .. rest
end

local function identity(kind, item)
  if kind == "tags" or kind == "hosts" then return item:lower() end
  if kind == "prefixes" then return (item:gsub("^[^/]*", string.lower)) end
  if type(item) == "string" then return "s" .. fold_url(item) end
  local names, headers = {}, rawget(item, "headers")
  for name in next, headers or {} do names[#names + 1] = name end
  table.sort(names)
  local parts = { "o", fold_url(rawget(item, "url")), headers and "h" or "" }
  for _, name in ipairs(names) do
    parts[#parts + 1] = ("%d:%s=%d:%s"):format(#name, name, #headers[name], headers[name])
  end
  return table.concat(parts, "\1"), #names
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return rawequal(a, b) end
  for key, value in next, a do
    if not same(value, rawget(b, key)) then return false end
  end
  for key in next, b do
    if rawget(a, key) == nil then return false end
  end
  return true
end

local function check_body(kind, value, body, items)
  local read = cjson.decode(body)
  assert(next(read) == kind and next(read, kind) == nil)
  if kind == "purge_everything" then return assert(read[kind] == true and items == 1) end
  local seen, keys, expected, unsorted = {}, {}, {}, false
  for i = 1, rawlen(value) do
    local item = rawget(value, i)
    local id, headers = identity(kind, item)
    -- More headers than are sorted: equal ones may be sent twice.
    unsorted = unsorted or (headers or 0) > 16
    local of_key = key(kind, item)
    assert(type(of_key) == "string")
    if not unsorted then assert((keys[of_key] ~= nil) == (seen[id] ~= nil), "key() and the body differ") end
    keys[of_key] = true
    if not seen[id] then expected[#expected + 1] = item end
    seen[id] = true
  end
  if unsorted then return assert(#read[kind] >= #expected and items == #read[kind]) end
  assert(items == #expected and #read[kind] == items, "items")
  assert(same(expected, read[kind]), "the body is not what went in")
end

-- The field that is named is at fault, and the first item that is.
local function check_field(field, params, message)
  assert(type(field) == "string" and field ~= "", "no field is named")
  local kind, number = field:match "^(%l+)%[(%d+)%]"
  if not kind or message:find "no such parameter" then return end -- a key may have any name
  local list = rawget(params, kind)
  for i = 1, tonumber(number) do
    local item = rawget(list, i)
    local keeps = item ~= nil and rules[kind](item)
    assert(keeps == (i < tonumber(number)), "another item is at fault")
    local fine, of_key = pcall(key, kind, item)
    assert(keeps and of_key or not keeps and not (fine and of_key), "key() judges otherwise")
  end
end

return function(text)
  local params, max_files, max_items = build(text)
  local kind, value = valid(params, max_files, max_items)
  local fine, body, items, bucket, zone, environment = pcall(write, params, max_files, max_items)
  if not fine then
    assert(not kind, body)
    assert(type(body) == "string" and not body:find "metamethod", body)
    local field = body:match "^bad argument #1 to '[^']*' %((.*): [%a ]+ expected, got [%a ]+%)$"
    check_field(field, params, body)
  elseif not body then
    local err = items
    assert(not kind, "refused what keeps the rules: " .. tostring(err))
    assert(err.kind == "invalid_request" and err.attempts == 0 and #err.errors == 0)
    check_field(err.field, params, err.message)
    assert(tostring(err):find("invalid_request: ", 1, true) == 1)
  else
    assert(kind, "accepted what breaks a rule")
    assert(bucket == (kind == "files" and "urls" or "requests"))
    assert(zone == rawget(params, "zone_id") and environment == rawget(params, "environment_id"))
    check_body(kind, value, body, items)
  end
end
