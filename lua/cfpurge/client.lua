--- The only conductor: requests, waiting, conveniences.
local core = require "cfpurge.core"

---@class cfpurge.Params exactly one of the five kinds
---@field purge_everything? true
---@field files? (string|{url: string, headers?: table<string, string>})[] absolute http(s) URLs
---@field tags? string[]
---@field hosts? string[]
---@field prefixes? string[] host/path
---@field zone_id? string in place of the client's
---@field environment_id? string

---@class cfpurge.Result what Cloudflare accepted; nothing tells when it is done
---@field id? string absent where the API sent a null result
---@field ids string[]
---@field accepted integer items
---@field requests integer
---@field attempts integer
---@field elapsed number seconds
---@field ray_id? string
---@field messages table[]

---@class cfpurge.Error with __tostring
---@field kind string
---@field message string
---@field status? integer
---@field code? integer the first of `errors`
---@field errors {code?: integer, message?: string}[]
---@field messages table[]
---@field ray_id? string
---@field attempts integer
---@field retry_after? number seconds that the server ordered
---@field retryable boolean may the same purge succeed later?
---@field field? string such as files[3].url
---@field accepted integer items
---@field remaining? cfpurge.Params exactly what was not accepted

---@class cfpurge.Request
local Request = {}
Request.__index = Request

---@class cfpurge.Client
local Client = {}
Client.__index = Client

-- ---- requests ----

---@return boolean
function Request:done()
  return self.ended
end

--- What `purge` would have returned; nothing while the request is in flight.
---@return cfpurge.Result?, cfpurge.Error?
function Request:result()
  return self.value, self.failure
end

--- Ends it with an error of the kind `cancelled`; its on_done runs before this returns.
---@return boolean cancelled false where it had ended already
function Request:cancel()
  local cancelled = not self.ended and self.client.core:cancel(self.id)
  self.client:settle()
  return cancelled
end

--- Waits the way the host waits.
---@return cfpurge.Result?, cfpurge.Error?
function Request:wait()
  if not self.ended then
    self.client:loop().wait(self.client, self)
  end
  return self.value, self.failure
end

-- Takes every request that ended. All of them are reported before the first error of an on_done is raised.
local function settle(handle, requests, count)
  local failed, failure
  while true do
    local id, result, err = handle:take()
    if not id then
      break
    end
    local request = requests[id]
    if request then
      requests[id] = nil
      count.value = count.value - 1
      request.ended, request.value, request.failure = true, result, err
      if request.on_done then
        local ok, raised = pcall(request.on_done, result, err)
        if not ok and not failed then
          failed, failure = true, raised
        end
      end
    end
  end
  if failed then
    error(failure, 0)
  end
end

-- ---- the client ----

local loops = { blocking = "cfpurge.loop.blocking" }

local function pick_loop()
  return "blocking"
end

-- Raises what the core raised, in the name of the function that the caller called and at the caller's line. `shift` is how
-- much further right the core has the argument.
local function raise(raised, name, shift, level)
  local number, detail = tostring(raised):match "^bad argument #(%d) to '[^']*' (.*)$"
  if number then
    raised = ("bad argument #%d to '%s' %s"):format(number - shift, name, detail)
  end
  error(raised, level)
end

--- Errors are of the kind `invalid_request`; a wrong type raises.
---@param options? table see the README's table
---@return cfpurge.Client?, cfpurge.Error?
local function new(options)
  local ok, handle, err = pcall(core.new, options)
  if not ok then
    raise(handle, "new", 0, 3)
  end
  if not handle then
    return nil, err
  end
  local loop = options and rawget(options, "loop") or "auto"
  if type(loop) == "string" and loop ~= "auto" and not loops[loop] then
    return nil, core.error("invalid_request", "loop: there is no loop '" .. loop .. "'", { field = "loop" })
  elseif type(loop) == "table" and not (loop.wait and loop.drive) then
    return nil, core.error("invalid_request", "loop: a table needs the functions wait and drive", { field = "loop" })
  end
  local requests, count = {}, { value = 0 }
  -- What is in flight when the client is collected is reported too.
  handle:settle(function()
    settle(handle, requests, count)
  end)
  return setmetatable({ core = handle, requests = requests, count = count, chosen = loop }, Client)
