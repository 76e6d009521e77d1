-- How long others wait in a server: asks it every 5 ms, on one connection, while a program runs within, and fails where more
-- than one answer of twenty took 10 ms longer than the edge's own, which is asked beside it, in each of five tries.
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

-- The slowest answer of those that are not the slowest twentieth, in seconds, and how many there were.
local function slow(said, who)
  local all = { 0 }
  for seconds in said:gmatch(who .. " 200 ([%d.]+)\n") do all[#all + 1] = tonumber(seconds) end
  table.sort(all)
  return all[math.ceil(#all * 0.95)], #all - 1
end

return function(where, run)
  host.tries(function()
    local pipe = io.popen(ASK:format(where, edge.up().ORIGIN .. "/asked", where))
    run()
    local said = pipe:read "*a"
    pipe:close()
    local longest, count = slow(said, "server")
    local control = slow(said, "edge")
    return count >= 20 and longest <= 0.01 + control, ("of %d answers 95%% took up to %g s, of the edge's own %g s"):format(
      count, longest, control)
  end)
end
