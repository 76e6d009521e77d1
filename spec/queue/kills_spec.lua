-- Adders, workers, the command and nginx's workers are killed with -9 at random, 6 times for each store, or KILLS times in
-- all (`make kills`): what an add has said to be stored reaches the API after that add, nothing waits for ever, the store
-- stays whole.
local elsewhere = require "spec.support.where"
if elsewhere "lua5.4 unwatched" then return end

local host = require "spec.support.host"
local nginx = require "spec.hosts.nginx"
local socket = require "socket"
local stores = require "spec.support.stores"

local kills = tonumber(os.getenv "KILLS")
local ZONE = ("a"):rep(32)

-- Runs it again and again while DIR/on is there. Its process id is in DIR/NAME.pid; `after` is done where it ended well.
local function keep(dir, name, command, after)
  local script = ([[while [ -e %s/on ]; do before=$(cut -d' ' -f1 /proc/uptime) tag=t$(($(od -An -N1 -i /dev/urandom) %% 60))
    export before tag; (echo $BASHPID >%s/%s.pid; exec %s) >>%s/%s.out 2>&1 </dev/null && { %s; }; sleep 0.01; done]])
    :format(dir, dir, name, command, dir, name, after or ":")
  local file = assert(io.open(("%s/%s.sh"):format(dir, name), "w"))
  file:write(script)
  file:close()
  os.execute(("setsid timeout -k 1 900 bash %s/%s.sh >/dev/null 2>&1 </dev/null &"):format(dir, name))
end

local function lines_of(path)
  local list = {}
  for line in io.lines(path) do
    local instant, tags = line:match "^([%d.]+) (.*)$"
    for tag in (tags or ""):gmatch "%S+" do list[#list + 1] = { tonumber(instant), tag } end
  end
  return list
end

-- The instant of each tag's last line.
local function last_of(list)
  local last = {}
  for _, one in ipairs(list) do last[one[2]] = math.max(last[one[2]] or 0, one[1]) end
  return last
end

-- An nginx whose two workers add and send.
local function site(dir, target, url)
  local luajit = (os.getenv "LUA_CPATH"):match "^[^;]*":gsub("/[^/]*/%?%.so$", "/luajit/?.so")
  if not io.open((luajit:gsub("%?", "cfpurge/core"))) then return nil end
  return nginx.start {
    workers = 2, cpath = luajit, plan = { base_url = url, store = target, zone = ZONE },
    init = [[
      queue = assert(require("cfpurge").queue { store = host.plan.store, client = host.new(), lease = 1, linger = 0.01 })
    ]],
    init_worker = "assert(queue:work())",
    http = ([[server {
      listen unix:%s/site.sock;
      location = /add {
        content_by_lua_block {
          local tags = {}
          for tag in ngx.var.args:gmatch "t%%d+" do tags[#tags + 1] = tag end
          local added, err = queue:add({ tags = tags }, { zone_id = host.plan.zone })
          if not added then ngx.log(ngx.ERR, tostring(err)) end
          ngx.say(added and "stored" or "not")
        }
      }
    }]]):format(dir),
  }
end

for _, store in ipairs(stores) do describe("a queue in " .. store.name .. " whose processes are killed", function()
  local dir, it_runs, seen

  setup(function() dir = host.must "mktemp -d /tmp/cfpurge-kills.XXXXXX":match "%S+" end)
  teardown(function()
    os.remove(dir .. "/on")
    os.execute(("cat %s/*.pid 2>/dev/null | xargs -r kill -9 2>/dev/null; sleep 0.1"):format(dir))
    if it_runs then it_runs:stop "TERM" end
    stores.close()
    os.execute("rm -rf " .. dir)
  end)

  it("loses nothing", function()
    local target, count = store.target(), math.ceil((kills or 12) / 2)
    local function program(role) return ("lua5.4 spec/hosts/killed.lua %s %s '%s' %s"):format(role, dir, target, ZONE) end
    os.execute("touch " .. dir .. "/on " .. dir .. "/added " .. dir .. "/arrived")
    keep(dir, "api", program "api")
    local port = nginx.wait_until(function() return (nginx.read(dir .. "/api.out") or ""):match "%d+" end, 20, "the API")
    local url = ("http://127.0.0.1:%d/client/v4"):format(port)
    it_runs = site(dir, target, url)
    local env = ("env CLOUDFLARE_BASE_URL=%s CLOUDFLARE_API_TOKEN=t0k3n-0123456789 CLOUDFLARE_ZONE_ID=%s "):format(url, ZONE)
    local command = env .. [[lua5.4 -e 'os.exit(require "cfpurge.cli"(arg))' ]] .. dir .. "/none "
    os.execute("touch " .. dir .. "/none")
    for i = 1, 2 do
      keep(dir, "adder" .. i, program "adder")
      keep(dir, "worker" .. i, env .. program "worker")
    end
    keep(dir, "command", command .. ("tags $tag --queue='%s'"):format(target), ("echo $before $tag >>%s/added"):format(dir))
    keep(dir, "service", command .. ("queue work --queue='%s' --lease 1 -q"):format(target))
    local victims = { "adder1", "adder2", "worker1", "worker2", "command", "service" }
    if it_runs then
      keep(dir, "web", program "web")
      victims[7], victims[8] = "web", "nginx"
    end
    local killed = {}
    for _ = 1, count do
      socket.sleep(0.05 + math.random() * 0.25)
      local victim = victims[math.random(#victims)]
      killed[victim] = (killed[victim] or 0) + 1
      os.execute(victim == "nginx" and ("kill -9 $(pgrep -P %s | shuf -n 1)"):format(it_runs.master)
        or ("kill -9 $(cat %s/%s.pid) 2>/dev/null"):format(dir, victim))
    end
    -- Nobody adds any more, and all goes out.
    os.remove(dir .. "/on")
    for _, name in ipairs { "adder1", "adder2", "command", "web" } do
      os.execute(("kill -9 $(cat %s/%s.pid) 2>/dev/null"):format(dir, name))
    end
    socket.sleep(0.3)
    seen = { added = #lines_of(dir .. "/added"), killed = killed }
    local queue, began = store.queue { store = target }, socket.gettime()
    nginx.wait_until(function()
      local status = assert(queue:status())
      seen.status = status
      return status.waiting + status.in_flight == 0
    end, 60, "the store to be empty")
    seen.seconds, seen.arrived = socket.gettime() - began, #lines_of(dir .. "/arrived")
    assert.equal(0, seen.status.failed)
    local arrived, lost = last_of(lines_of(dir .. "/arrived")), {}
    for tag, instant in pairs(last_of(lines_of(dir .. "/added"))) do
      if (arrived[tag] or 0) < instant then lost[#lost + 1] = tag end
    end
    assert.same({}, lost)
    assert.is_true(seen.added > 5 * count, seen.added)
    if store.name == "sqlite" then
      assert.equal("ok\n", host.must(("sqlite3 %s 'PRAGMA integrity_check'"):format(target)))
    end
    if kills then
      local list = {}
      for victim, times in pairs(killed) do list[#list + 1] = victim .. " " .. times end
      table.sort(list)
      print(("\n%s: %d kills (%s); %d items added, %d arrived; empty after %.1f s"):format(store.name, count,
        table.concat(list, ", "), seen.added, seen.arrived, seen.seconds))
    end
  end)
end) end
