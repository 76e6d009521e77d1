-- LÖVE for the specs: the contract, with a step(0) in each frame; or the recipe RECIPE, whose F5 is pressed.
--
-- With TURNS, so many turns of PRESSES purges each with the recipe's update, and as many without it; then it prints how
-- many of their frames at 60 Hz came late, and the longest update.
local love = love -- luacheck: ignore
local timer = love.timer

if not os.getenv "RECIPE" then
  local turn = require("spec.hosts.program").in_turns(function() love.event.quit() end)
  function love.update() turn() end
  return
end

-- LÖVE's own shows the error until it is closed.
love.errorhandler = print

assert(loadfile(os.getenv "RECIPE"))()

local FRAME = 1 / 60
local turns, presses = tonumber(os.getenv "TURNS" or 0), tonumber(os.getenv "PRESSES" or 1)
local update, draw = love.update, love.graphics.print
local late, longest, frames = { [true] = 0, [false] = 0 }, 0, 30

-- What the recipe shows its user.
local shown
function love.graphics.print(text, ...)
  if text ~= shown then print(text) end
  shown = text
  return draw(text, ...)
end

local function press()
  for _ = 1, presses do love.event.push("keypressed", "f5", "f5", false) end
end

local function turn(with)
  love.update = with and update or nil
  if with then press() end
  local at = timer.getTime()
  for _ = 1, frames do
    love.event.pump()
    for name, a, b, c in love.event.poll() do love.handlers[name](a, b, c) end
    if love.update then
      local begun = timer.getTime()
      love.update(FRAME)
      longest = math.max(longest, timer.getTime() - begun)
    end
    love.graphics.clear()
    love.draw()
    love.graphics.present()
    at = at + FRAME
    if timer.getTime() > at + FRAME / 2 then
      late[with], at = late[with] + 1, timer.getTime()
    end
    timer.sleep(math.max(0, at - timer.getTime()))
  end
end

if turns == 0 then
  press()
  local draws = love.draw
  local count = 0
  function love.draw()
    draws()
    count = count + 1
    if shown:find "^F5" == nil or count > 2000 then love.event.quit() end
  end
else
  function love.run()
    turn(false)
    late[false] = 0
    for _ = 1, turns do
      turn(true)
      turn(false)
    end
    print(("late: %d with, %d without; longest update %.4f"):format(late[true], late[false], longest))
    love.quit()
    return function() return 0 end
  end
end
