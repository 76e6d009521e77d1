-- A queue in SQLite whose file fails in every way: `add` says accepted only where it is on the disk; everything else is an
-- error of kind `store` with what is left.
local elsewhere = require "spec.support.where"
if elsewhere "engine" then return end

local core = require "cfpurge.core"
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local lfs = require "lfs"
local peer = require "spec.support.peer"
local stores = require "spec.support.stores"

local store = stores.of.sqlite
local TAGS = { "a", "b" }

local function shell(command, ...)
  return (host.must(command:format(...)):gsub("%s+$", ""))
end

local function refused(reason, result, err, tags)
  assert.is_nil(result)
  assert.same({ "store", reason }, { err.kind, err.reason })
  assert.same({ tags = tags or TAGS }, err.remaining)
  return tostring(err)
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

-- Another process holds the lock of the store for so many seconds.
local function lock(path, seconds)
  peer.launch(("sh -c \"(echo 'BEGIN IMMEDIATE; SELECT 1;'; sleep %g) | stdbuf -o0 sqlite3 %s\""):format(seconds, path),
    path .. ".lock")
  peer.await("lock", function() return shell("cat %s.lock", path) == "1" end)
end

describe("a queue in SQLite", function()
  after_each(stores.close)
  teardown(peer.stop)

  it("is readable for its owner alone, the files beside it too", function()
    local queue, _, _, path = store.queue()
    assert(queue:add { tags = TAGS })
    assert.equal("600\n600\n600", shell("stat -c %%a %s %s-wal %s-shm", path, path, path))
    assert.equal("ok", shell("sqlite3 %s 'PRAGMA integrity_check'", path))
    assert.equal("wal", shell("sqlite3 %s 'PRAGMA journal_mode'", path))
  end)

  it("is the file that its path named when it was made, whatever libsqlite3 makes of such a name", function()
    local folder, back = store.target(), lfs.currentdir()
    shell("mkdir %s", folder)
    assert(store.queue():add { tags = TAGS }) -- all is loaded
    for _, name in ipairs { "q.db", "file:q", ":memory:" } do
      assert(lfs.chdir(folder))
      local queue = store.queue { store = name }
      lfs.chdir(back)
      assert(queue:add { tags = TAGS })
      assert.equal("2", shell("sqlite3 %s/%s 'SELECT count(*) FROM items'", folder, name))
    end
  end)

  it("says what is wrong with the place", function()
    local text, short, folder, foreign = store.target(), store.target(), store.target(), store.target()
    write(text, ("no database "):rep(100))
    write(short, "no database")
    shell("mkdir %s", folder)
    shell("sqlite3 %s 'CREATE TABLE songs (name); INSERT INTO songs VALUES (1)'", foreign)
    local before = shell("md5sum %s; ls -l --time-style=full-iso %s*", foreign, foreign)
    for path, reason in pairs { [text] = "notadb", [short] = "notadb", [folder] = "io", [store.target() .. "/none/q.db"] = "io",
      ["/proc/q.db"] = "io" } do
      local queue = store.queue { store = path }
      local result, err = queue:add { tags = TAGS }
      refused(reason, result, err)
      result, err = queue:status()
      assert.same({ nil, "store", reason }, { result, err.kind, err.reason })
    end
    local result, err = store.queue({ store = foreign }):add { tags = TAGS }
    assert.matches("another program", refused("notadb", result, err))
    assert.equal(before, shell("md5sum %s; ls -l --time-style=full-iso %s*", foreign, foreign))
    assert.equal(("no database "):rep(100), shell("cat %s; echo .", text):sub(1, -2):gsub("\n$", ""))
  end)

  it("whose path begins in a folder that has gone is refused", function()
    local out = shell(([[cd $(mktemp -d) && rmdir $PWD && %s -e '
      local queue, message, err = require "cfpurge".queue { store = "x.db", zone_id = "z" }
      print(queue, err and err.field, message)' 2>&1]]):format(os.getenv "CFPURGE_LUA" or "lua5.4"))
    assert.matches("nil%s+store%s+.*[Nn]o such file", out)
  end)

  it("that is damaged says so, and is left to who can mend it", function()
    local queue, _, _, path = store.queue()
    for i = 1, 20 do assert(queue:add { files = { "https://example.com/" .. i .. "/" .. ("x"):rep(3000) } }) end
    queue:close()
    local file = assert(io.open(path, "r+b"))
    local size = file:seek "end"
    file:seek("set", 4096)
    file:write(("\255"):rep(size - 4096))
    file:close()
    queue = store.queue { store = path }
    local result, err = queue:add { tags = TAGS }
    assert.matches("damaged", refused("corrupt", result, err))
    assert.is_false(err.retryable)
  end)

  it("that may not be written says so", function()
    if elsewhere "unwatched" then return end -- another user cannot write what it saw
    local path = store.target()
    local queue = store.queue { store = path }
    assert(queue:add { tags = TAGS })
    queue:close()
    local as_nobody = shell "id -u" == "0" and "setpriv --reuid 65534 --regid 65534 --clear-groups " or ""
    local may_read = shell(as_nobody .. "test -r $PWD/lua/cfpurge/init.lua && echo yes || echo no")
    if may_read == "no" then return pending "this tree is for root's eyes alone" end
    shell("chmod 755 %s; chmod 444 %s", path:match "^(.*)/", path)
    local code = ([[
      local cfpurge = require "cfpurge"
      local queue = cfpurge.queue { store = %q, client = cfpurge.new { api_token = "abcdefghijk", zone_id = "z" } }
      local result, err = queue:add { tags = { "c" } }
      print(result, err.kind, err.reason, err.remaining.tags[1])]]):format(path)
    local file = path .. ".lua"
    write(file, code)
    assert.matches("nil\tstore\treadonly\tc", shell(
      "cd /; LUA_PATH='%s' LUA_CPATH='%s' %s%s %s 2>/dev/null", package.path:gsub(";%./[^;]*", ""),
      package.cpath:gsub(";%./[^;]*", ""), as_nobody, os.getenv "CFPURGE_LUA" or "lua5.4", file))
  end)

  it("that is locked by another waits, and holds up nobody", function()
    local queue, _, _, path = store.queue()
    assert(queue:add { tags = { "z" } })
    lock(path, 1)
    local told
    assert(queue:start({ tags = TAGS }, nil, function(added) told = added end))
    local longest, last = 0, core.now() + 8
    repeat
      local before = core.now()
      queue:step(0)
      longest = math.max(longest, core.now() - before)
    until told or core.now() > last
    assert.same({ added = 2, merged = 0 }, told)
    if not host.watched then assert.is_true(longest < 0.5, longest) end -- of the lock's second
  end)

  -- libsqlite3 then asks no busy handler.
  it("that another process is making at the same time waits for it", function()
    local path = store.target()
    shell("sqlite3 %s 'PRAGMA application_id = 1667657845; CREATE TABLE other (one)'", path)
    lock(path, 0.3)
    local queue = store.queue { store = path }
    assert(queue:add { tags = TAGS })
    assert.equal("wal", shell("sqlite3 %s 'PRAGMA journal_mode'", path))
  end)

  it("that is locked ends a drain at its deadline all the same", function()
    local queue, _, _, path = store.queue()
    assert(queue:add({ tags = { "a" } }, { delay = 100 }))
    lock(path, 3)
    local began = core.now()
    local _, err = queue:drain { deadline = 0.3 }
    assert.same({ "timeout", nil }, { err.kind, err.waiting })
    assert.is_true(core.now() - began < 2, core.now() - began)
    assert.matches("did not tell", tostring(err))
  end)

  it("that is locked for longer than 10 seconds says so, and can be closed meanwhile", function()
    local queue, _, _, path = store.queue()
    assert(queue:add { tags = { "z" } })
    lock(path, 12)
    local before = core.now()
    local result, err = queue:add { tags = TAGS }
    refused("busy", result, err)
    assert.is_true(err.retryable)
    assert.is_true(core.now() - before >= 9.9)
    local ended
    assert(queue:start({ tags = TAGS }, nil, function(_, problem) ended = problem end))
    before = core.now()
    queue:close()
    assert.is_true(core.now() - before < 1)
    assert.same({ "closed", { tags = TAGS } }, { ended.kind, ended.remaining })
  end)

  -- The limit on a file's size stands for the end of the disk.
  it("on a disk that is full takes nothing more, keeps what it took, and goes on when there is room", function()
    local path = store.target()
    local code = ([[
      local cfpurge = require "cfpurge"
      local queue = cfpurge.queue { store = %q, client = cfpurge.new { api_token = "abcdefghijk", zone_id = "z" } }
      local accepted, reason, refused = 0, nil, 0
      for i = 1, 400 do
        local list = {}
        for n = 1, 50 do list[n] = ("https://example.com/%%d/%%d/"):format(i, n) .. ("x"):rep(200) end
        local added, err = queue:add { files = list }
        if added then
          accepted = accepted + added.added
        else
          assert(#err.remaining.files == 50 and err.kind == "store", tostring(err))
          reason, refused = err.reason, refused + 1
          if refused == 3 then break end
        end
      end
      print(accepted, reason)]]):format(path)
    write(path .. ".lua", code)
    local said = shell("bash -c 'trap \"\" XFSZ; ulimit -f 600; %s %s.lua 2>/dev/null'",
      os.getenv "CFPURGE_LUA" or "lua5.4", path)
    local accepted, reason = said:match "^(%d+)\t(%w+)$"
    assert.is_true(tonumber(accepted) > 100 and (reason == "io" or reason == "full"), said)
    local queue = store.queue({ store = path }, { zone_id = "z" })
    assert.equal(tonumber(accepted), queue:status().waiting)
    assert.same({ added = 2, merged = 0 }, queue:add { tags = TAGS })
    assert.equal("ok", shell("sqlite3 %s 'PRAGMA integrity_check'", path))
  end)

  it("on a file system that is full tells adds and the worker, and both go on when there is room", function()
    if elsewhere "once" then return end
    local dir = store.target()
    shell("mkdir %s", dir)
    local _, zone = require "spec.support.client".new()
    edge.script(zone, { { pass = true, delay = 0.4 } })
    local seen, refusal = host.run([[
      local cfpurge = require "cfpurge"
      local ballast, stores = args.dir .. "/ballast", 0
      local function fill(yes)
        os.remove(ballast)
        local file = yes and assert(io.open(ballast, "w"))
        if file then
          file:setvbuf "no"
          while file:write(("x"):rep(4096)) do end
          file:close()
        end
      end
      local queue = assert(cfpurge.queue { store = args.dir .. "/q.db", client = (client.new { zone_id = args.zone }),
        linger = 0.01, on_event = function(event) stores = stores + (event.name == "store" and 1 or 0) end })
      local function wait(what, look)
        local last = system.now() + 20
        while not look() do
          queue:step(0.05)
          assert(system.now() < last, what)
        end
      end
      local function refused()
        local result, err = queue:add { tags = { "c", "d" } }
        assert(not result and err.kind == "store" and err.retryable and #err.remaining.tags == 2, tostring(err))
        return err.reason
      end
      assert(queue:add { tags = { "a", "b" } })
      queue:work()
      -- It is at the API as the disk fills up: the end of its claim finds no room.
      wait("request", function() return edge.counts(args.zone).requests == 1 end)
      fill(true)
      local reasons = { refused() }
      wait("answer", function() return edge.counts(args.zone).items == 2 end)
      wait("error", function() return stores > 0 end)
      reasons[2] = refused()
      queue:rest()
      fill(false)
      assert(queue:add { tags = { "c", "d" } })
      assert(queue:drain { deadline = 20 })
      local left = queue:status()
      queue:close()
      local check = io.popen("sqlite3 " .. args.dir .. "/q.db 'PRAGMA integrity_check'")
      return { reasons = reasons, left = { left.waiting, left.in_flight },
        items = edge.counts(args.zone).items, check = check:read "*l" }]],
      { disk = dir, args = { dir = dir, zone = zone } })
    if not seen then return pending(refusal) end
    assert.same({ reasons = { "full", "full" }, left = { 0, 0 }, items = 4, check = "ok" }, seen)
  end)

  it("on a file system that becomes read-only says so, and goes on when it may write", function()
    if elsewhere "once" then return end
    local dir = store.target()
    shell("mkdir %s", dir)
    local seen, refusal = host.run([[
      local cfpurge = require "cfpurge"
      local function open() return assert(cfpurge.queue { store = args.dir .. "/q.db", zone_id = "z" }) end
      local function mount(how) assert(os.execute("mount -o remount," .. how .. " " .. args.dir)) end
      local queue, reasons = open(), {}
      local function refused(of)
        local result, err = of:add { tags = { "c" } }
        assert(not result and err.kind == "store" and err.remaining.tags[1] == "c", tostring(err))
        reasons[#reasons + 1] = err.reason
      end
      assert(queue:add { tags = { "a" } })
      queue:close()
      mount "ro"
      queue = open()
      refused(queue)
      mount "rw"
      assert(queue:add { tags = { "b" } })
      local added = queue:status().waiting
      queue:close()
      os.execute("rm " .. args.dir .. "/q.db*")
      mount "ro"
      refused(open())
      return { reasons = reasons, added = added }]], { disk = dir, args = { dir = dir } })
    if not seen then return pending(refusal) end
    assert.same({ reasons = { "readonly", "readonly" }, added = 2 }, seen)
  end)

  it("whose files are deleted under it stores in new ones", function()
    for _, what in ipairs { "%s %s-wal %s-shm", "%s-wal %s-shm", "%s-wal" } do
      local queue, _, zone, path = store.queue()
      assert(queue:add { tags = { "old" } })
      shell("rm -f " .. what, path, path, path)
      assert(queue:add { tags = TAGS })
      local other = store.queue({ store = path }, { zone_id = zone })
      assert.same({ added = 0, merged = 2 }, other:add { tags = TAGS }, what)
      assert.same({ added = 1, merged = 1 }, queue:add { tags = { "a", "c" } })
      assert.same({ added = 0, merged = 2 }, other:add { tags = { "b", "c" } }, what)
      assert.equal("ok", shell("sqlite3 %s 'PRAGMA integrity_check'", path))
    end
  end)

  it("is forked at any moment of its thread's work, and the child opens it anew", function()
    local path, rounds = store.target(), host.watched and 30 or 150
    local hung = host.run([[
      local cfpurge = require "cfpurge"
      local queue = assert(cfpurge.queue { store = args.path, client = (client.new()) })
      assert(queue:add { tags = { "first" } })
      local hung = 0
      for i = 1, args.rounds do
        for n = 1, 3 do assert(queue:start { tags = { ("t%d.%d"):format(i, n) } }) end
        -- Every other time they are begun, and not handed to the thread.
        if i % 2 == 0 then queue:step(0) end
        -- Somewhere in the transaction.
        local till = system.now() + i % 30 * 0.0001
        while system.now() < till do end
        local child = system.fork()
        if child == 0 then
          system.exit(queue:add { tags = { "c" .. i } } and 0 or 1)
        end
        local ended
        for _ = 1, 500 do
          ended = system.wait(child, true)
          if ended then break end
          system.poll(-1, args.pause)
        end
        if not ended then
          os.execute("kill -9 " .. child)
          system.wait(child)
        end
        hung = hung + (ended == 0 and 0 or 1)
        if hung > 2 then break end
        while queue:step(1) > 0 do end
      end
      return { hung = hung, waiting = queue:status().waiting }]],
      { args = { path = path, rounds = rounds, pause = host.watched and 0.1 or 0.01 } })
    assert.same({ hung = 0, waiting = 1 + rounds * 4 }, hung)
  end)

  it("that one process has opened twice keeps its log when another process closes it", function()
    local path = store.target()
    local first = store.queue({ store = path }, { zone_id = "z" })
    assert(first:add { tags = { "a" } })
    assert(store.queue({ store = path }, { zone_id = "z" }):status())
    shell("sqlite3 %s 'SELECT count(*) FROM items'", path)
    assert.equal("there", shell("test -e %s-wal && echo there", path))
    assert(first:add { tags = { "b" } })
    assert.equal("2", shell("sqlite3 %s 'SELECT count(*) FROM items'", path))
  end)

  it("that a forked child has opened keeps its log when the parent closes", function()
    local path = store.target()
    local there = host.run([[
      local cfpurge = require "cfpurge"
      local queue = assert(cfpurge.queue { store = args.path, client = (client.new()) })
      assert(queue:add { tags = { "a" } })
      local child = system.fork()
      if child == 0 then
        local ok = queue:add { tags = { "b" } }
        io.open(args.path .. ".opened", "w"):close()
        system.poll(-1, 1)
        system.exit(ok and queue:add { tags = { "c" } } and 0 or 1)
      end
      while not io.open(args.path .. ".opened") do system.poll(-1, 0.02) end
      queue:close()
      local log = io.open(args.path .. "-wal")
      return { log = log ~= nil, child = system.wait(child) }]], { args = { path = path } })
    assert.same({ log = true, child = 0 }, there)
    assert.equal(3, store.queue({ store = path }):status().waiting)
  end)

  it("of a newer version is refused and left as it is", function()
    local queue, _, _, path = store.queue()
    assert(queue:add { tags = { "old" } })
    queue:close()
    shell("sqlite3 %s 'DROP TABLE budgets; ALTER TABLE lanes RENAME head TO first; UPDATE meta SET version = 99'", path)
    local before = shell("sqlite3 %s .dump | md5sum", path)
    queue = store.queue { store = path }
    local result, err = queue:add { tags = TAGS }
    assert.matches("newer cfpurge", refused("newer", result, err))
    assert.equal(before, shell("sqlite3 %s .dump | md5sum", path))
  end)
end)
