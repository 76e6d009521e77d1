-- Inside nginx: runs the Lua that a request brings, in the phase of its location.
--
-- The code sees `client` (made in init_by_lua), `cfpurge`, `args` (what the spec sent along), `memory` (a table that
-- lives as long as the worker) and the functions below that are not of a phase. What it returns goes back as JSON.
require "spec.support.lines"
local json = require("cjson").new()
json.encode_sparse_array(true, 1)

local M = { memory = {}, on_tls = {} }

function M.load(path)
  M.plan = {}
  for line in io.lines(path) do
    local key, value = line:match "^([%w_]+)=(.*)$"
    M.plan[key] = value
  end
  M.cfpurge = require "cfpurge"
  M.contract = require "spec.hosts.contract"
  M.client = M.new()
end

function M.new(options)
  local filled = { base_url = M.plan.base_url, api_token = M.plan.token, ca_file = M.plan.ca_file }
  for key, value in pairs(options or {}) do
    filled[key] = value
  end
  return assert(M.cfpurge.new(filled))
end

function M.timers()
  return ngx.timer.running_count() + ngx.timer.pending_count()
end

function M.wait_until(fn)
  for _ = 1, 5000 do
    if fn() then
      return true
    end
    ngx.sleep(0.002)
  end
  error("waited in vain", 2)
end

-- Sockets, and whatever else is open, as /proc names it.
function M.descriptors()
  local pipe = io.popen("ls -l /proc/" .. ngx.worker.pid() .. "/fd")
  local list = {}
  for line in pipe:lines() do
    list[#list + 1] = line:match "%-> (.*)$"
  end
  pipe:close()
  return list
end

local function plain(value)
  return type(value) == "table" and getmetatable(value) and tostring(value) or value
end

local function pack(ok, ...)
  local list, count = { ... }, select("#", ...)
  for i = 1, count do
    list[i] = list[i] == nil and json.null or plain(list[i])
    -- An error's table is more than its sentence.
    local value = select(i, ...)
    if type(value) == "table" and value.kind then
      list[i] = { kind = value.kind, message = value.message, remaining = value.remaining }
    end
  end
  return json.encode { ok = ok, count = count, values = #list > 0 and list or json.null }
end

local function run(code, args)
  local fn, problem = loadstring(code, "=code")
  if not fn then
    return pack(false, problem)
  end
  local env = setmetatable({ args = args }, { __index = function(_, name)
    return M[name] ~= nil and M[name] or _G[name]
  end })
  return pack(xpcall(setfenv(fn, env), debug.traceback))
end

local function run_request()
  return run(ngx.unescape_uri(ngx.var.arg_code), json.decode(ngx.unescape_uri(ngx.var.arg_args)))
end

local function send(text)
  ngx.header.content_length = #text
  ngx.print(text)
  ngx.exit(200)
end

function M.answer()
  send(run_request())
end

function M.answer_in_timer()
  local code, args = ngx.unescape_uri(ngx.var.arg_code), json.decode(ngx.unescape_uri(ngx.var.arg_args))
  local text
  assert(ngx.timer.at(0, function()
    text = run(code, args)
  end))
  M.wait_until(function()
    return text
  end)
  send(text)
end

-- Where nothing can be answered, what came of it is kept under the name of the phase.
function M.keep()
  M.memory[ngx.get_phase()] = run_request()
end

-- A handshake brings no code: it runs what was laid down for its phase.
function M.keep_tls()
  local phase = ngx.get_phase()
  if M.on_tls[phase] then
    M.memory[phase] = run(M.on_tls[phase].code, M.on_tls[phase].args)
  end
end

return M
