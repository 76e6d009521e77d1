-- Eight threads, a Lua state, clients and queues in each, purging and adding at once: every answer reaches whoever asked,
-- and ThreadSanitizer, by which engine, binding and stores are built here (`make tsan`), has nothing to say.
local elsewhere = require "spec.support.where"
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local recipe = require "spec.support.recipe"
local stores = require "spec.support.stores"

local env = edge.up()
local dir = host.dir() .. "/tsan"
local THREADS, PURGES = 8, 60

local function build()
  local flags = "-O1 -g -fsanitize=thread"
  local make = "env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES make -s libcfpurge.a stores LUA=lua5.4 CC=gcc"
  host.must(("%s BUILD=%s CPPFLAGS= CFLAGS='%s'"):format(make, dir, flags))
  host.must(("gcc -Icsrc -Wall -Wextra -Werror %s spec/hosts/threads.c %s/lua5.4/obj/queue/*.o %s/lua5.4/libcfpurge.a "
    .. "-o %s/threads -l:liblua5.4-cjson.so.0 $(pkg-config --cflags --libs lua5.4 libcurl sqlite3 hiredis) "
    .. "$(pkg-config --libs hiredis_ssl openssl 2>/dev/null) -lpthread"):format(flags, dir, dir, dir))
end

describe("eight threads", function()
  if elsewhere "lua5.4 unwatched" then return end
  if not host.must("gcc -print-file-name=libtsan.so"):find "/" then return pending "no ThreadSanitizer on this machine" end
  build()

  it("purge at once, each gets its own answers, and no data race is seen", function()
    local zones = {}
    for i = 1, THREADS do
      local zone = edge.zone()
      local answers = { { match = '"never"', times = 0, delay = 20, pass = true } }
      for n = 1, PURGES do
        answers[n + 1] = { match = ('"%d"'):format(n), delay = n % 4 * 0.005,
          json = { success = true, errors = {}, messages = {}, result = { id = zone .. "-" .. n } } }
      end
      edge.script(zone, answers)
      zones[i] = zone
    end
    local port = recipe.port()
    local redis, path = stores.server("", nil, port), stores.of.sqlite.target()
    local out = host.must(("env -u CLOUDFLARE_ZONE_ID STORES='%s redis://localhost:%d %s' TSAN_OPTIONS=exitcode=66 "
      .. "API_HTTP=%s API_TLS=%s CA_FILE=%s "
      .. "CLOUDFLARE_API_TOKEN=%s timeout 120 %s/threads %d %s"):format(path, port, redis:url(1),
      env.API_HTTP, env.API_TLS, env.CA_FILE, env.TOKEN, dir, PURGES, table.concat(zones, " ")))
    assert.equal(('{"matched": %d, "added": %d}\n'):format(THREADS * PURGES, 3 * THREADS * PURGES), out)
    for _, target in ipairs { path, redis:url(0), redis:url(1) } do
      assert.equal(THREADS * PURGES, stores.of[target == path and "sqlite" or "redis"].rules(target).status().waiting)
    end
    redis:stop()
    for _, zone in ipairs(zones) do
      local seen = {}
      for _, request in ipairs(edge.requests(zone)) do
        local tag = request.body:match '"tags":%["(%w+)"%]'
        assert.is_nil(tag ~= "never" and seen[tag] or nil)
        seen[tag] = true
      end
      for n = 1, PURGES do assert.is_true(seen[tostring(n)]) end
    end
  end)
end)
