--- The only conductor: requests, waiting, conveniences.
local core = require "cfpurge.core"
local loops = require "cfpurge.loop"

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

-- Takes a request back before anything of it was sent.
local function withdraw(request, problem)
  local client = request.client
  if client.requests[request.id] then
    client.requests[request.id] = nil
    client.count = client.count - 1
    client.core:cancel(request.id)
    client.core:take(request.id)
    client:undrive()
  end
  return nil, core.error("invalid_request", problem, { remaining = request.params })
end

-- Several may wait for one request, each with a `wake` of its own.
local function wait_for(request)
  local waiter = request
  if request.waiters then
    waiter = setmetatable({}, { __index = request })
    request.waiters[#request.waiters + 1] = waiter
  else
    request.waiters = { waiter }
  end
  return request.client:current_loop().wait(request.client, waiter)
end

--- Waits the way the host waits.
---@return cfpurge.Result?, cfpurge.Error?
function Request:wait()
  if not self.ended then
    -- It may have been started under another loop, which does not run now.
    local can, problem = self.client:drive()
    if can ~= false then
      can, problem = wait_for(self)
    end
    if can == false then
      return nil, core.error("invalid_request", problem)
    end
  end
  return self.value, self.failure
end

-- ---- the client ----

-- Raises what the core raised, in the name of the function that the caller called and at the caller's line. `shift` is
-- how much further right the core has the argument.
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
  local problem = loops.check(loop)
  if problem then
    return nil, core.error("invalid_request", "loop: " .. problem, { field = "loop" })
  end
  local self = setmetatable({ core = handle, loop = loop, requests = {}, count = 0, driven = {}, open = true }, Client)
  -- What is in flight when the client is collected is reported too.
  handle:settle(function()
    for driven in pairs(self.driven) do
      if driven.closing then
        driven.closing()
      end
    end
    self.driven = {}
    -- Whoever waited would keep the client alive.
    for _, request in pairs(self.requests) do
      request.waiters = nil
    end
    self:settle()
  end)
  return self
end

function Client:current_loop()
  return loops.pick(self.loop)
end

-- Asks the current loop to step this client from now on.
function Client:drive()
  local loop = self:current_loop()
  self.driven[loop] = true
  return loop.drive(self)
end

-- Tells every loop that was asked to step this client that it need not any more.
function Client:undrive()
  local loop = next(self.driven)
  while loop and not self:active() do
    self.driven[loop] = nil
    loop.drive(self)
    loop = next(self.driven)
  end
end

-- Runs a callback of a request that ended; what it raises waits until all have run.
local function call(failures, callback, ...)
  if callback then
    local ok, raised = pcall(callback, ...)
    if not ok then
      failures = failures or {}
      failures[#failures + 1] = { raised }
    end
  end
  return failures
end

-- Takes every request that ended. All of them are reported before an error of an on_done is raised: as it is, or where
-- there are several, as their texts.
function Client:settle()
  local ended, failures
  while true do
    local id, result, err = self.core:take()
    if not id then
      break
    end
    local request = self.requests[id]
    if request then
      ended = true
      self.requests[id] = nil
      self.count = self.count - 1
      request.ended, request.value, request.failure = true, result, err
      failures = call(failures, request.on_done, result, err)
      local waiters = request.waiters
      for i = 1, waiters and #waiters or 0 do
        failures = call(failures, rawget(waiters[i], "wake"))
      end
    end
  end
  if ended then
    self:undrive()
  end
  if failures then
    if failures[2] then
      for i, failure in ipairs(failures) do
        failures[i] = tostring(failure[1])
      end
      error(table.concat(failures, "\n"), 0)
    end
    error(failures[1][1], 0)
  end
end

--- Is anything in flight? What a loop's `drive` asks: it sees that `step` is called while this is true. It is called
--- when that becomes so and when it no longer is, and may be called at any other time.
---@return boolean
function Client:active()
  return self.open and self.count > 0
end

---@return integer requests
function Client:in_flight()
  return self.count
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
  local request = setmetatable({ client = self, id = id, params = params, on_done = on_done, ended = false }, Request)
  self.requests[id] = request
  self.count = self.count + 1
  local can, problem = self:drive()
  if can == false then
    return withdraw(request, problem)
  end
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
  if not request.ended then
    local can, problem = wait_for(request)
    if can == false then
      return withdraw(request, problem)
    end
  end
  return request.value, request.failure
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
    error(("bad argument #1 to 'purge_environment' (environment_id: string expected, got %s)")
      :format(type(environment_id)), 2)
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
  return self.count
end

--- A descriptor that is readable while `step` has work; nil where the system has no such thing. It is another one after
--- a fork.
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
  self.open = false
  -- A loop must not watch a descriptor that is closed.
  self:undrive()
  self.core:close()
  self:settle()
end

Client.__close = Client.close

function Client:__tostring()
  return tostring(self.core)
end

return { new = new }
