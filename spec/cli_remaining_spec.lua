-- The file of --remaining: lua/cfpurge/cli/remaining.lua, csrc/binding/cli.c.
local elsewhere = require "spec.support.where"
if elsewhere "engine text" then return end

local cjson = require("cjson").new()
local command = require "spec.support.command"
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local lists = require "spec.support.lists"

local unpack = unpack or table.unpack
local zone, run, dir

describe("the file of what remains", function()
  before_each(function()
    zone = edge.zone()
    run = command.of(zone)
    dir = os.tmpname()
    host.must(("rm %s && mkdir %s"):format(dir, dir))
  end)
  after_each(function()
    os.execute("chmod -R u+w " .. dir .. "; rm -rf " .. dir)
    command.clean()
  end)

  local function put(name, text)
    local file = assert(io.open(dir .. "/" .. name, "w"))
    file:write(text)
    file:close()
    return dir .. "/" .. name
  end

  local function refuse()
    edge.script(zone, { lists.refusal(1016) })
  end

  it("keeps the mode and the link, and touches no other file", function()
    local rest, part = put("rest", "old\n"), put("rest.part", "another's\n")
    host.must(("chmod 640 %s && ln -s rest %s/link"):format(rest, dir))
    refuse()
    assert.equal(1, select(3, run { "tags", "a", "--remaining", dir .. "/link" }))
    assert.same({ "a\n", "another's\n" }, { command.read(rest), command.read(part) })
    assert.equal("640 regular file\n" .. dir .. "/link symbolic link\n", host.must(
      ("stat -c '%%a %%F' %s; stat -c '%%n %%F' %s/link"):format(rest, dir)))
    assert.equal("link\nrest\nrest.part\n", host.must("ls " .. dir))
    -- A new one has the mode that any new file has.
    refuse()
    run { "tags", "a", "--remaining", dir .. "/new" }
    host.must(("touch %s/plain && test $(stat -c %%a %s/new) = $(stat -c %%a %s/plain)"):format(dir, dir, dir))
  end)

  it("is refused before anything is sent where it cannot be written", function()
    host.must(("ln -s nowhere %s/dangling"):format(dir))
    for path, problem in pairs { [dir] = "Is a directory", [dir .. "/none/rest"] = "No such file or directory",
      [dir .. "/dangling"] = "No such file or directory" } do
      local out, err, status = run { "tags", "a", "--remaining", path }
      assert.same({ "", 2 }, { out, status })
      assert.truthy(err:find("--remaining: " .. path .. ": " .. problem, 1, true), err)
    end
    assert.same({}, edge.requests(zone))
    assert.equal("dangling\n", host.must("ls -A " .. dir))
  end)

  it("may be the one that is read, however long it is, in /dev/shm too", function()
    local lines = {}
    for i = 1, 12000 do lines[i] = "tag-" .. i end
    local text = table.concat(lines, "\n") .. "\n"
    local shared = host.must("mktemp -d /dev/shm/XXXXXX"):gsub("\n", "")
    edge.script(zone, { lists.refusal(10000, 403) })
    for _, folder in ipairs { dir, shared } do
      local list = folder .. "/list"
      host.must(("mv %s %s"):format(command.file(text), list))
      local out, err, status = run { "tags", "--from", list, "--remaining", list, "--in-flight", "1" }
      assert.same({ "", 3 }, { out, status }, err)
      assert.truthy(err:find("0 accepted, 12,000 not; go on with --from " .. list, 1, true), err)
      assert.equal(text, command.read(list))
      assert.equal("list\n", host.must("ls " .. folder))
    end
    os.execute("rm -r " .. shared)
  end)

  it("may be standard output, whose file keeps what is in it", function()
    local log = put("log", "old\n")
    refuse()
    host.must(("%s >>%s 2>&1 || true"):format(command.line({ "tags", "a", "--remaining", "/dev/stdout" }, { zone = zone }), log))
    assert.matches("^old\n.*a\n", command.read(log))
  end)

  it("is one command's alone", function()
    local rest, waits = dir .. "/rest", {}
    edge.script(zone, { { delay = 0.1, times = 0, status = 400, json = lists.refusal(1016).json } })
    for i = 1, 2 do
      local lines = {}
      for k = 1, 100 do lines[k] = ("tag-%d-%d"):format(i, k) end
      waits[i] = select(2, command.start({ "tags", "--remaining", rest, unpack(lines) }, { zone = zone }))
    end
    for _, wait in ipairs(waits) do wait() end
    local first, count = command.read(rest):match "^tag%-(%d)", 0
    for number in command.read(rest):gmatch "tag%-(%d)%-%d+\n" do
      assert.equal(first, number)
      count = count + 1
    end
    assert.equal(100, count)
    assert.equal("rest\n", host.must("ls " .. dir))
  end)

  -- The directory of a file system that is full after 64 KB, or that goes away.
  local function with_disk(words, stdin, before_end)
    local line = command.line(words, { zone = zone })
    local out = command.file()
    local script = command.file(("mount -t tmpfs -o size=64k none %s && echo ready && { %s <%s; } >%s; echo status=$?; %s\n")
      :format(dir, line, command.file(stdin), out, before_end or ":"))
    local pipe = io.popen(("unshare -rm sh %s 2>&1"):format(script))
    local said = pipe:read "*a"
    pipe:close()
    return said, command.read(out)
  end

  it("falls back to standard output where the disk is full, and the counts are told", function()
    local lines = {}
    for i = 1, 30000 do lines[i] = "tag-" .. i end
    local text = table.concat(lines, "\n") .. "\n"
    for _, option in ipairs { "--quiet", "--json" } do
      edge.reset(zone)
      edge.script(zone, { lists.refusal(10000, 403) })
      local said, out = with_disk({ "tags", "--in-flight", "1", option, "--remaining", dir .. "/rest" }, text, "ls " .. dir)
      if not said:find "^ready\n" then return pending "no user namespaces" end
      assert.truthy(said:find("0 accepted, 30,000 not; --remaining: " .. dir .. "/rest: No space left on device", 1, true), said)
      assert.truthy(said:find "status=3\n$", said)
      if option == "--quiet" then
        assert.equal(text, out)
      else
        assert.same(lines, cjson.decode(out).remaining)
      end
    end
  end)

  it("falls back to standard output where its directory has gone, or a device takes nothing", function()
    edge.script(zone, { { delay = 1.5, status = 400, json = lists.refusal(1016).json } })
    local _, wait = command.start({ "tags", "a", "--remaining", dir .. "/rest" }, { zone = zone })
    edge.requests(zone, 1)
    os.execute("rmdir " .. dir)
    local out, err, status = wait()
    os.execute("mkdir " .. dir)
    assert.same({ "a\n", 1 }, { out, status }, err)
    assert.truthy(err:find("0 accepted, 1 not; --remaining: " .. dir .. "/rest: No such file", 1, true), err)
    refuse()
    out, err = run { "tags", "a", "--remaining", "/dev/full" }
    assert.equal("a\n", out)
    assert.truthy(err:find("0 accepted, 1 not; --remaining: /dev/full: No space left on device", 1, true), err)
  end)
end)
