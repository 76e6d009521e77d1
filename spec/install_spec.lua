-- What `make install` and LuaRocks install, and that it works: the Makefile, cfpurge-scm-1.rockspec.
local edge = require "spec.support.edge"
local host = require "spec.support.host"

local lua = os.getenv "CFPURGE_LUA" or "lua5.4"
local version = lua == "luajit" and "5.1" or lua:match "%d%.%d"

describe("installed", function()
  -- It is compiled anew, without what watches.
  if host.watched then return pending "not what is watched" end

  local dir = host.dir() .. "/install"
  local clean = "env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES -u LUA_PATH -u LUA_CPATH "

  local function install(words)
    host.must(("%smake -s -j2 install LUA=%s BUILD=%s/build CPPFLAGS= LDFLAGS= CFLAGS=-O0 %s"):format(clean, lua, dir, words))
  end

  -- The command of a directory, from another one, where nothing of the tree is found.
  local function purges(command)
    local zone = edge.zone()
    local words = ("cd / && env -i PATH=\"$PATH\" CLOUDFLARE_BASE_URL=%s CLOUDFLARE_API_TOKEN=%s CLOUDFLARE_ZONE_ID=%s "
      .. "%s tags a b"):format(edge.up().API_HTTP, edge.env.TOKEN, zone, command)
    assert.matches("^accepted: 2 items in 1 request", host.must(words))
    assert.equal(1, edge.counts(zone).accepted)
  end

  it("by make, everything is where it was asked for", function()
    install("PREFIX=/opt/x DESTDIR=" .. dir .. "/staged")
    local prefix = dir .. "/staged/opt/x"
    host.must(("test -s %s/lib/lua/%s/cfpurge/core.so && test -x %s/bin/cfpurge"):format(prefix, version, prefix))
    assert.equal("", host.must(("diff -r lua/cfpurge %s/share/lua/%s/cfpurge"):format(prefix, version)))
    assert.equal("bin\nlib\nshare\n", host.must("ls " .. prefix))
  end)

  it("by make, the command purges", function()
    install("PREFIX=" .. dir .. "/own")
    purges(dir .. "/own/bin/cfpurge")
  end)

  it("by LuaRocks, the command purges", function()
    if lua ~= "lua5.4" then return pending "built once" end
    host.must(clean .. "luarocks --lua-version 5.4 make --deps-mode=none --tree " .. dir .. "/rock cfpurge-scm-1.rockspec 2>&1")
    assert.equal("", host.must(("diff -r lua/cfpurge %s/rock/share/lua/5.4/cfpurge"):format(dir)))
    purges(dir .. "/rock/bin/cfpurge")
  end)
end)
