-- Tarantool for the specs: the recipe RECIPE, whose loop carries a program (program.lua); or, without one, its purge.
local fiber = require "fiber"

local file = assert(io.open(os.getenv "RECIPE"))
local text = file:read "*a"

if os.getenv "CFPURGE_PROGRAM" then
  os.setenv("CLOUDFLARE_API_TOKEN", "unused") -- luacheck: ignore
  local loop = assert(loadstring(text .. "\nreturn loop"))()
  require("spec.hosts.program").start {
    options = { loop = loop }, spawn = function(fn) fiber.create(fn) end,
    wait_until = function(fn) while not fn() do fiber.sleep(0.002) end end,
  }
else
  assert(loadstring(text, "=recipe"))()
  local turns = 0
  fiber.create(function()
    while true do
      turns = turns + 1
      fiber.sleep(0.01)
    end
  end)
  print(purge "news") -- luacheck: ignore
  print(("turns: %d"):format(turns))
end
os.exit(0)
