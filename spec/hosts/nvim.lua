-- Neovim: `nvim --headless -u NONE -c "luafile spec/hosts/nvim.lua"`.
local program = require "spec.hosts.program"
local uv = vim.loop

local host = { uv = uv }

local function go(thread)
  local ok, err = coroutine.resume(thread)
  if not ok then
    vim.schedule(function()
      error(err, 0)
    end)
  end
end

function host.spawn(fn)
  go(coroutine.create(fn))
end

function host.wait_until(fn)
  local thread, is_main = coroutine.running()
  if not thread or is_main then
    vim.wait(20000, fn, 5)
    return
  end
  local timer = uv.new_timer()
  timer:start(0, 2, vim.schedule_wrap(function()
    if not timer:is_closing() and fn() then
      timer:close()
      go(thread)
    end
  end))
  coroutine.yield()
end

local function main()
  program.start(host)
  if not host.stay then
    vim.cmd "qa!"
  end
end

if program.main then
  main()
else
  host.spawn(main)
end
