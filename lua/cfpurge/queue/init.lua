--- A queue: purges that outlive their process. Its methods; the rules are beside it.
local adding = require "cfpurge.queue.adding"
local budgets = require "cfpurge.queue.budgets"
local completion = require "cfpurge.completion"
local core = require "cfpurge.core"
local draining = require "cfpurge.queue.draining"
local figures = require "cfpurge.queue.figures"
local items = require "cfpurge.queue.items"
local links = require "cfpurge.queue.link"
local look_up = require "cfpurge.look_up"
local loops = require "cfpurge.loop"
local making = require "cfpurge.queue.making"
local metrics = require "cfpurge.metrics"
local requests = require "cfpurge.request"
local tables = require "cfpurge.tables"
local validate = require "cfpurge.validate"
local workers = require "cfpurge.queue.worker"

---@class cfpurge.Queue
local Queue = {}
Queue.__index = Queue

-- Where a queue has what it is inside: { state, link, store, handle, worker, options }.
local SELF = {}

-- Items of one call of failed, retry and discard in the store, and what `failed` shows by default.
local SOME, SHOWN = 500, 100

-- How long close waits, in seconds, until the store has heard what became of the claims.
local HANDOVER = 0.05

local function inside(self, name)
  local queue = type(self) == "table" and rawget(self, SELF)
  if not queue then
    error(("bad argument #1 to '%s' (cfpurge queue expected, got %s)"):format(name, type(self)), 3)
  end
  return queue
end

-- ---- adding ----

local function check_call(name, params, options)
  if type(params) ~= "table" then
    error(("bad argument #1 to '%s' (params: table expected, got %s)"):format(name, type(params)), 3)
  elseif options ~= nil and type(options) ~= "table" then
    error(("bad argument #2 to '%s' (options: table expected, got %s)"):format(name, type(options)), 3)
  end
end

local NOTHING = {}

-- Begins an add. -> the request and its loop, or nil and an error; the call, as it stands in `remaining`
local function begin(queue, params, options, on_done)
  local state, call = queue.state, { params = params, options = options }
  local before, request = #state.failures, requests.new(state, on_done)
  adding.begin(queue, request, tables.bare(params), tables.bare(options) or NOTHING)
  local begun, loop = requests.drive(request, call, before)
  return begun, loop, call
end

--- Adds what a purge would purge, and returns when it is on the disk.
---@param params cfpurge.Params
---@param options? cfpurge.QueueAddOptions
---@return cfpurge.Added?, cfpurge.Error? err its `remaining` is what was not stored
function Queue:add(params, options)
  local queue = inside(self, "add")
  check_call("add", params, options)
  local request, loop, call = begin(queue, params, options)
  if not request then
    return nil, loop
  end
  return requests.finish(request, loop, call)
end

--- Begins an `add` and never waits.
---@param params cfpurge.Params
---@param options? cfpurge.QueueAddOptions
---@param on_done? cfpurge.OnAdded runs once
---@return cfpurge.Request?, cfpurge.Error?
---@overload fun(self, params: cfpurge.Params, on_done: cfpurge.OnAdded): cfpurge.Request?, cfpurge.Error?
function Queue:start(params, options, on_done)
  local queue = inside(self, "start")
  options, on_done = validate.options_and_done("start", 2, options, on_done)
  check_call("start", params, options)
  local request, loop = begin(queue, params, options, on_done)
  if not request then
    return nil, loop
  end
  return request
end

-- ---- working ----

local function keep_busy(queue)
  queue.state.busy = queue.worker:is_active() or queue.drains > 0
  if queue.state.busy then
    loops.drive(queue.state)
  elseif queue.state.count == 0 then
    loops.undrive(queue.state)
  end
end

local NO_CLIENT = "client: this queue only adds: cfpurge.queue was given no client that sends"

--- From now on this process sends what waits, moved by its host's loop. It raises where the queue has no client.
---@return true?, cfpurge.Error? err where no loop runs that could, or the queue or its client is closed
function Queue:work()
  local queue = inside(self, "work")
  if queue.adder then
    error(NO_CLIENT, 2)
  elseif not queue.state.open then
    return nil, core.error("closed", "the queue was closed")
  elseif queue.worker:problem() then
    return nil, queue.worker:problem()
  end
  queue.state.busy = true
  local loop, problem = loops.drive(queue.state)
  if loop then
    queue.worker:work()
  end
  keep_busy(queue)
  return loop and true or nil, not loop and core.error("invalid_request", problem) or nil
