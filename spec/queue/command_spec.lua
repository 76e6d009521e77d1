-- The command's queue: lua/cfpurge/cli/store.lua, queue.lua and work.lua, as processes.
local elsewhere = require "spec.support.where"
if elsewhere "engine" then return end

local cjson = require("cjson").new()
local command = require "spec.support.command"
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local stores = require "spec.support.stores"

local null = cjson.null
local zone, about

-- ---- processes ----

-- The options of a command over this store.
local function over(target, more)
  local options = { zone = zone, env = { CFPURGE_QUEUE = target, CLOUDFLARE_API_TOKEN = false } }
  for name, value in pairs(more or {}) do options.env[name] = value end
  return options
end

local function with_token(target)
  return over(target, { CLOUDFLARE_API_TOKEN = edge.env.TOKEN })
end

-- Its output, where it ended well and told nothing else.
local function fine(words, options)
  local out, err, status = command.run(words, options)
  assert.same({ "", 0 }, { err, status }, err)
  return out
end

local function status_of(target)
  return cjson.decode(fine({ "queue", "status", "--json" }, over(target)))
end

-- Until `is_so` or a generous time.
local function wait_until(is_so)
  local ends = os.time() + 30
  while not is_so() do
    assert(os.time() < ends, "it never comes")
    os.execute "sleep 0.05"
  end
end

local function refusal(code, more)
  local answer = { times = 0, status = 400, json = { success = false, result = null, messages = {},
    errors = { { code = code, message = "so it is" } } } }
  for name, value in pairs(more or {}) do answer[name] = value end
  return answer
end

