-- What must be true of everything that a purge returns, whatever the server said (answer.c).
local cjson = require("cjson").new()
cjson.decode_max_depth(50)

local OK = 0 -- CF_OK
local abouts = { item = true, size = true, rate = true, credential = true, zone = true, plan = true, request = true }
local kinds = { bad_request = 400, authentication = 401, permission_denied = 403, not_found = 404, conflict = 409,
  unprocessable = 422, rate_limited = 429, server = 5, api = true, bad_response = true, connection = false, tls = false,
  timeout = false }

-- The envelope, if it says that it was a success. Before it there may be a byte order mark. lua-cjson would read no
-- further than to a NUL.
local function read_success(body)
  body = body:gsub("^\239\187\191", "")
  local fine, envelope = pcall(cjson.decode, body)
  return fine and not body:find "%z"
    and body:find "^[ \t\r\n]*{" ~= nil and type(envelope) == "table" and rawget(envelope, "success") == true
    and envelope
end

local function no_secret(value, secret)
  if type(value) == "string" then
    assert(not value:find(secret, 1, true), "a credential came out")
  elseif type(value) == "table" then
    for key, member in next, value do
      no_secret(key, secret)
      no_secret(member, secret)
    end
  end
end

local function is_list(list)
  local count = 0
  for _ in next, list do count = count + 1 end
  assert(count == #list)
  return true
end

local check_infos
function check_infos(list)
  assert(type(list) == "table" and is_list(list))
  for _, info in ipairs(list) do
    for key, value in next, info do
      if key == "code" then assert(math.type(value) == "integer")
      elseif key == "source" then assert(type(value) == "table")
      elseif key == "error_chain" then assert(#value > 0 and #value <= 8) check_infos(value)
      else assert(type(value) == "string" and (key == "message" or key == "documentation_url")) end
    end
  end
end

local function check_both(value)
  assert(type(value) == "table" and math.type(value.attempts) == "integer" and value.elapsed >= 0)
  assert(value.ray_id == nil or (type(value.ray_id) == "string" and value.ray_id:find "^[ -~]+$"))
  check_infos(value.messages)
end

local function check_result(result, items, is_get, envelope)
  check_both(result)
  assert(result.accepted == items and result.requests == 1 and is_list(result.ids) and #result.ids <= 1)
  assert(result.ids[1] == result.id and (result.id == nil or type(result.id) == "string"))
  assert(is_get or result.result == nil)
  local messages, id = envelope.messages, not is_get and type(envelope.result) == "table" and envelope.result.id
  local count = type(envelope.errors) == "table" and #envelope.errors or 0
  assert(#result.messages == (type(messages) == "table" and #messages or 0) + count)
  if type(id) ~= "string" then return assert(result.id == nil) end
  assert(result.id == id or result.id:find("***", 1, true), "another id")
end

local function check_error(err, failure, status, is_get)
  check_both(err)
  check_infos(err.errors)
  local of_kind = kinds[err.kind]
  assert(of_kind ~= nil, err.kind)
  if failure == OK then
    -- An envelope decides over the status, whose kind another about would be.
    if type(of_kind) == "number" and not err.about then assert(status == of_kind or status // 100 == of_kind) end
    assert(of_kind ~= false and (err.about == nil or abouts[err.about]))
  end
  assert(type(err.message) == "string" and err.message ~= "", "an error without words")
  assert(type(err.retryable) == "boolean" and err.accepted == 0)
  assert(err.retry_after == nil or (err.retry_after >= 0 and err.retry_after <= 1e9))
  assert((err.status or 0) == status)
  local has_code = err.code == nil
  for _, info in ipairs(err.errors) do has_code = has_code or info.code == err.code end
  assert(has_code)
  assert(tostring(err):find(err.kind .. ": " .. err.message, 1, true) == 1)
  if is_get then
    assert(err.remaining == nil)
  else
    local remaining = err.remaining
    assert(remaining.purge_everything == true or table.concat(remaining.tags, " ") == "a b c")
    assert((remaining.zone_id == "other") == (remaining.environment_id == nil))
  end
end

return function(failure, status, body, secret, other, items, is_get, result, err)
  local envelope = failure == OK and status >= 200 and status < 300 and read_success(body)
  assert((result ~= nil) == (err == nil) and (result ~= nil) == (envelope and true or false),
    "accepted is not what the envelope says")
  if result then
    check_result(result, items, is_get, envelope)
    result.result, result.result_info = nil, nil -- as it came, for the one who asked
  else
    check_error(err, failure, status, is_get)
    no_secret(tostring(err), secret)
    no_secret(tostring(err), other or secret)
  end
  no_secret(result or err, secret)
  no_secret(result or err, other or secret)
end