end

--- Sends nothing more; what is in flight ends first.
function Queue:rest()
  local queue = inside(self, "rest")
  queue.worker:rest()
end

--- Works, and waits until nothing is left or `deadline` seconds have passed.
---@param options? cfpurge.QueueDrainOptions
---@return cfpurge.QueueDrained?, cfpurge.Error?
function Queue:drain(options)
  local queue = inside(self, "drain")
  local problem
  options, problem = making.call_options("drain", options, { deadline = "number" })
  if not options then
    return nil, problem
  elseif queue.adder then
    return nil, core.error("invalid_request", NO_CLIENT, { field = "client" })
  end
  local was_working = queue.worker.is_working
  queue.drains = queue.drains + 1
  queue.worker:work()
  keep_busy(queue)
  local result, err = look_up.wait(queue.state, nil, function(request, done)
    draining(queue, request, options.deadline, done)
  end)
  queue.drains = queue.drains - 1
  if not was_working then
    queue.worker:rest()
  end
  keep_busy(queue)
  return result, err
end

-- ---- what there is ----

local function ask(queue, commands, decode)
  return look_up.wait(queue.state, nil, function(_, done)
    queue.link:begin(commands, decode, done)
  end)
end

---@return cfpurge.QueueStatus?, cfpurge.Error?
function Queue:status()
  local queue = inside(self, "status")
  local status, err = ask(queue, queue.store.status())
  if status then
    status.sweeps = nil
    status.durability = queue.store.durable and ask(queue, queue.store.durable()) or queue.store.durability
    status.working = queue.worker.is_working
  end
  return status, err
end

--- What it holds, and what this process and its client have done, as Prometheus' text. It waits as `status` does.
---@param labels? table<string, string|number> that the samples of this process are to have
---@param store_labels? table<string, string|number> that those of the store are to have: the same from every process
---@return string? text, cfpurge.Error?
function Queue:metrics(labels, store_labels)
  local queue = inside(self, "metrics")
  local own, problem = metrics.page(labels, 1, "labels")
  local store, err = metrics.page(store_labels, 2, "store_labels")
  if not (own and store) then
    return nil, problem or err
  end
  local status
  status, err = ask(queue, queue.store.status())
  if not status then
    return nil, err
  end
  return figures(store, own, status, queue.link.gather:counts(), not queue.adder and queue.handle or nil)
end