describe("a purge with --queue", function()
  local dir
  before_each(function()
    zone, about = edge.zone()
    dir = os.tmpname()
    host.must(("rm %s && mkdir %s"):format(dir, dir))
  end)
  after_each(function()
    os.execute("rm -rf " .. dir)
    command.clean()
  end)
  teardown(stores.close)

  it("is stored in the user's own store, which nobody else reads, and sent by `queue drain`", function()
    local options = { zone = zone, env = { XDG_STATE_HOME = dir .. "/state", CFPURGE_QUEUE = false,
      CLOUDFLARE_API_TOKEN = false } }
    local out = fine({ "files", "--queue", "https://" .. about.name .. "/a" }, options)
    assert.matches("^queued: 1 item, %d+%.%d s\n$", out)
    assert.equal("700 700 600\n", host.must(
      ("stat -c %%a %s/state %s/state/cfpurge %s/state/cfpurge/queue.db | paste -sd' '"):format(dir, dir, dir)))
    assert.same({}, edge.requests(zone))
    options.env.CLOUDFLARE_API_TOKEN = edge.env.TOKEN
    assert.matches("^accepted: 1 item, %d+%.%d s\n$", fine({ "queue", "drain", "--quiet" }, options) .. fine(
      { "files", "--quiet", "--queue", "https://" .. about.name .. "/a" }, options) .. command.run({ "queue", "drain" }, options))
    assert.equal(2, edge.counts(zone).items)
  end)

  it("is refused with what cannot be, before anything is stored", function()
    local target = stores[1].target()
    for words, problem in pairs {
      [{ "tags", "a,b" }] = "must not have a comma", [{ "tags", "a", "--delay", "x" }] = "'x' is no number",
      [{ "files", "--check", "https://a.example/" }] = "%-%-check: goes without a queue",
      [{ "tags", "a", "--queue=redis://user:secret@127.0.0.1/0" }] = "could be seen among the arguments",
      [{ "tags", "a", "--queue=rediss://:se/secret@127.0.0.1" }] = "could be seen among the arguments",
      [{ "tags", "a", "--again=-1" }] = "%-%-again: must be seconds",
      [{ "queue" }] = "a command is required",
    } do
      local out, err, status = command.run(words, over(target))
      assert.same({ "", 2 }, { out, status }, err)
      assert.matches("^cfpurge: [^\n]*" .. problem, err)
      assert.is_nil(err:find("secret", 1, true))
    end
    -- A dry run shows what the API would get.
    assert.matches("would send: 1 item", (command.run({ "tags", "a", "--delay", "5", "--again", "9", "--dry-run" },
      with_token(target))))
    local _, err, status = command.run({ "queue", "status" }, over "redis://:se/secret@127.0.0.1")
    assert.same({ 2, nil }, { status, err:find("secret", 1, true) }, err)
    _, err, status = command.run({ "tags", "a", "--delay", "5" }, over(false))
    assert.same({ 2, true }, { status, err:find("go with --queue", 1, true) ~= nil })
    _, err, status = command.run({ "tags", "a" }, { env = { CFPURGE_QUEUE = target }, zone = false })
    assert.same({ 2, "cfpurge: no zone: give --zone, or set CLOUDFLARE_ZONE_ID\n" }, { status, err })
    for _, action in ipairs { "status", "failed", "retry", "discard" } do
      local out
      out, err, status = command.run({ "queue", action }, over(target))
      assert.same({ "", 4, "none" }, { out, status, io.open(target) or "none" })
      assert.equal(("cfpurge: --queue: %s: No such file or directory: the first purge that is added makes the store\n"
        .. "cfpurge: check the store: %s\n"):format(target, target), err)
    end
  end)

  it("is refused by a store that everybody can write, and so is its sending", function()
    local target = stores[1].target()
    fine({ "tags", "a" }, over(target))
    host.must("chmod 666 " .. target)
    for _, words in ipairs { { "tags", "a" }, { "queue", "work" }, { "queue", "drain" }, { "queue", "status" } } do
      local _, err, status = command.run(words, with_token(target))
      assert.equal(2, status)
      assert.truthy(err:find("cfpurge: --queue: " .. target .. ": everybody can write it", 1, true), err)
    end
    host.must("chmod 660 " .. target)
    assert.equal(1, status_of(target).waiting)
  end)

  it("of zone auto finds the zone of each item when it is sent, and --again sends it twice", function()
    local target, other, its = stores[1].target(), edge.zone()
    local options = with_token(target)
    options.env.CLOUDFLARE_API_TOKEN = edge.token { zones = { zone, other } }
    fine({ "files", "--zone", "auto", "--again", "0.1", "https://" .. about.name .. "/a", "https://" .. its.name .. "/b" },
      over(target))
    assert.matches("^accepted: 4 items, ", fine({ "queue", "drain" }, options))
    assert.same({ 2, 2 }, { edge.counts(zone).items, edge.counts(other).items })
  end)

  it("that is interrupted says what was not stored", function()
    local target, lines = stores[1].target(), {}
    for i = 1, 200000 do lines[i] = "tag-" .. i end
    local options = over(target)
    options.stdin = table.concat(lines, "\n") .. "\n"
    fine({ "tags", "first" }, over(target))
    local pid, wait = command.start({ "tags", "--remaining", dir .. "/rest" }, options)
    wait_until(function() return status_of(target).waiting > 1 end)
    host.must("kill -INT " .. pid)
    local _, err, status = wait()
    assert.equal(130, status, err)
    local queued, left = err:match "^cfpurge: interrupted; ([%d,]+) queued, ([%d,]+) not; go on with %-%-from "
    queued, left = tonumber((queued:gsub(",", ""))), tonumber((left:gsub(",", "")))
    assert.equal(200000, queued + left)
    assert.equal(left, select(2, command.read(dir .. "/rest"):gsub("\n", "")))
    assert.truthy(status_of(target).waiting >= queued)
  end)

  it("is told of in the help, in 80 columns", function()
    for _, words in ipairs { { "--help" }, { "help", "files" }, { "help", "queue" }, { "queue", "work", "--help" },
      { "queue", "drain", "-h" }, { "help", "queue", "status" }, { "queue", "--help", "failed" } } do
      local out = fine(words)
      assert.matches("queue", out)
      for line in out:gmatch "[^\n]+" do assert.truthy(#line <= 80, line) end
    end
    assert.matches("Lists what was refused", fine { "help", "queue", "failed" })
  end)

  it("that cannot be stored remains, and no login is told", function()
    local rest = dir .. "/rest"
    for _, target in ipairs { "redis://user:secret@127.0.0.1:1/0", dir .. "/none/queue.db" } do
      local out, err, status = command.run({ "tags", "a", "b", "--remaining", rest }, over(target))
      assert.same({ "", 4, "a\nb\n" }, { out, status, command.read(rest) }, err)
      assert.truthy(err:find("0 queued, 2 not; go on with --from " .. rest .. "; check the store: ", 1, true), err)
      assert.is_nil(err:find("secret", 1, true))
    end
    local told = cjson.decode((command.run({ "tags", "a", "b", "--json" }, over(dir .. "/none/queue.db"))))
    assert.same({ 0, 0, "store", { "a", "b" } }, { told.queued, told.accepted, told.error.kind, told.remaining })
  end)

  it("says which package a store needs that is not there", function()
    local built = os.getenv "LUA_CPATH":match "^[^;]+":gsub("?", "cfpurge/core")
    host.must(("mkdir %s/cfpurge && ln -s %s %s/cfpurge/"):format(dir, built, dir))
    for target, rock in pairs { [dir .. "/queue.db"] = "sqlite", ["redis://127.0.0.1"] = "redis" } do
      local _, err, status = command.run({ "tags", "a" }, over(target, { LUA_CPATH = dir .. "/?.so;;" }))
      assert.equal(2, status, err)
      assert.matches("^cfpurge: %-%-queue: [^\n]*cfpurge%-" .. rock, err)
    end
  end)
end)

for _, store in ipairs(stores) do describe("the command's queue, " .. store.name, function()
  local target
  before_each(function()
    zone, about = edge.zone()
    target = store.target()
  end)
  after_each(command.clean)
  teardown(stores.close)

  it("takes every kind, an item once, and a list from standard input", function()
    assert.matches("^queued: 2 items, ", fine({ "tags", "a", "b" }, over(target)))
    assert.matches("^queued: 2 items %(1 waited already%), ", fine({ "tags", "a", "c", "--delay", "0" }, over(target)))
    assert.matches("^queued: everything, ", fine({ "everything", "--yes", "--environment", "staging" }, over(target)))
    local lines = {}
    for i = 1, 1200 do lines[i] = ("%s/%d"):format(about.name, i) end
    local told = cjson.decode(fine({ "prefixes", "--json" }, (function()
      local options = over(target)
      options.stdin = table.concat(lines, "\n")
      return options
    end)()))
    assert.same({ 1200, 0, null, {} }, { told.queued, told.accepted, told.error, told.remaining })
    assert.equal(1204, status_of(target).waiting)
    assert.same({}, edge.requests(zone))
    told = cjson.decode(fine({ "queue", "drain", "--json", "--quiet" }, with_token(target)))
    assert.same({ 1204, 0, 0 }, { told.accepted, told.failed, told.waiting })
    assert.equal(1204, edge.counts(zone).items)
    assert.equal(0, status_of(target).waiting)
  end)

  it("shows what somebody has put into the store, and no terminal obeys it", function()
    local rules = store.rules(target)
    rules.set_budget("\27[31mred", { requests = { 1, 1 } })
    rules.add({ stores.group("\27]0;z\7", "tags", { "\27c" }) }, { capacity = 10 })
    rules.settle(rules.claim(stores.terms()).fence, stores.settled {
      failed = { { "\27c", '{"message":"\\u001b[2J","ray_id":[]}' } },
      rest = { first = 60, most = 60, why = "tls\27[5m: x" },
    })
    for words, shows in pairs { status = "red: 1 left", ["status --json"] = "red", ["status --prometheus"] = "red",
      failed = "%[2J", ["failed --json"] = "%[2J" } do
      local list = { "queue" }
      for word in words:gmatch "%S+" do list[#list + 1] = word end
      local out = fine(list, over(target))
      assert.matches(shows, out)
      assert.is_nil(out:find "[%z\1-\9\11-\31]", out)
    end
  end)

  it("lists what was refused, has it wait again, and forgets it", function()
    edge.script(zone, { refusal(1100, { match = '"bad' }) })
    fine({ "tags", "a", "bad-1", "bad-2" }, over(target))
    local out, err, status = command.run({ "queue", "drain" }, with_token(target))
    assert.equal(1, status, err)
    assert.matches("^accepted: 1 item, ", out)
    assert.matches("cfpurge: zone " .. zone .. ": refused: bad%-1: [^\n]*so it is[^\n]*\n", err)
    assert.matches("failed    2 items: cfpurge queue failed\n", fine({ "queue", "status" }, over(target)))
    assert.matches("cfpurge_queue_items{state=\"failed\"} 2\n", fine({ "queue", "status", "--prometheus" }, over(target)))
    out = fine({ "queue", "failed", "--kind", "tags", "--limit", "1" }, over(target))
    assert.matches("^bad%-%d: [^\n]*so it is[^\n]*code 1100[^\n]*; zone " .. zone .. ", %d+%.%d s ago\n$", out)
    assert.equal("", fine({ "queue", "failed", "--kind", "hosts" }, over(target)))
    for _, limit in ipairs { "0", "1.5" } do
      out, err, status = command.run({ "queue", "failed", "--limit", limit }, over(target))
      assert.same({ "", "cfpurge: --limit: must be a whole number, at least 1\n", 2 }, { out, err, status })
    end
    local failed = cjson.decode(fine({ "queue", "failed", "--json" }, over(target))).failed
    assert.same({ 2, 1100, zone, false }, { #failed, failed[1].error.code, failed[1].zone, failed[1].invalidate })
    assert.equal("retried: 0 items\n", fine({ "queue", "retry", "--environment", "staging" }, over(target)))
    assert.equal("discarded: 0 items\n", fine({ "queue", "discard", "--older-than", "3600" }, over(target)))
    assert.equal("retried: 2 items\n", fine({ "queue", "retry", "--zone", zone }, over(target)))
    assert.equal(2, status_of(target).waiting)
    command.run({ "queue", "drain" }, with_token(target))
    assert.equal('{"discarded":2}\n', fine({ "queue", "discard", "--json" }, over(target)))
    assert.equal(0, status_of(target).failed)
  end)

  it("drains for so long at most, and says which zone rests and why", function()
    edge.script(zone, { refusal(10000, { status = 403 }) })
    fine({ "tags", "a" }, over(target))
    local out, err, status = command.run({ "queue", "drain", "--timeout", "1.5" }, with_token(target))
    assert.same({ 1, "accepted: 0 items, " }, { status, out:sub(1, 19) }, err)
    assert.equal(1, select(2, err:gsub("zone " .. zone .. " rests: [^\n]*so it is", "")), err)
    assert.matches("\ncfpurge: 1 item still waits\n$", err)
    assert.matches("rests     zone " .. zone .. ", for %d+ s: [^\n]*so it is", fine({ "queue", "status" }, over(target)))
  end)

  it("works until SIGTERM, and what is in flight ends first", function()
    edge.script(zone, { { delay = 1, pass = true } })
    fine({ "tags", "a" }, over(target))
    local pid, wait, wait_until_said = command.start({ "queue", "work", "--in-flight", "2" }, with_token(target))
    edge.requests(zone, 1)
    host.must("kill -TERM " .. pid)
    wait_until_said "rests"
    fine({ "tags", "b" }, over(target))
    local out, err, status = wait()
    assert.same({ "", 0 }, { out, status }, err)
    assert.matches("cfpurge: sends what waits in [^\n]*\ncfpurge: rests; what is in flight ends first\n", err)
    assert.equal(1, edge.counts(zone).items)
    local left = status_of(target)
    assert.same({ 1, 0 }, { left.waiting, left.in_flight })
  end)

  it("ends at once by a second signal, and nothing is lost", function()
    edge.script(zone, { { delay = 20, pass = true } })
    fine({ "tags", "a" }, over(target))
    local pid, wait, wait_until_said = command.start({ "queue", "work", "--lease", "1" }, with_token(target))
    edge.requests(zone, 1)
    host.must("kill -TERM " .. pid)
    wait_until_said "rests"
    host.must("kill -TERM " .. pid)
    local begun = os.time()
    assert.equal(143, select(3, wait()))
    assert.truthy(os.time() - begun < 10)
    edge.script(zone, {})
    fine({ "queue", "drain", "--quiet" }, with_token(target))
    assert.equal(1, edge.counts(zone).items)
  end)

  it("goes on in a second worker where the first is killed", function()
    edge.script(zone, { { delay = 20, pass = true } })
    fine({ "tags", "a" }, over(target))
    local pid, wait = command.start({ "queue", "work", "--lease", "1" }, with_token(target))
    edge.requests(zone, 1)
    host.must("kill -9 " .. pid)
    assert.equal(137, select(3, wait()))
    edge.script(zone, {})
    fine({ "tags", "b" }, over(target))
    local other, rested = command.start({ "queue", "work" }, with_token(target))
    wait_until(function() return edge.counts(zone).items == 2 end)
    host.must("kill -INT " .. other)
    assert.equal(0, select(3, rested()))
    local left = status_of(target)
    assert.same({ 0, 0 }, { left.waiting, left.in_flight })
  end)
end) end
