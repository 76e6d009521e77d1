-- The contract of waiting: the same scenarios for every host, as plain Lua 5.1 without any library but cfpurge.
--
-- In the runner (busted), before and after:
--   text = contract.prepare(edge, {tls = true, stores = {"sqlite", "redis"}}?)   makes and scripts a zone for each
--                         scenario, and for those of the queue a store of each kind (sqlite alone by default);
--                         `text` is Lua source ("return {…}"), all that the host needs to know: a file, a string, a
--                         variable for it
--   problems = contract.verify(edge, text, report, channel, skips?)   a list of sentences, empty when all is well;
--                         `report` is what contract.run returned, anywhere in a longer text, `channel` what came out
--                         of the host's own error channel (stderr, a log), `skips` which scenarios the host cannot run:
--                         "spawn" or "raises", as scenarios are marked
-- In the host, called where `purge` may wait (in a task, where the host has tasks):
--   report = contract.run(host)
--     host.plan           the table that `text` makes
--     host.options        what each client needs beside it (loop = …); may be nil
--     host.wait_until(fn, clients)   lets the host go on, in its own way, until fn() is true. A host without a loop
--                         steps the clients (a list); what a step raises belongs into the error channel
--     host.spawn(fn)      begins another task, in which `purge` may wait; nil where there are none (those scenarios are
--                         skipped). An error in a task belongs into the error channel
--     host.fatal          true where an error in a callback ends the process (those scenarios are skipped)
--     host.polls          true where the host has no descriptor to watch and looks again and again
--     host.waits          true where a step of wait_until waits for what happens, and the host has nothing else to do
local M = {}

local sets = { client = require "spec.hosts.scenarios", queue = require "spec.hosts.queue_scenarios" }

local PATIENCE = 10

-- ---- in the host ----

-- Lua 5.1 cannot yield over a pcall: there the first failure ends the run.
local protected = coroutine.wrap(function()
  return pcall(coroutine.yield)
end)() == nil and pcall or function(fn)
  fn()
  return true
end

-- One scenario as `prepare` has planned it, under the name that reports have.
local function scenario_of(one)
  local scenario = sets[one.set][one.at]
  return scenario, one.kind and scenario[1] .. " (" .. one.kind .. ")" or scenario[1]
end

local function run_one(host, one)
  local scenario, name = scenario_of(one)
  local zone = one.zone
  local clients, t = {}, { zone = zone, marker = "raised:" .. zone, store = one.store, waits = host.waits,
    polls = host.polls }
  function t.new(options)
    local plan = host.plan
    local filled = { zone_id = zone, base_url = plan.base_url, api_token = plan.token, ca_file = plan.ca_file }
    for _, more in ipairs { host.options or {}, options or {} } do
      for key, value in pairs(more) do filled[key] = value end
    end
    local client = assert(require("cfpurge").new(filled))
    clients[#clients + 1] = client
    return client
  end
  function t.wait_until(fn)
    local limit = os.time() + PATIENCE
    host.wait_until(function()
      return fn() or os.time() > limit
    end, clients)
    if not fn() then error("waited " .. PATIENCE .. " s in vain", 2) end
  end
  t.spawn, t.now = host.spawn, require("cfpurge.core").now
  function t.sleep(seconds)
    local limit = t.now() + seconds
    t.wait_until(function() return t.now() >= limit end)
  end
  function t.new_queue(options)
    local filled = { client = t.client, store = t.store, lease = 3, linger = 0.02 }
    for key, value in pairs(options or {}) do filled[key] = value end
    local queue = assert(require("cfpurge").queue(filled))
    table.insert(clients, 1, queue)
    return queue
  end
  local ok, err = protected(function()
    t.client = t.new()
    t.queue = one.store and t.new_queue()
    scenario[4](t)
  end)
  for _, client in ipairs(clients) do pcall(client.close, client) end
  return ok and "ok: " .. name or "FAILED: " .. name .. ": " .. tostring(err):gsub("%s*\n%s*", " ")
end

function M.run(host)
  local lines = { "contract begins" }
  for _, one in ipairs(host.plan.runs) do
    local scenario, name = scenario_of(one)
    if scenario.spawn and not host.spawn or scenario.raises and host.fatal then
      lines[#lines + 1] = "skipped: " .. name
    else
      lines[#lines + 1] = run_one(host, one)
    end
  end
  lines[#lines + 1] = "contract ends"
  return table.concat(lines, "\n") .. "\n"
end

M.pcall = protected

-- ---- in the runner ----

function M.prepare(edge, options)
  options = options or {}
  local env, runs = edge.up(), {}
  local function plan(set, kind)
    for at, scenario in ipairs(sets[set]) do
      local zone = edge.zone()
      if next(scenario[2]) then edge.script(zone, scenario[2]) end
      runs[#runs + 1] = ("{ set = %q, at = %d, zone = %q%s }"):format(set, at, zone, kind and
        (", kind = %q, store = %q"):format(kind, require("spec.support.stores").target(kind)) or "")
    end
  end
  plan "client"
  for _, kind in ipairs(options.stores or { "sqlite" }) do plan("queue", kind) end
  return ("return {\n  base_url = %q, token = %q,%s\n  runs = { %s },\n}\n"):format(
    options.tls and env.API_TLS or env.API_HTTP, env.TOKEN,
    options.tls and (" ca_file = %q,"):format(env.CA_FILE) or "", table.concat(runs, ",\n    "))
end

function M.verify(edge, text, report, channel, skips)
  local plan = (loadstring or load)(text)()
  local problems, body = {}, report:match "contract begins\n(.-)contract ends"
  local function problem(...)
    problems[#problems + 1] = table.concat({ ... }, ": ")
  end
  if not body then
    return { "the contract did not run to its end: " .. report .. channel }
  end
  for _, one in ipairs(plan.runs) do
    local scenario, name = scenario_of(one)
    local zone = one.zone
    if body:find("ok: " .. name .. "\n", 1, true) then
      local requests = edge.counts(zone).requests
      if scenario[3] and requests ~= scenario[3] then
        problem(name, ("%d requests arrived, expected %d"):format(requests, scenario[3]))
      end
      for _, which in ipairs(scenario.raises or {}) do
        if not channel:find("raised:" .. zone .. which, 1, true) then
          problem(name, "the error did not reach the host", which)
        end
      end
    elseif not (scenario[skips] and body:find("skipped: " .. name .. "\n", 1, true)) then
      problem(body:match("FAILED: " .. name:gsub("%p", "%%%0") .. "[^\n]*") or "it did not run: " .. name)
    end
  end
  return problems
end

return M
