-- How long others wait in a server: asks it every 5 ms, on one connection, while a program runs within, and fails where an
-- answer took more than 10 ms, in each of five tries.
--
--   asked(where, run)   `where` are curl's words for what answers at once as long as the program runs; run() runs it
local host = require "spec.support.host"

return function(where, run)
  host.tries(function()
    local pipe = io.popen(([[timeout -k 2 60 sh -c 'until curl -s -o /dev/null %s; do sleep 0.01; done
      curl -s -o /dev/null --fail-early --rate 200/s -w "%%{http_code} %%{time_total}\n" %s?[1-10000]']]):format(where, where))
    run()
    local longest, count = 0, 0
    for seconds in pipe:read "*a":gmatch "200 ([%d.]+)\n" do
      longest, count = math.max(longest, tonumber(seconds)), count + 1
    end
    pipe:close()
    return count > 20 and longest <= 0.01, ("the longest of %d answers took %g s"):format(count, longest)
  end)
end
