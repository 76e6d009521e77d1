-- What `make install` and LuaRocks install, and that it works: the Makefile and the rockspecs.
local elsewhere = require "spec.support.where"
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local stores = require "spec.support.stores"

local lua = os.getenv "CFPURGE_LUA" or "lua5.4"
local version = lua == "luajit" and "5.1" or lua:match "%d%.%d"
local release = assert(io.lines "VERSION"())

-- A rock takes long to compile: lua5.4 has to do but in `make proof`. LuaRocks knows no LuaJIT beside Lua 5.1.
local luas_of_rocks = "once lua5.1 lua5.2 lua5.3 lua5.4 lua5.5"

describe("installed", function()
  -- It is compiled anew, without what watches.
  if elsewhere "unwatched" then return end

  -- One after another, several Luas may have host.dir().
  local dir = host.dir() .. "/install-" .. lua
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
    make("install", ("PREFIX='/opt/x y' DESTDIR=\"%s/it's staged\""):format(dir))
    local prefix = ("\"%s/it's staged/opt/x y\""):format(dir)
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
    local words = ("PREFIX='%s/two of them'"):format(dir)
    local bin = ("'%s/two of them/bin/cfpurge'"):format(dir)
    host.must(("mkdir %s/two && echo >%s/two/bystander"):format(dir, dir))
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
    assert.equal(dir .. "/two/bystander\n", host.must(("find %s/two* ! -type d"):format(dir)))
  end)

  it("by make, the command purges, and runs nothing of the directory where it is started", function()
    make("install", ("PREFIX=\"%s/one's own\""):format(dir))
    purges(("\"%s/one's own/bin/cfpurge\""):format(dir))
    -- As a shell says it that knows no home behind a "=".
    make("install", "PREFIX='~/.local' HOME=" .. dir)
    purges(dir .. "/.local/bin/cfpurge")
  end)

  local made = {}

  -- What `make dist` makes of this tree, as if it were committed.
  local function dist()
    made.dist = made.dist or host.must(([[mkdir -p %s/tree && git ls-files -zco --exclude-standard |
      tar c --ignore-failed-read --null -T - | tar x -C %s/tree &&
      cd %s/tree && git init -q && git add . && git -c user.name=spec -c user.email=spec@example.com commit -qm tree &&
      %smake -s dist BUILD=../release]]):format(dir, dir, dir, clean))
    return made.dist
  end

  -- Installs a source rock of the release, where no network is.
  local function rock(name, flags)
    dist()
    made[name] = made[name] or host.must(("%sHTTPS_PROXY=127.0.0.1:1 https_proxy=127.0.0.1:1 MAKEFLAGS=-j2 luarocks "
      .. "--lua-version %s install %s --tree %s/rock %s/release/dist/%s-%s-1.src.rock 2>&1"):format(clean, version, flags, dir,
      dir, name, release))
  end

  it("from a release, it is what was committed", function()
    if elsewhere "lua5.4" then return end
    dist()
    local sums = ("cd %s/release/dist && sha256sum *"):format(dir)
    local first = host.must(sums)
    assert.equal(7, select(2, first:gsub("\n", "")))
    host.must(("cd %s/tree && %smake -s dist BUILD=../release"):format(dir, clean))
    assert.equal(first, host.must(sums))
    assert.matches("commit first", host.must(("cd %s/tree && echo >>README.md && ! %smake -s dist BUILD=../release 2>&1"):format(
      dir, clean)))
    assert.equal(first, host.must(sums))
  end)

  it("by LuaRocks, the command does the same", function()
    if elsewhere(luas_of_rocks) then return end
    rock("cfpurge", "--deps-mode=none")
    assert.equal("", host.must(("diff -r lua/cfpurge %s/rock/share/lua/%s/cfpurge"):format(dir, version)))
    purges(dir .. "/rock/bin/cfpurge")
  end)

  it("by LuaRocks, the specs are run on its Lua", function()
    if elsewhere "lua5.4" then return end
    -- LuaRocks 3.11 looks for the rocks that are asked for, 3.8 did not. Here they are packages of Debian.
    local config = assert(io.open(dir .. "/config.lua", "w"))
    config:write [[rocks_provided = { ["lua-cjson"] = "2.1.0-1", argparse = "0.7.1-1" }]]
    config:close()
    for _, name in ipairs { "5.1", "5.4" } do
      local said = host.must(("%sMAKEFLAGS=n LUAROCKS_CONFIG=%s/config.lua luarocks --lua-version %s test cfpurge-scm-1.rockspec "
        .. "-- 'SPEC=spec/a b' 2>&1"):format(clean, dir, name))
      assert.truthy(said:find(("spec/run 'lua%s' 'spec/a b'"):format(name), 1, true), said)
    end
  end)

  it("by LuaRocks, each store of the queue is a rock of its own, and who has not got it is told its name", function()
    if elsewhere(luas_of_rocks) then return end
    rock("cfpurge", "--deps-mode=none")
    local file = assert(io.open(dir .. "/queue.lua", "w"))
    file:write [[
      local cfpurge = require "cfpurge"
      local client = cfpurge.new { api_token = "abcdefghijk", zone_id = "z" }
      local queue, problem = cfpurge.queue { store = arg[1], client = client }
      print(queue and queue:add({ tags = { "a" } }).added or problem)]]
    file:close()
    for _, name in ipairs { "sqlite", "redis" } do
      local function add()
        return host.must(([[env -u LUA_INIT LUA_PATH='tree/share/lua/version/?.lua;tree/share/lua/version/?/init.lua;;' \
          LUA_CPATH='tree/lib/lua/version/?.so;;' %s %s/queue.lua '%s']]):gsub("tree", dir .. "/rock"):gsub("version", version)
          :format(lua, dir, stores.of[name].target()))
      end
      assert.matches(("store: there is no cfpurge/%s.so: install lib%%w+%%-dev .* the rock cfpurge%%-%s"):format(name, name),
        add())
      -- It asks for the cfpurge of its own version.
      rock("cfpurge-" .. name, "--deps-mode=one")
      assert.equal("1\n", add())
    end
  end)
end)
