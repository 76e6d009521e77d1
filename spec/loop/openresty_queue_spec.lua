-- A queue in nginx: any worker adds, all work, a reload hands over without a gap, a worker that is killed costs nothing.
local elsewhere = require "spec.support.where"
if elsewhere "luajit" then return end

local edge = require "spec.support.edge"
local host = require "spec.support.host"
local nginx = require "spec.hosts.nginx"
local stores = require "spec.support.stores"

local sites = 0

-- An nginx whose workers work, with a page /save?tag=… that adds in the log phase. Its queue is in `memory`.
local function start(target, zone, options)
  sites = sites + 1
  local socket = ("%s/site-%d.sock"):format(edge.up().EDGE, sites)
  local it = nginx.start {
    workers = options.workers or 4, plan = { zone = zone, store = target },
    init = ([[
      local plan = host.plan
      queue = assert(require("cfpurge").queue {
        store = plan.store, client = host.new { zone_id = plan.zone ~= "" and plan.zone or nil },
        lease = %g, max_in_flight = %d, linger = 0.02,
      })
      work_said = tostring(select(2, queue:work()))
      host.memory.queue, host.memory.work_said = queue, work_said
    ]]):format(options.lease or 60, options.max_in_flight or 8),
    init_worker = "assert(queue:work())", exit_worker = "queue:close()",
    http = ([[
      server {
        listen unix:%s;
        location = /save {
          return 200 saved;
          log_by_lua_block {
            local tag = ngx.var.arg_tag
            local function on_done(added, err)
              ngx.log(added and ngx.NOTICE or ngx.ERR, "stored: ", added and tag or tostring(err), ";")
            end
            local request, err = queue:start({ tags = { tag } }, on_done)
            if not request then on_done(nil, err) end
          }
        }
      }
    ]]):format(socket),
  }
  return it, function(tag)
    local text = nginx.receive(it:open(("GET /save?tag=%s HTTP/1.0\r\nHost: site\r\n\r\n"):format(tag), socket))
    assert.equal("saved", text)
  end
end

-- How many of these have not arrived.
local function missing(zone, tags)
  local seen, count = {}, 0
  for _, request in ipairs(edge.requests(zone)) do
    for tag in request.body:gmatch '"(s%d+)"' do seen[tag] = true end
  end
  for _, tag in ipairs(tags) do count = count + (seen[tag] and 0 or 1) end
  return count
end

local LEFT = "local status = assert(memory.queue:status()) return status.waiting + status.in_flight"
local ADD_TO_ALL = [[
  for _, zone in ipairs(args) do assert(memory.queue:add({ tags = { "s1" } }, { zone_id = zone })) end
]]

for _, store in ipairs(stores) do describe("a queue in nginx, " .. store.name, function()
  local it_runs

  after_each(function() if it_runs then it_runs:stop "TERM" end end)
  teardown(stores.close)

  it("takes what any worker adds, also during two reloads and while a worker is killed", function()
    local zone = edge.zone()
    edge.script(zone, { { delay = 0.2, pass = true, times = 0 } })
    local save
    it_runs, save = start(store.target(), zone, { lease = 2 })
    assert.matches("nginx does not run yet", it_runs:run("content", "return memory.work_said"))
    local tags = {}
    local function are_stored()
      local count = 0
      for _ in it_runs:log():gmatch "stored: s%d+;" do count = count + 1 end
      return count == #tags
    end
    for i = 1, 600 do
      tags[i] = "s" .. i
      save(tags[i])
      if i == 150 or i == 300 then it_runs:signal "HUP" end
      if i == 450 then
        nginx.wait_until(are_stored, 15, "450 adds")
        -- The last one of those that nginx runs now.
        os.execute(("kill -9 $(pgrep -P %s | tail -n 1)"):format(it_runs.master))
      end
    end
    nginx.wait_until(are_stored, 15, "600 adds")
    nginx.wait_until(function() return missing(zone, tags) == 0 end, 20, "what was stored")
    assert.equal("", it_runs:problems "exited on signal 9")
    nginx.wait_until(function() return it_runs:run("content", LEFT) == 0 end, 10, "the last claims")
    nginx.wait_until(function() return host.must("pgrep -c -P " .. it_runs.master) == "4\n" end, 3, "the old workers")
  end)

  it("is worked on by all workers; those that shut down give back at once what they cannot end", function()
    local zones, target = {}, store.target()
    it_runs = start(target, "", { max_in_flight = 1 })
    for i = 1, 4 do
      zones[i] = edge.zone()
      edge.script(zones[i], { { delay = 20, pass = true } })
    end
    it_runs:run("content", ADD_TO_ALL, zones)
    for i = 1, 4 do edge.requests(zones[i], 1) end
    it_runs:stop "TERM"
    it_runs = start(target, "", {})
    for i = 1, 4 do edge.requests(zones[i], 2) end
  end)

  it("is added to where nothing can wait by start, and by add nowhere", function()
    local zone = edge.zone()
    it_runs = start(store.target(), zone, { workers = 1 })
    for i, phase in ipairs { "set", "header_filter", "body_filter", "log", "balancer", "ssl_session_store" } do
      local run = phase:find "ssl" and "run_tls" or "run"
      local added, err = it_runs[run](it_runs, phase, "return memory.queue:add { tags = { 'no' } }")
      assert.is_nil(added)
      assert.matches("cannot wait.*use start", err.message)
      assert.same({ "invalid_request", { "no" } }, { err.kind, err.remaining.tags })
      assert.is_true(it_runs[run](it_runs, phase, "return memory.queue:start { tags = { args.tag } } ~= nil",
        { tag = "s" .. i }))
    end
    local tags = { "s1", "s2", "s3", "s4", "s5", "s6" }
    nginx.wait_until(function() return missing(zone, tags) == 0 end, 10, "what was started")
  end)
end) end
