-- Answers made from instructions, and what they must say (verdict.c): the table of spec/README.md stands here as ranks.
local cjson = require("cjson").new()
cjson.decode_max_depth(50)

local KINDS = { [400] = "bad_request", [401] = "authentication", [403] = "permission_denied", [404] = "not_found",
  [409] = "conflict", [422] = "unprocessable", [429] = "rate_limited" }
local ABOUTS = { [400] = "request", [401] = "credential", [403] = "credential", [404] = "zone", [413] = "size",
  [422] = "request", [429] = "rate" }
-- The first of these that one of the codes is about is what the answer is about.
local RANKS = { "overall", "rate", "credential", "zone", "plan", "size", "item", "request" }
local OF = { overall = "10100", rate = "971 1134", credential = "6003 6103 6111 9106 9109 10000 10001",
  zone = "7000 7003", plan = "1107", size = "1094 1101 1111", item = "1082 1100 1136 1315", request = "1012 1014 1092" }
local OWN_KIND = { overall = "rate_limited", rate = "rate_limited", credential = "authentication", zone = "not_found",
  plan = "permission_denied" }
-- Under these the status says more of the kind than the code.
local ACCESS, WRONG = { [401] = true, [403] = true, [404] = true }, { [400] = true, [413] = true, [422] = true }
local STATUS_SAYS = { credential = ACCESS, zone = ACCESS, plan = ACCESS, size = WRONG, item = WRONG, request = WRONG }

local rank_of = {}
for rank, about in ipairs(RANKS) do
  for code in OF[about]:gmatch "%d+" do rank_of[tonumber(code)] = rank end
end
local ZONE, ITEM = 4, 7

local function passes(status)
  return status == 408 or status == 409 or status == 429 or status // 100 == 5
end

