--- What sends the purges of Neovim's user, and tells of them: a client, or a queue that stores them first. It is made
--- at the first purge, or, where an earlier editor may have left something in the queue, after the start.
local tables = require "cfpurge.tables"
local text = require "cfpurge.cli.text"

-- Seconds between two lines that say how far a purge is.
local PAUSE = 1

local M = {}
local options = {}
local uv = vim.uv or vim.loop
-- { client =, queue =, problem = why a queue has no client }, once it is made.
local made

--- One line to the user.
---@param level "INFO"|"WARN"|"ERROR"
function M.tell(level, line)
  vim.notify("cfpurge: " .. text.cut(text.printable(line), 1000), vim.log.levels[level], { title = "cfpurge" })
end

-- Is it time for another line? Many requests of one list may be told of at once.
local function pacer()
  local ends
  return function()
    local now = uv.now() / 1000
    local is_due = not ends or now >= ends
    if is_due then
      ends = now + PAUSE
    end
    return is_due
  end
end

-- ---- the client and the queue ----

local function client_options()
  local filled, is_due = tables.copy(options.client), pacer()
  filled.on_event = filled.on_event or function(event)
    if event.name == "retry" and is_due() then
      local why = event.status and "HTTP " .. event.status or event.kind
      M.tell("WARN", ("%s: tries again in %s"):format(why, text.duration(event.wait)))
    elseif event.name == "warning" then
      M.tell("WARN", event.message)
    end
  end
  return filled
end

local function store()
  return options.queue == true and require "cfpurge.cli.store".of { queue = {} } or options.queue
end

local function make_queue(client, problem)
  local log = require "cfpurge.cli.log" {
    line = function(_, line)
      M.tell("WARN", line)
    end,
  }
  local own = options.client or {}
  local queue, why = require "cfpurge".queue {
    store = store(), client = client, zone = not client and own.zone or nil,
    zone_id = not client and own.zone_id or nil,
    on_event = function(event)
      if event.name == "accepted" then
        M.tell("INFO", "accepted: " .. text.count_of(event.items, "item"))
      end
      log:note(event)
    end,
  }
  if queue and client then
    queue:work()
  end
  return queue and { queue = queue, client = client, problem = problem }, why
end

--- Of what `require` raised: not all the places where a module was not found.
---@return string
function M.why(problem)
  return problem:match "^module .- not found" or text.printable(problem)
end

local function make()
  -- Before what needs it: a module that could not be loaded is not tried again.
  local is_there, why = pcall(require, "cfpurge.core")
  if not is_there then
    return nil, M.why(why)
  end
  local cfpurge = require "cfpurge"
  local client, problem
  if options.work ~= false then
    client, problem = cfpurge.new(client_options())
  end
  if options.queue then
    return make_queue(client, problem)
  end
  return client and { client = client }, problem
end

--- What was made, or is made now: { client =, queue = }; `problem` says why a queue's purges are not sent from here.
---@return table? sender, string? problem
function M.get()
  if not made then
    local ok, sender, problem = pcall(make)
    if not ok or not sender then
      return nil, tostring(ok and problem or sender)
    end
    made = sender
    if made.problem then
      M.tell("WARN", made.problem .. "; purges are stored and not sent")
    end
  end
  return made
end

--- The same; the user is told of the problem.
---@return table? sender, string? problem
function M.get_or_tell()
  local sender, problem = M.get()
  if not sender then
    M.tell("ERROR", problem .. " (:checkhealth cfpurge)")
  end
  return sender, problem
end

-- ---- loading ----

-- One module a turn of the loop. Where one fails the first purge says why.
local function load(names, done)
  local name = table.remove(names, 1)
  if not name then
    return done()
  end
  vim.schedule(function()
    if pcall(require, name) then
      load(names, done)
    else
      done()
    end
  end)
end

-- libcurl and its libraries take the linker more time than a turn should: a thread of libuv's has them loaded first.
local function load_ahead(done)
  local names = { "cfpurge.core", "cfpurge", options.queue and "cfpurge.queue" or nil }
  local path = not package.loaded["cfpurge.core"] and package.searchpath("cfpurge.core", package.cpath)
  if not path then
    return load(names, done)
  end
  uv.new_work(function(core)
    package.loadlib(core, "luaopen_cfpurge_core")
  end, function()
    load(names, done)
  end):queue(path)
end

--- From now on purges go by these options. What is in flight ends as it began.
---@param new cfpurge.nvim.Options
function M.set(new)
  if made and made.queue and made.client then
    made.queue:rest()
  end
  made, options = nil, new
  load_ahead(function()
    if new.queue and new.work ~= false and options == new then
      M.get_or_tell()
    end
  end)
end

--- Without its login.
---@return string? store where there is a queue
function M.store_shown()
  return options.queue and require "cfpurge.cli.store".shown(tostring(store()))
end

-- ---- purging ----

local function text_of(item)
  return require "cfpurge.cli.items".text_of(item)
end

-- What is purged, in a few words.
local function name_of(params, count)
  if params.purge_everything then
    return "everything"
  end
  local _, list = require "cfpurge.validate".kind_of(params)
  list = type(list) == "table" and list or {}
  return #list == 1 and text.cut(text_of(list[1]), 100) or text.count_of(count or #list, "item")
end

-- Items that were not accepted, of which a line tells.
local SHOWN = 5

local function tell_failure(params, err)
  local items, count = {}, 0
  for _, failure in ipairs(err.failures or {}) do
    for _, item in ipairs(failure.items) do
      count = count + 1
      items[#items + 1] = count <= SHOWN and text.cut(text_of(item), 100) or nil
    end
  end
  local more = count > SHOWN and (" and %s more"):format(text.grouped(count - SHOWN)) or ""
  M.tell("ERROR", ("%s: %s%s"):format(name_of(params), tostring(err),
    count > 1 and "; not accepted: " .. table.concat(items, ", ") .. more or ""))
end

local function tell_result(params, result, err)
  if not result then
    tell_failure(params, err)
  elseif result.added then
    M.tell("INFO", "stored: " .. name_of(params, result.added + result.merged))
  else
    M.tell("INFO", "accepted: " .. name_of(params, result.accepted))
  end
end

local function on_progress()
  local is_due = pacer()
  is_due()
  return function(progress)
    if progress.accepted + progress.failed ~= progress.total and is_due() then
      M.tell("INFO", ("%s accepted%s"):format(text.grouped(progress.accepted),
        progress.total and " of " .. text.grouped(progress.total) or ""))
    end
  end
end

--- Begins a purge, or its storing, and tells the user how it ends. It never waits.
---@param params cfpurge.Params
---@param call? cfpurge.CallOptions|cfpurge.QueueAddOptions
---@param on_done? fun(result?: cfpurge.Result|cfpurge.Added, err?: cfpurge.Error) runs once, after the user was told
---@return cfpurge.Request?, cfpurge.Error|string|nil problem of which the user was told
function M.purge(params, call, on_done)
  local sender, problem = M.get_or_tell()
  if not sender then
    return nil, problem
  end
  call = tables.copy(call)
  if not sender.queue then
    call.on_progress = call.on_progress or on_progress()
  end
  local way = sender.queue or sender.client
  local ok, request, err = pcall(way.start, way, params, call, function(result, err)
    tell_result(params, result, err)
    if on_done then
      on_done(result, err)
    end
  end)
  if not ok then
    M.tell("ERROR", request:match "%((.*)%)$" or request)
    return nil, request
  elseif not request then
    tell_failure(params, err)
  end
  return request, err
end

return M
