--- libuv: Neovim, and plain luv. The loop watches the client's descriptor while something is in flight.
local loops = require "cfpurge.loop"

local vim = rawget(_G, "vim")
local uv = vim and (vim.uv or vim.loop) or require "luv"

local handles = setmetatable({}, { __mode = "k" })

-- In Neovim a callback of libuv may not call the editor's API, and neither could an on_done: the step is handed to the
-- main loop, and the descriptor, which stays readable until then, is not watched meanwhile.
local function watch(client, handle)
  local function on_ready()
    handle:stop()
    vim.schedule(function()
      if handles[client] == handle then
        -- Before the step: an on_done may wait for another purge.
        handle:start("r", on_ready)
        client:step(0)
      end
    end)
  end
  return vim and on_ready or function()
    client:step(0)
  end
end

-- The screen goes with the editor: it stays until a key is pressed, for SHOWN milliseconds at most.
local SHOWN = 5000

local function tell(text)
  if #vim.api.nvim_list_uis() == 0 then
    return io.stderr:write(text, "\n")
  end
  vim.api.nvim_echo({ { text .. " (press a key)", "ErrorMsg" } }, true, {})
  vim.wait(SHOWN, function()
    return vim.fn.getchar(1) ~= 0
  end, 20)
end

-- How long a queue has to store what was added, and to tell its store of what has ended, in milliseconds.
local STORING = 2000

local function is_any_active(queues)
  for _, queue in ipairs(queues) do
    if queue:active() then
      return true
    end
  end
  return false
end

-- The queue of each call that its store did not answer in time.
local function give_up(queues)
  local lost = {}
  for _, queue in ipairs(queues) do
    for _ in ipairs(queue:active() and queue:cancel() or {}) do
      lost[#lost + 1] = tostring(queue)
    end
  end
  return lost
end

-- The editor ends: what is in flight has as long as each client's exit_grace, and the user is told of the rest. What is
-- in a queue's store waits there for another.
local function leave()
  local cut_off, left, queues = {}, 0, {}
  for client in pairs(handles) do
    if client.rest then
      client:rest()
      queues[#queues + 1] = client
    else
      left = left + 1
      coroutine.wrap(function()
        for _, err in ipairs(client:drain() or {}) do
          cut_off[#cut_off + 1] = tostring(err)
        end
        left = left - 1
      end)()
    end
  end
  vim.wait(0x7fffffff, function()
    return left == 0
  end, 20)
  vim.wait(STORING, function()
    return not is_any_active(queues)
  end, 5)
  local lost = give_up(queues)
  if cut_off[1] then
    tell(("cfpurge: %d purge%s did not reach the API: %s"):format(#cut_off, cut_off[2] and "s" or "", cut_off[1]))
  end
  if lost[1] then
    tell(("cfpurge: %d call%s not answered by the store of %s"):format(#lost, lost[2] and "s" or "", lost[1]))
  end
end

if vim then
  vim.api.nvim_create_autocmd({ "VimLeavePre", "VimLeave" }, { callback = leave, desc = "cfpurge: ends its purges" })
end

local function forget(client)
  local handle = handles[client]
  handles[client] = nil
  if handle and not handle:is_closing() then
    handle:close()
  end
end

-- The error of a coroutine is the host's to report, not the business of whoever happened to wake it.
local function report(err)
  if vim then
    vim.schedule(function()
      error(err, 0)
    end)
  else
    local timer = uv.new_timer()
    timer:start(0, 0, function()
      timer:close()
      error(err, 0)
    end)
  end
end

-- Somebody else has resumed it: an iterator's callback may mean the iterator that yields in its place.
local function pass(request, thread, ...)
  local job = not request:done() and request.job
  if job and job.pass then
    job:pass(thread, ...)
  end
end

local function wait_in_coroutine(thread, request)
  if loops.is_held() then
    return false, loops.HELD
  end
  request.wake = function()
    local ok, err = coroutine.resume(thread)
    -- A coroutine that its host has closed waits no more.
    if not ok and err ~= "cannot resume dead coroutine" then
      report(debug.traceback(thread, tostring(err)))
    end
  end
  while not request:done() do
    pass(request, thread, coroutine.yield())
  end
  return true
end

local IN_CALLBACK = "purge cannot wait in a callback of libuv: use start, or a coroutine"

return {
  wait = function(client, request)
    local thread, is_main = coroutine.running()
    if thread and not is_main then
      return wait_in_coroutine(thread, request)
    elseif not vim then
      if uv.loop_mode() then
        return false, IN_CALLBACK
      end
      while not request:done() do
        -- False: nothing is left to run, so somebody has closed our handle.
        if not uv.run "once" and client:active() then
          client:step()
        elseif not (request:done() or client:active() or uv.loop_alive()) then
          request.job:stall()
        end
      end
      return true
    elseif vim.in_fast_event() then
      return false, IN_CALLBACK
    end
    -- It looks after each event; the interval is only for a request that ends without one.
    local ended = vim.wait(0x7fffffff, function()
      return request:done()
    end, 200)
    if not ended then
      -- Ctrl-C, where Neovim lets it through.
      request:cancel()
    end
    return true
  end,

  drive = function(client)
    if not client:active() then
      forget(client)
    elseif not handles[client] or handles[client]:is_closing() then
      local fd = client:fileno()
      if not fd then
        return false, "this system has no descriptor to watch"
      end
      local handle, err = uv.new_poll(fd)
      if not handle then
        return false, "libuv: " .. tostring(err)
      end
      handles[client] = handle
      handle:start("r", watch(client, handle))
    end
    return true
  end,
}