-- What an envelope with these codes says that is no success.
local function expected(status, codes)
  local kind = KINDS[status] or (status // 100 == 5 and "server" or "api")
  local about = ABOUTS[status]
    or not (passes(status) or status // 100 == 3) and "request" or nil
  local rank, is_vague, others = nil, false, 0
  for _, code in ipairs(codes) do
    local its = code == 10000 and status == 404 and ZONE or rank_of[code]
    rank = its and math.min(rank or its, its) or rank
    is_vague, others = is_vague or code == 1016, others + (code == 1016 and 0 or 1)
  end
  if is_vague and others == 0 then rank = ITEM end
  local word = RANKS[rank]
  if not word or (passes(status) and rank > 2) then return kind, about, passes(status), false end
  if not (STATUS_SAYS[word] or {})[status] then kind = OWN_KIND[word] or "bad_request" end
  return kind, rank <= 2 and "rate" or word, rank <= 2, rank == 1
end

-- The first line is the status. The others, one instruction each:
--   e N   an error with this code      c N   one in the error_chain of the last    q N, f N   one whose code is a text,
--   m N   a message with this code     o N   an error that has it elsewhere                   a fraction
--   t W   success is the word W        l     success comes last      u   no member errors    w   blanks everywhere
--   b ... the rest of the input is the body as it is
local function build(text)
  local codes, errors, messages, success, is_last, blank, has_errors = {}, {}, {}, "false", false, "", true
  local at, depth
  for start, op, rest in text:gmatch "()(%a) ?([^\n]*)\n?" do
    local number = rest:match "^[1-9]%d?%d?%d?%d?%d?" or "0"
    if op == "b" then
      return text:sub(start + 1)
    elseif op == "e" then
      errors[#errors + 1] = { code = number }
      at, depth = errors[#errors], 0
      codes[#codes + 1] = tonumber(number)
    elseif op == "c" and at then
      at.chain = at.chain or {}
      at.chain[#at.chain + 1] = { code = number }
      codes[#codes + 1] = tonumber(number)
      -- What is nested deeper than 50 is read by nobody.
      if #at.chain % 3 == 0 and depth < 20 then at, depth = at.chain[#at.chain], depth + 1 end
    elseif op == "q" then errors[#errors + 1] = { code = '"' .. number .. '"' }
    elseif op == "f" then errors[#errors + 1] = { code = number .. ".5" }
    elseif op == "o" then errors[#errors + 1] = { source = number }
    elseif op == "m" then messages[#messages + 1] = ('{"code":%s,"error_chain":[{"code":%s}]}'):format(number, number)
    elseif op == "t" then success = ({ t = "true", f = "false", n = "null", s = '"true"', o = "1" })[rest] or false
    elseif op == "l" then is_last = true
    elseif op == "u" then has_errors = false
    elseif op == "w" then blank = " \n\t\r"
    end
  end
  local function info(error)
    local members = { '"message":"x \\" \\\\"' }
    if error.code then table.insert(members, 1, '"code":' .. error.code) end
    if error.source then
      members[#members + 1] = ('"source":{"code":%s,"errors":[{"code":%s}]}'):format(error.source, error.source)
    end
    if error.chain then
      local chain = {}
      for i, one in ipairs(error.chain) do chain[i] = info(one) end
      members[#members + 1] = '"error_chain":[' .. table.concat(chain, ",") .. "]"
    end
    return "{" .. table.concat(members, "," .. blank) .. "}"
  end
  local list = {}
  for i, error in ipairs(errors) do list[i] = info(error) end
  local members = { '"messages":[' .. table.concat(messages, ",") .. "]", '"result":{"code":1107,"success":true}' }
  if has_errors then
    table.insert(members, 1, '"errors":' .. blank .. "[" .. table.concat(list, ",") .. "]")
  end
  if success then table.insert(members, is_last and #members + 1 or 1, '"success":' .. blank .. success) end
  local is_envelope = has_errors or success == "true" or success == "false"
  return blank .. "{" .. table.concat(members, blank .. "," .. blank) .. "}" .. blank, is_envelope,
    success == "true", has_errors and codes or {}
end

local function same(body, status, ...)
  local wanted, got = table.pack(...), table.pack(read(status, body))
  for i = 1, 4 do
    if got[i] ~= wanted[i] then
      error(("%d %s: %s, %s, %s, %s expected, not %s, %s, %s, %s"):format(status, body, wanted[1], wanted[2], wanted[3],
        wanted[4], got[1], got[2], got[3], got[4]))
    end
  end
end

-- Whatever came.
local function check_any(status, body)
  local kind, about, is_transient, is_overall = read(status, body)
  local fine, value = pcall(cjson.decode, body)
  local is_success = fine and type(value) == "table" and body:find "^%s*{" and rawget(value, "success") == true
  local is_2xx = status // 100 == 2
  if kind == nil then
    assert(is_2xx and not about and not is_transient and not is_overall)
    assert(not fine or is_success, "accepted without success")
  else
    -- lua-cjson reads no further than to a NUL.
    assert(not (is_2xx and is_success and not body:find "\\u" and not body:find "%z"), "a success is an error")
    assert(is_transient == (about == "rate")
      or (not about or about == ABOUTS[status]) and is_transient == passes(status))
    assert(not is_overall or about == "rate")
  end
  same(body .. " \r\n", status, kind, about, is_transient, is_overall)
  if body:sub(1, 3) ~= "\239\187\191" then
    same("\239\187\191" .. body, status, kind, about, is_transient, is_overall)
  end
end

return function(text)
  local line, rest = text:match "^([^\n]*)\n?(.*)$"
  local status = (tonumber(line:match "^%d%d?%d?") or 0)
  local body, is_envelope, is_success, codes = build(rest)
  check_any(status, body)
  if codes and is_success and status // 100 == 2 then
    same(body, status, nil, nil, passes(status), false)
  elseif is_envelope then
    same(body, status, expected(status, codes))
  end
  -- Of an answer that was cut short the status alone is read.
  local kind, about, is_transient = read(status, nil)
  assert(kind and is_transient == passes(status) and (not about or about == ABOUTS[status]))
end
