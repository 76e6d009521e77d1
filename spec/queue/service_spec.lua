-- The unit file of lua/README.md, as it stands there.
local elsewhere = require "spec.support.where"
if elsewhere "once" then return end

local command = require "spec.support.command"
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local readme = require "spec.support.readme"

describe("the queue's service in the README", function()
  local unit = readme.block "systemd" .. "\n"
  local words = unit:match "\nExecStart=cfpurge ([^\n]*)\n"
  local home = unit:match "\nEnvironment=CFPURGE_QUEUE=(%S+)/queue.db\n"
  teardown(command.clean)

  it("is a unit of systemd", function()
    if not os.execute "command -v systemd-analyze >/dev/null" then return pending "no systemd" end
    local dir = host.must "mktemp -d /tmp/cfpurge-unit.XXXXXX":match "%S+"
    local file = assert(io.open(dir .. "/cfpurge.service", "w"))
    -- Where it is installed does not matter here.
    file:write((unit:gsub("ExecStart=cfpurge", "ExecStart=true")))
    file:close()
    local said = host.must(("systemd-analyze verify --man=no %s/cfpurge.service 2>&1; rm -r %s"):format(dir, dir))
    assert.is_nil(said:find("cfpurge.service", 1, true), said)
  end)

  it("sends what waits, and rests by systemd's signal", function()
    local dir = host.must "mktemp -d /tmp/cfpurge-unit.XXXXXX":match "%S+"
    assert.equal("/var/lib/" .. unit:match "\nStateDirectory=(%S+)\n", home)
    local zone = edge.zone()
    local options = { zone = zone, env = { CFPURGE_QUEUE = dir .. "/queue.db" } }
    assert.equal(0, select(3, command.run({ "tags", "a" }, options)))
    local list = {}
    for word in words:gmatch "%S+" do list[#list + 1] = word end
    local pid, wait = command.start(list, options)
    -- With a plan it asks whose zone it is first.
    local last = os.time() + 20
    while edge.counts(zone).items == 0 and os.time() < last do os.execute "sleep 0.05" end
    host.must("kill -TERM " .. pid)
    assert.equal(0, select(3, wait()))
    assert.equal(1, edge.counts(zone).items)
    os.execute("rm -r " .. dir)
  end)
end)
