-- The contract in spec/hosts/embedded.c: tasks are coroutines, and each frame steps the clients and resumes whoever
-- waits. Given: the contract, the plan that its `text` makes.
local contract, plan = ...
local tasks, active, host = {}, {}, { plan = plan, options = { loop = {} } }

function host.options.loop.wait(_, request)
  if not coroutine.isyieldable() then return false, "purge waits in a task: use start" end
  repeat coroutine.yield() until request:done()
end

function host.options.loop.drive(client)
  active[client] = client:active() or nil
end

function host.spawn(fn)
  local task = coroutine.create(fn)
  tasks[#tasks + 1] = task
  assert(coroutine.resume(task))
end

function host.wait_until(fn)
  while not fn() do coroutine.yield() end
end

local function guard(ok, err)
  if not ok then io.stderr:write(tostring(err), "\n") end
end

function frame() -- luacheck: ignore 111 (called by the C program)
  local stepped = {}
  for client in pairs(active) do stepped[#stepped + 1] = client end
  for _, client in ipairs(stepped) do guard(pcall(client.step, client, 0)) end
  for i = #tasks, 1, -1 do
    if coroutine.status(tasks[i]) == "suspended" then guard(coroutine.resume(tasks[i])) end
    if coroutine.status(tasks[i]) == "dead" then table.remove(tasks, i) end
  end
  return #tasks > 0
end

host.spawn(function()
  io.stdout:write(contract.run(host))
end)
