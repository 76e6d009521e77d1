-- As much of Kong and of APISIX as the plugins of lua/README.md meet: the names that they call, each only in the phases
-- in which the real one has it, and the phases in the order and the way in which the real ones run a plugin.
--
--   open(folder)   a table with a function for each phase of nginx; in the folder lie the plugin's files, and `conf`
local json = require("cjson").new()

local M = {}

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

-- The function, in these phases alone.
local function only(phases, fn)
  return function(...)
    local phase = ngx.get_phase()
    if not phases:find(phase, 1, true) then error("function cannot be called in " .. phase .. " phase", 2) end
    return fn(...)
  end
end

local REQUEST = "rewrite access header_filter body_filter log"

local function check(required, types, conf)
  for _, name in ipairs(required) do
    if conf[name] == nil then return nil, name .. ": required field missing" end
  end
  for name, value in pairs(conf) do
    if type(value) ~= types[name] then return nil, name .. ": expected a " .. tostring(types[name]) end
  end
  return true
end

local function exit(status, body)
  ngx.status = status
  ngx.header.content_type = "application/json"
  ngx.print(json.encode(body))
  return ngx.exit(status)
end

-- ---- Kong ----

local function new_kong()
  local log = {}
  for level, number in pairs { err = ngx.ERR, notice = ngx.NOTICE } do
    log[level] = function(...) ngx.log(number, "[kong] ", ...) end
  end
  return {
    log = log,
    request = {
      get_method = only(REQUEST, ngx.req.get_method),
      get_host = only(REQUEST, function() return ngx.var.host end),
      get_path_with_query = only(REQUEST, function() return ngx.var.request_uri end),
    },
    response = {
      get_headers = only("header_filter body_filter log", ngx.resp.get_headers),
      clear_header = only("rewrite access header_filter", function(name) ngx.header[name] = nil end),
      exit = only("rewrite access", exit),
    },
    ctx = setmetatable({}, { __index = function(_, name)
      assert(name == "plugin" and REQUEST:find(ngx.get_phase(), 1, true))
      ngx.ctx.plugin = ngx.ctx.plugin or {}
      return ngx.ctx.plugin
    end }),
  }
end

local function open_kong(folder, conf)
  _G.kong = new_kong()
  package.loaded["kong.db.schema.typedefs"] = { protocols_http = { type = "set" } }
  local required, types = {}, {}
  local fields = dofile(folder .. "/schema.lua").fields
  for _, field in ipairs(fields[2].config.fields) do
    local name, is = next(field)
    types[name], required[#required + 1] = is.type, is.required and name or nil
  end
  assert(check(required, types, conf))
  local handler = dofile(folder .. "/handler.lua")
  assert(handler.VERSION and handler.PRIORITY)
  return function(phase)
    if not handler[phase] then return end
    if phase ~= "access" then return handler[phase](handler, conf) end
    -- In a coroutine, so that an exit may be put off.
    local ok, err = coroutine.resume(coroutine.create(handler.access), handler, conf)
    if not ok then
      kong.log.err(err) -- luacheck: ignore
      return exit(500, { message = "An unexpected error occurred" })
    end
  end
end

-- ---- APISIX ----

local function open_apisix(folder, conf)
  package.loaded["apisix.core"] = {
    log = { error = function(...) ngx.log(ngx.ERR, ...) end },
    request = { get_method = only(REQUEST, ngx.req.get_method) },
    response = { set_header = function(name, value)
      if ngx.headers_sent then error("headers have already been sent", 2) end
      ngx.header[name] = value
    end },
    schema = { check = function(schema, given)
      local types = {}
      for name, is in pairs(schema.properties) do types[name] = is.type end
      return check(schema.required, types, given)
    end },
  }
  local plugin = dofile(folder .. "/cloudflare-purge.lua")
  assert(plugin.name == "cloudflare-purge" and plugin.version and plugin.priority)
  assert(plugin.check_schema(conf))
  return function(phase)
    -- `rewrite` runs in nginx's access phase.
    if phase == "rewrite" or phase == "init_worker" then return end
    ngx.ctx.api_ctx = ngx.ctx.api_ctx or { var = ngx.var }
    for _, each in ipairs(phase == "access" and { "rewrite", "access" } or { phase }) do
      local code, body = (plugin[each] or type)(conf, ngx.ctx.api_ctx)
      if phase == "access" and type(code) == "number" then return exit(code, body) end
    end
  end
end

function M.open(folder)
  local conf = json.decode(read(folder .. "/conf"))
  local run = (conf.kong and open_kong or open_apisix)(folder, conf.plugin)
  return setmetatable({}, { __index = function(_, phase)
    return function() return run(phase) end
  end })
end

return M
