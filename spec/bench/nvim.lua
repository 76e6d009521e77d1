-- Inside Neovim: the longest gap between the ticks of a 5 ms timer, in a second and a bit without purges and in one in
-- which 16 wait for the API, on a cold connection; BENCH_ROUNDS times. Prints "idle busy", in seconds.
-- luacheck: read globals vim
local load = require "spec.bench.load"
local uv = vim.loop

local WINDOW = 1200
local params = load.purge "small"
local longest, last

local timer = uv.new_timer()
timer:start(0, 5, function()
  local now = uv.hrtime()
  longest, last = math.max(longest or 0, now - (last or now)), now
end)

local function gap_while(purges)
  longest, last = 0, nil
  local client, ended = nil, 0
  if purges > 0 then
    client = assert(require("cfpurge").new(load.options("TLS", "wait1000")))
  end
  for _ = 1, purges do
    coroutine.wrap(function()
      assert(client:purge(params))
      ended = ended + 1
    end)()
  end
  vim.wait(WINDOW, function()
    return false
  end)
  assert(ended == purges, "not all purges ended")
  return longest / 1e9
end

-- What is loaded once is not a gap of waiting.
require "cfpurge"
for _ = 1, tonumber(os.getenv "BENCH_ROUNDS") do
  io.stdout:write(gap_while(0), " ", gap_while(16), "\n")
end
vim.cmd "qa!"
