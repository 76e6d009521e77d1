-- mpv for the specs: the contract, with a step(0) in a timer; or the recipe RECIPE, which is sent MESSAGES.
--
-- With TURNS the player plays 60 frames a second: so many turns with messages, and as many without; then it prints how
-- many frames came late or were lost in both, and the longest of the recipe's timer: mpv gives each script a thread,
-- so that a script that waits would lose no frame, but be deaf.
local mp = mp -- luacheck: ignore

local function quit()
  mp.command "quit"
end

if os.getenv "CFPURGE_PROGRAM" then
  mp.add_periodic_timer(1 / 240, require("spec.hosts.program").in_turns(quit))
  return
end

local longest, add_periodic_timer = 0, mp.add_periodic_timer
function mp.add_periodic_timer(seconds, fn)
  return add_periodic_timer(seconds, function()
    local began = mp.get_time()
    fn()
    longest = math.max(longest, mp.get_time() - began)
  end)
end
dofile(os.getenv "RECIPE")
mp.add_periodic_timer = add_periodic_timer

local turns = tonumber(os.getenv "TURNS" or 0)

local function send()
  for _ = 1, tonumber(os.getenv "MESSAGES" or 1) do mp.commandv("script-message", "purge", "news") end
end

local function lost()
  return mp.get_property_number("frame-drop-count", 0) + mp.get_property_number("vo-delayed-frame-count", 0)
end

if turns == 0 then
  send()
  mp.add_timeout(tonumber(os.getenv "SECONDS" or 1), quit)
  return
end

mp.register_event("file-loaded", function()
  local done, late, before = -1, { [true] = 0, [false] = 0 }, 0
  mp.add_periodic_timer(0.5, function()
    if done >= 0 then
      local with = done % 2 == 0
      late[with] = late[with] + lost() - before
    end
    done, before = done + 1, lost()
    if done == 2 * turns then
      print(("late: %d with, %d without; longest %.4f"):format(late[true], late[false], longest))
      return quit()
    end
    if done % 2 == 0 then send() end
  end)
end)
