-- How long others wait in a server: asks it every 5 ms, on one connection, while a program runs within, and fails where an
-- answer took 10 ms more than any of the edge's own, which is asked beside it, in each of five tries.
--
--   asked(where, run)   `where` are curl's words for what answers at once as long as the program runs; run() runs it
local edge = require "spec.support.edge"
local host = require "spec.support.host"

-- Where the machine stands still, both wait.
local ASK = [[timeout -k 2 60 sh -c '
  ask() {
    who=$1; shift
    exec curl -s -o /dev/null --fail-early --rate 200/s -w "%%{stderr}$who %%{http_code} %%{time_total}\n" "$@"
  }
  until curl -s -o /dev/null %s; do sleep 0.01; done
  (ask edge %s?[1-10000]) & (ask server %s?[1-10000]); kill $!' 2>&1]]

local function longest(said, who)
  local most, count = 0, 0
  for seconds in said:gmatch(who .. " 200 ([%d.]+)\n") do
    most, count = math.max(most, tonumber(seconds)), count + 1
  end
  return most, count
end

return function(where, run)
  host.tries(function()
    local pipe = io.popen(ASK:format(where, edge.up().ORIGIN .. "/asked", where))
    run()
    local said = pipe:read "*a"
    pipe:close()
    local most, count = longest(said, "server")
    local control = longest(said, "edge")
    return count > 10 and most <= 0.01 + control, ("the longest of %d answers took %g s, of the edge's %g s"):format(count, most,
      control)
  end)
end
