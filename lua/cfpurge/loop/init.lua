--- Which loop a call belongs to, by what is running at the call; and which loops were asked to step a client.
local ours = require "cfpurge.core"

local names = {}
for _, name in ipairs { "openresty", "luv", "haproxy", "prosody", "cqueues", "copas", "blocking" } do
  names[name] = "cfpurge.loop." .. name
end

local function in_coroutine()
  local thread, is_main = coroutine.running()
  return thread ~= nil and not is_main
end

local loaded = package.loaded

local core = rawget(_G, "core")
local in_haproxy = type(core) == "table" and core.msleep and core.register_task

local function running()
  local ngx, vim, prosody = rawget(_G, "ngx"), rawget(_G, "vim"), rawget(_G, "prosody")
  if ngx and ngx.get_phase then
    return "openresty"
  elseif vim and (vim.uv or vim.loop) then
    return "luv"
  elseif in_haproxy then
    return "haproxy"
  elseif prosody and prosody.process_type == "prosody" then
    return "prosody"
  elseif loaded.cqueues and loaded.cqueues.running() then
    return "cqueues"
  elseif loaded.copas and loaded.copas.running ~= false and in_coroutine() then
    return "copas"
  elseif loaded.luv then
    return "luv"
  end
  return "blocking"
end

local M = {
  --- The module of each loop.
  names = names,

  HELD = "purge cannot wait in a function that C has called: use start",

  -- Lua 5.1 cannot: there an on_done, which is called under pcall, is not able to wait in a coroutine.
  yields_over_pcall = coroutine.wrap(function()
    return pcall(coroutine.yield)
  end)() == nil,
}

--- Does a function of C (table.sort, string.gsub) stand between the coroutine and its purge? 5.1 and 5.2 cannot tell.
function M.is_held()
  local may_yield = rawget(coroutine, "isyieldable")
  return may_yield ~= nil and not may_yield()
end

-- A method of ours counts for so many instructions of the task that has called it.
local INSTRUCTIONS = 200

--- HAProxy interrupts a task between any two instructions, by a hook, and others then run. None of ours: until the
--- method returns or the task sleeps, the hook is put off.
---@return integer? count of instructions that were left; nil where it is put off already
function M.hold()
  return in_haproxy and ours.hold() or nil
end

local function let_go(count, ...)
  if count then
    ours.let_go(count - INSTRUCTIONS)
  end
  return ...
end

--- Does HAProxy read its files? What it runs afterwards has no threads, and no files where there is a `chroot`.
function M.is_loading()
  return in_haproxy and core.httpclient() == nil
end

--- The methods of a class hold HAProxy off.
function M.hold_in(class)
  for name, method in pairs(in_haproxy and class or {}) do
    if type(method) == "function" then
      class[name] = function(...)
        return let_go(M.hold(), method(...))
      end
    end
  end
end

--- May an iterator that is asked now yield to the host? Elsewhere it runs in a coroutine of its own.
---@return boolean
function M.may_yield(state)
  return M.pick(state.loop).yields and M.yields_over_pcall and in_coroutine() and not M.is_held()
end

---@param loop string|table the option
---@return string? problem
function M.check(loop)
  if type(loop) == "table" then
    local has_both = type(loop.wait) == "function" and type(loop.drive) == "function"
    return not has_both and "a table needs the functions wait and drive" or nil
  end
  return not (names[loop] or loop == "auto") and "there is no loop '" .. loop .. "'" or nil
end

---@param loop string|table the option
---@return cfpurge.Loop
function M.pick(loop)
  local name = names[loop == "auto" and running() or loop]
  return not name and loop or loaded[name] or require(name)
end

-- ---- a client's loops ----

--- Is anything in flight that a loop has to step for?
---@return boolean
function M.is_active(state)
  return state.open and (state.count > 0 or state.untold or state.later or state.drains or state.busy) and true or false
end

--- Asks the current loop to step this client from now on, and returns it; false and a sentence where it cannot.
function M.drive(state)
  if state.is_cancelling then
    return false, "all is being cancelled"
  end
  local loop = M.pick(state.loop)
  if loop.blocks then
    return loop
  end
  state.driven[loop] = true
  local can, problem = loop.drive(state.client)
  return can ~= false and loop, problem
end

--- Tells every loop that was asked to step this client that it need not any more.
function M.undrive(state)
  local loop = next(state.driven)
  while loop and not M.is_active(state) do
    state.driven[loop] = nil
    loop.drive(state.client)
    loop = next(state.driven)
  end
end

return M
