-- No memory, everywhere: spec/hosts/oom.c fails each allocation in turn, of Lua's, of ours, of libcurl's and of SQLite's, in each
-- kind of work. Here a part of them, and all of them with OOM=all (`make oom`), which prints what was run.
local elsewhere = require "spec.support.where"
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local stores = require "spec.support.stores"

local env = edge.up()
local dir = host.dir() .. "/oom"
local whole = os.getenv "OOM" == "all"
local scenarios = { "new", "purge", "core", "error", "retry", "bulk", "stream", "wrong", "names", "cancel", "close", "collect",
  "start", "event", "plan" }

local function build()
  local flags = os.getenv "OOM_CFLAGS"
    or "-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"
  local make = "env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES make -s libcfpurge.a stores LUA=lua5.4 CC=gcc"
  host.must(("%s BUILD=%s CPPFLAGS= CFLAGS='%s'"):format(make, dir, flags))
  host.must(("gcc -std=c11 -Icsrc -Wall -Wextra -Werror %s spec/hosts/oom.c spec/hosts/oom_api.c "
    .. "%s/lua5.4/obj/queue/*.o %s/lua5.4/libcfpurge.a -o %s/oom -l:liblua5.4-cjson.so.0 "
    .. "$(pkg-config --cflags --libs lua5.4 libcurl sqlite3 hiredis) $(pkg-config --libs hiredis_ssl openssl 2>/dev/null) -lm")
    :format(flags, dir, dir, dir))
end

-- All of them are shared out to processes, of which most wait: {} in `more` is a process' number.
local shares = whole and 6 * tonumber(host.must "nproc") or 1

-- What it printed; an error where a run has faults, a leak is found or it crashes.
local function run(step, base_url, names, more)
  local out = host.must(("seq %d | %s UBSAN_OPTIONS=print_stacktrace=1 LSAN_OPTIONS=print_suppressions=0:suppressions=%s "
    .. "timeout 3000 nice xargs -P %d -I {} env %s %s/oom %d {} %s %s"):format(shares, "env -u CLOUDFLARE_ZONE_ID",
    "spec/support/lsan.supp", shares, more or "", dir, whole and shares or step, base_url, table.concat(names, " ")))
  if whole then io.stdout:write("\n", out) end
  return out
end

local function failed(out)
  local sum, lines = 0, 0
  for count in out:gmatch "failed +(%d+)" do
    sum, lines = sum + tonumber(count), lines + 1
  end
  return sum, lines
end

