-- What is not the transfer, in a process of its own.
--   cost.lua client    loads the module and makes a client; the bytes of memory of the process
--   cost.lua libcurl   the same with libcurl alone
--   cost.lua cold      wall seconds of require, new and one purge over TLS
--   cost.lua params    CPU seconds of checking 500 URLs with headers and writing them as JSON; and of reading them by
--                      Lua's C functions, which any module has to do
local load = require "spec.bench.load"

local function print_memory()
  local file = assert(io.open "/proc/self/statm")
  local _, pages = file:read("*n", "*n")
  file:close()
  print(pages * 4096)
end

if arg[1] == "client" then
  assert(require("cfpurge").new(load.options "HTTP"))
  print_memory()
elseif arg[1] == "libcurl" then
  assert(package.loadlib("libcurl.so.4", "*"))
  print_memory()
elseif arg[1] == "cold" then
  local native = require "bench_native"
  local before = native.now()
  assert(assert(require("cfpurge").new(load.options "TLS")):purge((load.purge "small")))
  print(native.now() - before)
else
  local native = require "bench_native"
  local options = load.options "HTTP"
  options.zone_id = nil
  local client = assert(require("cfpurge").new(options))

  local function cpu_of(count, fn, params)
    local before = native.thread_cpu()
    for _ = 1, count do
      fn(params)
    end
    return (native.thread_cpu() - before) / count
  end

  local function start(params)
    -- Without a zone it is refused when the body is written.
    assert(not client:start(params))
  end

  local large = load.purge "large"
  cpu_of(50, start, large)
  -- In turns, so that both meet the same machine.
  local written, read = 0, 0
  for _ = 1, 8 do
    written = written + cpu_of(50, start, large) - cpu_of(500, start, { tags = { "a" } })
    read = read + cpu_of(50, native.read, large)
  end
  print(written / 8, read / 8)
end