--- What was refused for good, the oldest first, each with its error.
---@param filter? cfpurge.QueueFailedFilter
---@return cfpurge.QueueFailed[]?, cfpurge.Error?
function Queue:failed(filter)
  local queue = inside(self, "failed")
  local err
  filter, err = making.filter("failed", filter, { limit = "number" })
  if not filter then
    return nil, err
  end
  local list, after, most = {}, nil, filter.limit or SHOWN
  repeat
    local commands, decode = queue.store.failed(filter, math.min(SOME, most - #list), after)
    local rows, problem = ask(queue, commands, function(results)
      local rows, last = decode(results)
      return { rows = rows, last = last }
    end)
    if not rows then
      return nil, problem
    end
    for _, row in ipairs(rows.rows) do
      list[#list + 1] = items.shown(row)
    end
    after = rows.last
  until not after or #list >= most
  return list
end

-- All that had failed when it began: what fails again meanwhile is left.
local function all_of(queue, name, fits, problem)
  local transition, count = queue.store[name], 0
  if not fits then
    return nil, problem
  end
  local after, began
  repeat
    local commands, decode = transition(fits, SOME, after, began)
    local some, err = ask(queue, commands, decode)
    if not some then
      return nil, err
    end
    count, after, began = count + some.count, some.after, began or some.now
  until not after
  return count
end

--- What was refused waits again.
---@param filter? cfpurge.QueueFilter
---@return integer? count, cfpurge.Error?
function Queue:retry(filter)
  local queue = inside(self, "retry")
  local count, err = all_of(queue, "retry", making.filter("retry", filter))
  queue.worker:hear()
  return count, err
end

--- What was refused is forgotten.
---@param filter? cfpurge.QueueFilter
---@return integer? count, cfpurge.Error?
function Queue:discard(filter)
  local queue = inside(self, "discard")
  return all_of(queue, "discard", making.filter("discard", filter))
end

-- ---- moving and ending ----

--- Moves everything forward: what is added, what is sent, and the client.
---@param timeout? number seconds to wait for something to happen; 0 not to wait
---@return integer in_flight adds and other calls that have not ended
function Queue:step(timeout)
  local queue = inside(self, "step")
  completion.step(queue.state, timeout)
  return completion.in_flight(queue.state)
end

--- Does it work, or is anything in flight? A loop steps it while it does.
---@return boolean
function Queue:active()
  return loops.is_active(inside(self, "active").state)
end

---@return integer adds and other calls that have not ended
function Queue:in_flight()
  return completion.in_flight(inside(self, "in_flight").state)
end

---@return integer? fd readable while `step` has work; another one after a fork
function Queue:fileno()
  return inside(self, "fileno").link:fileno()
end

---@return number? seconds how long `step` may be put off; nil where nothing is in flight
function Queue:timeout()
  return completion.timeout(inside(self, "timeout").state)
end

--- Ends the calls that are in flight as cancelled; what is being added may be stored all the same. A queue that rests
--- leaves to the leases what the store could not be told of.
---@return cfpurge.Error[] cancelled an error for each, with what remains of it
function Queue:cancel()
  local queue = inside(self, "cancel")
  queue.worker:give_up()
  return completion.cancel_everything(queue.state)
end

-- The store is told that its claims are free, or the next worker would wait until their leases are over.
local function hand_over(queue)
  local ends, problem = core.now() + HANDOVER, nil
  while queue.state.count > 0 and core.now() < ends do
    local ok, raised = pcall(completion.step, queue.state, math.max(ends - core.now(), 0))
    problem = problem or (not ok and { raised }) or nil
  end
  return problem
end

--- Ends all: what was not sent waits in the store for the next worker. The client stays open.
function Queue:close()
  local queue = inside(self, "close")
  local problem = queue.state.open and queue.worker:stop() and hand_over(queue)
  queue.state.busy = false
  completion.close(queue.state, "the queue was closed")
  if queue.adder then
    queue.adder:close()
  end
  if problem then
    error(problem[1], 0)
  end
end

Queue.__close = Queue.close

function Queue:__tostring()
  return "cfpurge.queue: " .. inside(self, "tostring").options.store:gsub("://[^/]*@", "://***@")
end

-- ---- making one ----

--- A queue over a store: a path is SQLite's, for one machine; redis://host[:port][/db] is Redis, for many.
---@param options cfpurge.QueueOptions
---@return cfpurge.Queue? queue, string? message, cfpurge.Error? err
local function new(options)
  if type(options) ~= "table" then
    error(("bad argument #1 to 'queue' (table expected, got %s)"):format(type(options)), 2)
  end
  local field, problem = making.option_problem(options)
  if field then
    return validate.refused(field, problem)
  end
  local client_state, message, err = making.client_of(options)
  if not client_state then
    return nil, message, err
  end
  local module, store = making.store_of(options.store)
  if not module then
    return validate.refused("store", store)
  end
  local ok, handle = pcall(module.open, options.store)
  if not ok then
    return validate.refused("store", tostring(handle):match "%((.*)%)$" or tostring(handle))
  end
  local full = client_state.core:limits("files").max_items
  local others = client_state.core:limits("tags").max_items
  local link = links(handle, store, options.client)
  local state = completion.new(link, client_state.loop)
  local place = (options.zone or options.zone_id) and options or client_state
  state.zone, state.zone_id = place.zone, place.zone_id
  link.state = state
  local terms = {
    full = { files = full, others = others }, linger = options.linger or 0.2, lease = options.lease or 60,
  }
  terms.budget, terms.buckets, terms.overall, terms.plan = budgets.of_client(client_state)
  local queue = {
    state = state, link = link, store = store, handle = client_state.core, drains = 0,
    options = { store = options.store, capacity = options.capacity or 1000000, full = math.min(full, others) },
    worker = workers.new(link, store, client_state, terms, options.max_in_flight or 8),
    adder = not options.client and client_state.client,
  }
  state.worker, queue.worker.on_event = queue.worker, options.on_event
  queue.worker.on_rest = function()
    keep_busy(queue)
  end
  state.client = setmetatable({ [SELF] = queue }, Queue)
  handle:settle(function()
    state.open = false
    completion.collected(state, "the queue was collected")
  end)
  return state.client
end

loops.hold_in(Queue)

return { new = new }