describe("no memory", function()
  if elsewhere "lua5.4 unwatched" then return end
  build()

  it("breaks nothing, loses nothing and leaves nothing behind", function()
    local sum, lines = failed(run(11, "-", scenarios))
    assert.equal(shares * 6 * #scenarios, lines)
    assert.is_true(sum > 500, sum)
  end)

  it("stores nothing that was not reported, and reports nothing that is not stored", function()
    -- In memory: each of some 20,000 runs would wait for a disk.
    local folder = host.must "mktemp -d /dev/shm/cfpurge-oom.XXXXXX":match "%S+"
    finally(function() host.must("rm -r " .. folder) end)
    local out = run(151, "-", { "sqlite", "redis" }, ("OOM_SQLITE=%s/oom-{}.db OOM_REDIS='%s'"):format(folder,
      stores.redis():url(1999)))
    local sum, lines = failed(out)
    assert.equal(shares * (8 + 6), lines)
    assert.is_true(sum > 50, sum)
  end)

  it("while the modules are loaded", function()
    assert.is_true(failed(run(101, "-", { "load" })) > 50)
  end)

  for name, transport in pairs { plain = env.API_HTTP, TLS = env.API_TLS } do
    it("against the real edge, " .. name, function()
      local zone = edge.zone()
      edge.script(zone, { { match = "refuse", times = 0, status = 403, json = { success = false,
        errors = { { code = 9109, message = "no entry" } } } } })
      local out = run(17, transport, { "tags", "error" }, ("CLOUDFLARE_ZONE_ID=%s CLOUDFLARE_API_TOKEN=%s CA_FILE=%s"):format(
        zone, env.TOKEN, env.CA_FILE))
      assert.is_true(failed(out) > 20)
      local reported = 0
      for count in out:gmatch "reported accepted (%d+)" do reported = reported + tonumber(count) end
      assert.is_true(reported > 20 and reported <= edge.counts(zone).items, reported)
    end)
  end

  -- The one thing that is let through: spec/support/lsan.supp.
  it("makes lua-cjson itself leak, without us", function()
    local source = dir .. "/cjson.c"
    local file = assert(io.open(source, "w"))
    file:write [[
#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>
int luaopen_cjson(lua_State *L);
static int out_of_memory;
static void *allocate(void *unused, void *block, size_t old, size_t size)
{
    (void)unused;
    if (size == 0) return free(block), (void *)0;
    return out_of_memory && !(block && size <= old) ? (void *)0 : realloc(block, size);
}
int main(void)
{
    lua_State *L = lua_newstate(allocate, (void *)0);
    luaL_requiref(L, "cjson", luaopen_cjson, 0);
    lua_getfield(L, -1, "decode");
    lua_pushstring(L, "{\"a\":[1,2,3]}");
    out_of_memory = 1;
    if (lua_pcall(L, 1, 1, 0) != LUA_ERRMEM) return 1;
    out_of_memory = 0;
    lua_close(L);
    return 0;
}
]]
    file:close()
    host.must(("gcc -g -fsanitize=address %s -o %s/cjson -l:liblua5.4-cjson.so.0 $(pkg-config --cflags --libs lua5.4)"):format(
      source, dir))
    local out = host.must(("sh -c '%s/cjson 2>&1; true'"):format(dir))
    assert.is_truthy(out:find("in strbuf_new", 1, true), out)
    host.must(("LSAN_OPTIONS=suppressions=spec/support/lsan.supp %s/cjson"):format(dir))
  end)

  -- What spec/hosts/oom.c does not let fail: libcurl alone, whose n-th copy of a text or n-th block fails, for all n.
  local function libcurl_alone()
    local source = dir .. "/curl.c"
    local file = assert(io.open(source, "w"))
    file:write [[
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
static long copies, blocks;
static char *copy(const char *text)
{
    return --copies == 0 ? (char *)0 : strdup(text);
}
static void *block(size_t size)
{
    return --blocks == 0 ? (void *)0 : malloc(size);
}
int main(int argc, char **argv)
{
    CURL *easy;
    copies = argc > 3 ? atol(argv[3]) : 0;
    blocks = argc > 4 ? atol(argv[4]) : 0;
    curl_global_init_mem(CURL_GLOBAL_DEFAULT, block, free, realloc, copy, calloc);
    easy = curl_easy_init();
    curl_easy_setopt(easy, CURLOPT_URL, argv[1]);
    curl_easy_setopt(easy, CURLOPT_CAINFO, argv[2]);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, "{}");
    curl_easy_perform(easy);
    curl_easy_perform(easy);
    curl_easy_cleanup(easy);
    curl_global_cleanup();
    return 0;
}
]]
    file:close()
    host.must(("gcc -g -fsanitize=address %s -o %s/curl $(pkg-config --cflags --libs libcurl)"):format(source, dir))
    return ("%s/curl %s %s"):format(dir, env.API_TLS, env.CA_FILE)
  end

  it("makes libcurl 7.88 itself free a name twice, without us", function()
    if not host.must "pkg-config --modversion libcurl":find "^7%.88" then return end
    local out = host.must(("for i in $(seq 60); do %s $i 2>&1 | grep 'SUMMARY.*double-free' && break; done; true"):format(
      libcurl_alone()))
    assert.is_truthy(out:find("double-free", 1, true), out)
  end)

  it("makes libcurl 8.14 itself give a broken session its next bytes, without us", function()
    if not host.must "pkg-config --modversion libcurl":find "^8%.14" then return end
    local out = host.must(("for i in $(seq 300); do %s 0 $i 2>&1 | grep 'SUMMARY.*SEGV.*libnghttp2' && break; done; true")
      :format(libcurl_alone()))
    assert.is_truthy(out:find("SEGV", 1, true), out)
  end)
end)