end

function Client:loop()
  local chosen = self.chosen
  if chosen == "auto" then
    chosen = pick_loop()
  end
  return type(chosen) == "table" and chosen or require(loops[chosen])
end

function Client:settle()
  settle(self.core, self.requests, self.count)
end

-- `name` is the function that the caller called, `shift` how much further right the core has its params.
local function begin(self, name, shift, params, options, environment_id, on_done)
  local ok, id, err = pcall(self.core.start, self.core, params, options, environment_id)
  if not ok then
    raise(id, name, shift, 4)
  end
  if not id then
    return nil, err
  end
  local request = setmetatable({ client = self, id = id, on_done = on_done, ended = false }, Request)
  self.requests[id] = request
  self.count.value = self.count.value + 1
  self:loop().drive(self)
  return request
end

--- Begins a purge and returns at once. `options.environment_id` picks an environment.
---@param params cfpurge.Params
---@param options? table options of one request
---@param on_done? fun(result?: cfpurge.Result, err?: cfpurge.Error) runs exactly once, unless this returns an error
---@return cfpurge.Request?, cfpurge.Error?
function Client:start(params, options, on_done)
  if on_done ~= nil and type(on_done) ~= "function" then
    error("bad argument #3 to 'start' (on_done: function expected, got " .. type(on_done) .. ")", 2)
  end
  local request, err = begin(self, "start", 1, params, options, nil, on_done)
  return request, err
end

local function finish(request, err)
  if not request then
    return nil, err
  end
  return request:wait()
end

---@param params cfpurge.Params
---@param options? table options of one request
---@return cfpurge.Result?, cfpurge.Error?
function Client:purge(params, options)
  return finish(begin(self, "purge", 1, params, options))
end

---@param environment_id string
---@param params cfpurge.Params
---@param options? table options of one request
---@return cfpurge.Result?, cfpurge.Error?
function Client:purge_environment(environment_id, params, options)
  if type(environment_id) ~= "string" then
    error("bad argument #1 to 'purge_environment' (environment_id: string expected, got " .. type(environment_id) .. ")", 2)
  end
  return finish(begin(self, "purge_environment", 0, params, options, environment_id))
end

-- purge_files, purge_tags, purge_hosts, purge_prefixes: the list first.
for _, kind in ipairs { "files", "tags", "hosts", "prefixes" } do
  local name = "purge_" .. kind
  Client[name] = function(self, list, options)
    if type(list) ~= "table" then
      error(("bad argument #1 to '%s' (%s: table expected, got %s)"):format(name, kind, type(list)), 2)
    end
    return finish(begin(self, name, 1, { [kind] = list }, options))
  end
end

---@param options? table options of one request
---@return cfpurge.Result?, cfpurge.Error?
function Client:purge_everything(options)
  return finish(begin(self, "purge_everything", 2, { purge_everything = true }, options))
end

--- Moves everything forward and runs the on_done of what ended; an error raised by one is raised here.
---@param timeout? number seconds to wait for something to happen; 0 not to wait, nil as long as it takes
---@return integer in_flight requests
function Client:step(timeout)
  self.core:step(timeout)
  self:settle()
  return self.count.value
end

--- A descriptor that is readable while `step` has work; nil where the system has no such thing. It is another one after a
--- fork.
---@return integer?
function Client:fileno()
  return self.core:fileno()
end

--- How long `step` may be put off.
---@return number? seconds nil where nothing is in flight
function Client:timeout()
  return self.core:timeout()
end

---@return table<string, integer>
function Client:stats()
  return self.core:stats()
end

--- Ends what is in flight with an error of the kind `closed`, closes the connections and wipes the credentials.
function Client:close()
  self.core:close()
  self:settle()
end

Client.__close = Client.close

function Client:__tostring()
  return tostring(self.core)
end

return { new = new }
