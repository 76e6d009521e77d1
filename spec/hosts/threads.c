/* Threads that purge at once, each with a Lua state, clients and queues of its own: threads PURGES ZONE... starts one
 * for each zone, whose script answers the tag "N" by the result id "ZONE-N". Each adds PURGES items to each store in
 * STORES. Prints {"matched": N, "added": N}. To be built with -fsanitize=thread, as is all that it is linked with
 * (spec/threads_spec.lua). */
#include <lauxlib.h>
#include <lualib.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int luaopen_cjson(lua_State *L), luaopen_cfpurge_core(lua_State *L), luaopen_cfpurge_sqlite(lua_State *L),
    luaopen_cfpurge_redis(lua_State *L);

/* ThreadSanitizer sees what OpenSSL 3.5 copies and compares, and not the atomics by which it hands it over: it is not
 * built with it. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "called_from_lib:libcrypto.so\n";
}

struct thread {
    pthread_t id;
    const char *zone;
    int purges, matched, added;
    char other[256];
};

static pthread_barrier_t together;

/* Over HTTP and over TLS, in flight together and one after another, by clients and by the state's own one. */
static const char script[] =
    "local zone, purges = ...\n"
    "local core = require 'cfpurge.core'\n"
    "local plain = { base_url = os.getenv 'API_HTTP' }\n"
    "local tls = { base_url = os.getenv 'API_TLS', ca_file = os.getenv 'CA_FILE' }\n"
    "local matched, other, wanted = 0, '', {}\n"
    "local function check(n, result, err)\n"
    "  if result and result.id == zone .. '-' .. n then matched = matched + 1\n"
    "  else other = other .. n .. ': ' .. tostring(result and result.id or err) .. '; ' end\n"
    "end\n"
    "local function params(n) return { zone_id = zone, tags = { tostring(n) } } end\n"
    "local clients = { assert(core.new(plain)), assert(core.new(tls)) }\n"
    "for n = 1, purges do\n"
    "  local client = clients[n % 2 + 1]\n"
    "  if n % 5 == 0 then\n"
    "    check(n, core.purge(params(n), n % 2 == 0 and plain or tls))\n"
    "  elseif n % 5 == 1 then\n"
    "    check(n, client:purge(params(n)))\n"
    "  else\n"
    "    wanted[client] = wanted[client] or {}\n"
    "    wanted[client][assert(client:start(params(n)))] = n\n"
    "  end\n"
    "  if n % 7 == 0 then client:cancel((client:start { zone_id = zone, tags = { 'never' } })) end\n"
    "  for _, each in ipairs(clients) do each:step(0) end\n"
    "end\n"
    "for client, numbers in pairs(wanted) do\n"
    "  while client:step() > 0 do end\n"
    "  local id, result, err = client:take()\n"
    "  while id do\n"
    "    if numbers[id] then check(numbers[id], result, err) end\n"
    "    id, result, err = client:take()\n"
    "  end\n"
    "end\n"
    "local cfpurge, added = require 'cfpurge', 0\n"
    "for store in os.getenv 'STORES':gmatch '%S+' do\n"
    "  local queue = assert(cfpurge.queue { store = store, zone_id = zone })\n"
    "  for n = 1, purges do\n"
    "    assert(queue:start({ tags = { tostring(n) } }, nil, function(result, err)\n"
    "      added = added + (result and result.added or 0)\n"
    "      if err then other = other .. tostring(err) .. '; ' end\n"
    "    end))\n"
    "    if n % 3 == 0 then queue:step(0) end\n"
    "  end\n"
    "  while queue:step() > 0 do end\n"
    "  queue:start { tags = { '1' } }\n"
    "  queue:step(0)\n"
    "  queue:close()\n"
    "end\n"
    "return matched, other, added\n";

static void *run(void *argument)
{
    struct thread *thread = argument;
    lua_State *L = luaL_newstate();

    pthread_barrier_wait(&together);
    luaL_openlibs(L);
    luaL_requiref(L, "cjson", luaopen_cjson, 0);
    luaL_requiref(L, "cfpurge.core", luaopen_cfpurge_core, 0);
    luaL_requiref(L, "cfpurge.sqlite", luaopen_cfpurge_sqlite, 0);
    luaL_requiref(L, "cfpurge.redis", luaopen_cfpurge_redis, 0);
    lua_settop(L, 0);
    luaL_loadstring(L, script);
    lua_pushstring(L, thread->zone);
    lua_pushinteger(L, thread->purges);
    if (lua_pcall(L, 2, 3, 0) == LUA_OK) {
        thread->matched = (int)lua_tointeger(L, 1);
        thread->added = (int)lua_tointeger(L, 3);
        lua_settop(L, 2);
    }
    snprintf(thread->other, sizeof thread->other, "%s", lua_tostring(L, -1));
    lua_close(L);
    return NULL;
}

int main(int argc, char **argv)
{
    static struct thread threads[64];
    int count = argc - 2, matched = 0, added = 0, i;

    pthread_barrier_init(&together, NULL, (unsigned)count);
    for (i = 0; i < count; i++) {
        threads[i].zone = argv[i + 2];
        threads[i].purges = atoi(argv[1]);
        pthread_create(&threads[i].id, NULL, run, &threads[i]);
    }
    for (i = 0; i < count; i++) {
        pthread_join(threads[i].id, NULL);
        matched += threads[i].matched;
        added += threads[i].added;
        if (threads[i].other[0])
            fprintf(stderr, "%s: %s\n", threads[i].zone, threads[i].other);
    }
    printf("{\"matched\": %d, \"added\": %d}\n", matched, added);
    return 0;
}
