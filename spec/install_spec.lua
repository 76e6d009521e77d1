-- What `make install` and LuaRocks install, and that it works: the Makefile and the rockspecs.
local elsewhere = require "spec.support.where"
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local stores = require "spec.support.stores"

local lua = os.getenv "CFPURGE_LUA" or "lua5.4"
local version = lua == "luajit" and "5.1" or lua:match "%d%.%d"
local release = assert(io.lines "VERSION"())

describe("installed", function()
  -- It is compiled anew, without what watches.
  if elsewhere "unwatched" then return end

  local dir = host.dir() .. "/install"
  local clean = "env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES -u LUA_PATH -u LUA_CPATH "

  local function make(target, words)
    return host.must(("%smake -s -j2 %s LUA=%s BUILD=%s/build CPPFLAGS= LDFLAGS= CFLAGS=-O0 %s 2>&1"):format(clean, target, lua,
      dir, words))
  end

  -- A directory in which every module of the command lies, as what tells that it was loaded.
  local function hostile()
    local to = dir .. "/hostile"
    host.must(([[rm -rf %s && mkdir -p %s/cfpurge/cli %s/luarocks && cd %s &&
      printf 'io.stdout:write "HOSTILE" os.exit(66)' >lua &&
      printf '#include <unistd.h>\n__attribute__((constructor)) static void run(void)' >so.c &&
      printf '{ write(1, "HOSTILE", 7); _exit(66); }' >>so.c &&
      cc -shared -fPIC -w -o so so.c &&
      for name in argparse cjson cfpurge cfpurge/core cfpurge/cli cfpurge/client cfpurge/cli/report cfpurge/init luarocks/loader
      do
        cp lua $name.lua && cp so $name.so || exit; done; rm so so.c lua]]):format(to, to, to, to))
    return to
  end

  -- The command, from a directory that would be heard of if anything of it were run.
  local function purges(command)
    local zone = edge.zone()
    local function run(env, words)
      return host.must(("cd %s && env -i PATH=\"$PATH\" CLOUDFLARE_BASE_URL=%s CLOUDFLARE_API_TOKEN=%s CLOUDFLARE_ZONE_ID=%s "
        .. "%s %s %s"):format(hostile(), edge.up().API_HTTP, edge.env.TOKEN, zone, env, command, words))
    end
    assert.matches("^accepted: 2 items in 1 request", run("", "tags a b"))
    assert.matches("^accepted: 1 item in 1 request",
      run("LUA_PATH='./?.lua;?.lua;;' LUA_CPATH='./?.so;cfpurge/../?.so;;'", "tags a"))
    assert.equal(2, edge.counts(zone).accepted)
    -- What the user has set is the user's own.
    host.must(("mkdir -p %s/mine && echo 'print \"mine\" os.exit(0)' >%s/mine/argparse.lua"):format(dir, dir))
    assert.equal("mine\n", run("LUA_PATH='./?.lua;" .. dir .. "/mine/?.lua;;'", "--version"))
    assert.matches("^init\ncfpurge %d", run("LUA_INIT='print \"init\"'", "--version"))
  end

  it("by make, everything is where it was asked for", function()
    make("install", "PREFIX=/opt/x DESTDIR=" .. dir .. "/staged")
    local prefix = dir .. "/staged/opt/x"
    host.must(("test -s %s/lib/lua/%s/cfpurge/core.so && test -x %s/bin/cfpurge"):format(prefix, version, prefix))
    assert.equal("", host.must(("diff -r lua/cfpurge %s/share/lua/%s/cfpurge"):format(prefix, version)))
    assert.equal("bin\nlib\nshare\n", host.must("ls " .. prefix))
    host.must(("grep -q '^.Os \"cfpurge %s\"' %s/share/man/man1/cfpurge.1"):format(release, prefix))
    for _, file in ipairs { "bash-completion/completions/cfpurge", "zsh/site-functions/_cfpurge",
      "fish/vendor_completions.d/cfpurge.fish" } do
      host.must(("grep -q remaining %s/share/%s"):format(prefix, file))
    end
  end)

  it("by make for another Lua, the command stays as it is, and goes with its own Lua", function()
    local words = "PREFIX=" .. dir .. "/two"
    local bin = dir .. "/two/bin/cfpurge"
    local function owner() return host.must(("head -n 1 %s | cut -c3-"):format(bin)) end
    make("install", words .. " COMMAND=no")
    host.must("! test -e " .. bin)
    make("install", words .. " COMMAND_LUA=/opt/lua9")
    assert.matches("stays as it is, with /opt/lua9: COMMAND=yes replaces it", make("install", words))
    assert.equal("/opt/lua9\n", owner())
    make("uninstall", words)
    assert.equal("/opt/lua9\n", owner())
    make("install", words .. " COMMAND=yes")
    assert.matches("/" .. lua .. "\n$", owner())
    make("uninstall", words)
    assert.equal("", host.must(("find %s/two ! -type d"):format(dir)))
  end)

  it("by make, the command purges, and runs nothing of the directory where it is started", function()
    make("install", "PREFIX=" .. dir .. "/own")
    purges(dir .. "/own/bin/cfpurge")
  end)

  local function rock(name)
    host.must(("%sluarocks --lua-version 5.4 make --deps-mode=none --tree %s/rock %s-scm-1.rockspec 2>&1"):format(clean, dir,
      name))
  end

  it("by LuaRocks, the command does the same", function()
    if elsewhere "lua5.4" then return end
    rock "cfpurge"
    assert.equal("", host.must(("diff -r lua/cfpurge %s/rock/share/lua/5.4/cfpurge"):format(dir)))
    purges(dir .. "/rock/bin/cfpurge")
  end)

  it("by LuaRocks, each store of the queue is a rock of its own, and who has not got it is told its name", function()
    if elsewhere "lua5.4" then return end
    rock "cfpurge"
    local file = assert(io.open(dir .. "/queue.lua", "w"))
    file:write [[
      local cfpurge = require "cfpurge"
      local client = cfpurge.new { api_token = "abcdefghijk", zone_id = "z" }
      local queue, problem = cfpurge.queue { store = arg[1], client = client }
      print(queue and queue:add({ tags = { "a" } }).added or problem)]]
    file:close()
    for _, name in ipairs { "sqlite", "redis" } do
      local function add()
        return host.must(("env -u LUA_INIT LUA_PATH='%s/rock/share/lua/5.4/?.lua;%s/rock/share/lua/5.4/?/init.lua;;' "
          .. "LUA_CPATH='%s/rock/lib/lua/5.4/?.so;;' lua5.4 %s/queue.lua '%s'"):format(dir, dir, dir, dir,
          stores.of[name].target()))
      end
      assert.matches(("store: there is no cfpurge/%s.so: install the rock cfpurge%%-%s; or lib%%w+%%-dev"):format(name, name),
        add())
      rock("cfpurge-" .. name)
      assert.equal("1\n", add())
    end
  end)
end)
