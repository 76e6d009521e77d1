-- Inside a web server that waits in its handlers: the contract, as an answer's body. lighttpd runs it for each request;
-- Apache calls `contract`. PLAN is a file with contract.prepare's text.
local function run()
  return require("spec.hosts.contract").run {
    plan = dofile(os.getenv "PLAN"),
    waits = true,
    wait_until = function(fn, clients)
      while not fn() do
        for _, client in ipairs(clients) do
          local ok, err = pcall(client.step, client, 0.01)
          if not ok then
            io.stderr:write(tostring(err), "\n")
            io.stderr:flush()
          end
        end
      end
    end,
  }
end

function contract(r) -- luacheck: ignore
  r:puts(run())
  return 0
end

if lighty then -- luacheck: ignore
  lighty.r.resp_body.set(run()) -- luacheck: ignore
  return 200
end
