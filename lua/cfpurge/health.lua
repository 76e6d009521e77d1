--- Neovim's `:checkhealth cfpurge`: what the plugin needs, and whether it is there. No credential is shown.
local M = {}

-- Neovim 0.7 has another module, and up to 0.9 the functions have other names.
local function say(name, ...)
  local health = vim.health or require "health"
  local report = health[name] or health["report_" .. name]
  report(...)
end

local BUILD = "make install LUA=luajit, or LuaRocks; README.md, \"Install\""

local function check_modules(senders)
  say(vim.json and "ok" or "error", vim.json and "vim.json" or "no vim.json: Neovim 0.7 or newer is needed")
  local is_there, core = pcall(require, "cfpurge.core")
  if not is_there then
    return say("error", "cfpurge/core.so: " .. senders.why(core), { BUILD })
  end
  say("ok", "cfpurge/core.so " .. core.version)
  say("ok", core.libcurl())
  if vim.fn.exists ":Purge" == 0 then
    say("warn", "require(\"cfpurge.nvim\").setup was not called: :help cfpurge-setup")
  end
  return true
end

local function check_credential(sender, problem)
  if not sender or sender.problem then
    say("error", problem or sender.problem, { "export CLOUDFLARE_API_TOKEN=...; the permission is \"Cache Purge\"" })
  elseif sender.client then
    say("ok", "credential: there")
  else
    say("info", "credential: none is needed, this editor only adds to the queue")
  end
end

local function check_queue(queue, shown)
  local status, err = queue:status()
  if not status then
    return say("error", ("queue: %s: %s"):format(shown, tostring(err)))
  end
  say("ok", ("queue: %s: %d wait, %d were refused; %s"):format(shown, status.waiting + status.in_flight, status.failed,
    status.durability))
  for _, zone in ipairs(status.paused) do
    say("warn", ("queue: zone %s rests: %s"):format(zone.zone, zone.why or "?"))
  end
end

--- Called by Neovim.
function M.check()
  say("start", "cfpurge")
  require "cfpurge.nvim"
  local senders = require "cfpurge.nvim.sender"
  if not check_modules(senders) then
    return
  end
  local sender, problem = senders.get()
  check_credential(sender, problem)
  local shown = senders.store_shown()
  if not shown then
    say("info", "queue: none; as you leave, what is in flight has exit_grace seconds: :help cfpurge-queue")
  elseif sender then
    check_queue(sender.queue, shown)
  end
end

return M
