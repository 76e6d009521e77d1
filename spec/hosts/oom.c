/* No memory, everywhere: fails the first allocation of a scenario (spec/hosts/oom.lua), then the second, and so on
 * until it runs through; of Lua's allocator, of ours, of libcurl's and of SQLite's; that one alone, and that one with
 * all that follow.
 *
 *   oom STEP FIRST BASE_URL SCENARIO...    every STEP-th allocation, from the FIRST on; "-" is an API of its own
 *                                          (oom_api.c)
 *
 * After each run the state must work, and when it is closed no block may be left, nor a descriptor. Linked with the
 * libcfpurge.a and Lua, all of it under AddressSanitizer (spec/oom_spec.lua), whose leak check at the end sees what has
 * an allocator of its own. Prints a line for each scenario, allocator and way; the status is 1 where one of them has
 * faults. */
#define _GNU_SOURCE
#include <curl/curl.h>
#include <dirent.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <lauxlib.h>
#include <limits.h>
#include <lualib.h>
#include <malloc.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../csrc/base/memory.h"
#include "oom_api.h"

/* A run that takes this long hangs. */
#define SECONDS 15

int luaopen_cjson(lua_State *L), luaopen_cfpurge_core(lua_State *L), luaopen_cfpurge_sqlite(lua_State *L),
    luaopen_cfpurge_redis(lua_State *L);

/* One of the four allocators. libcurl asks in threads, too: where it has no memory for an address it looks that up. */
static struct pool {
    const char *name;
    _Atomic long blocks, asked, fail_at, last; /* fails from `fail_at` to `last`, 0 for never */
    _Atomic long failed;
} pools[] = {{"lua", 0, 0, 0, 0, 0}, {"own", 0, 0, 0, 0, 0}, {"libcurl", 0, 0, 0, 0, 0}, {"sqlite", 0, 0, 0, 0, 0}};

static struct pool *const of_lua = &pools[0], *const own = &pools[1], *const of_curl = &pools[2],
                          *const of_sqlite = &pools[3];

static struct {
    const char *scenario, *pool, *way;
    long at;
} now;
static char base_url[256];
static long reported;

static bool fails(struct pool *pool)
{
    long asked;

    if (pool->fail_at == 0)
        return false;
    asked = ++pool->asked;
    if (asked < pool->fail_at || asked > pool->last)
        return false;
    pool->failed++;
    return true;
}

static void *allocate(struct pool *pool, void *block, size_t size)
{
    void *made = fails(pool) ? NULL : realloc(block, size);
    pool->blocks += made && !block;
    return made;
}

static void release(struct pool *pool, void *block)
{
    pool->blocks -= block != NULL;
    free(block);
}

/* Lua counts on this: what becomes smaller does not fail. */
static void *lua_reallocate(void *unused, void *block, size_t old, size_t size)
{
    (void)unused;
    if (size == 0) {
        release(of_lua, block);
        return NULL;
    }
    return block && size <= old ? realloc(block, size) : allocate(of_lua, block, size);
}

static void *own_reallocate(void *block, size_t size)
{
    if (size > 0)
        return allocate(own, block, size);
    release(own, block);
    return NULL;
}

static void curl_release(void *block)
{
    release(of_curl, block);
}

/* While it keeps a TLS session: where a copy of the session's settings fails, libcurl 7.88 frees a name twice
 * (spec/oom_spec.lua shows it). */
static bool called_by_openssl(void)
{
    void *callers[32];
    int count = backtrace(callers, 32), i;
    Dl_info info;

    for (i = 0; i < count; i++)
        if (dladdr(callers[i], &info) && strstr(info.dli_fname, "libssl"))
            return true;
    return false;
}

/* nghttp2 itself, in what it receives: where its memory fails there, libcurl 8.14 hands the broken session its next
 * bytes all the same, which then writes to NULL or loses a block (spec/oom_spec.lua shows it). */
static bool called_by_receiving_nghttp2(void)
{
    void *callers[32];
    int count = backtrace(callers, 32), i;
    bool nghttp2 = false;
    Dl_info info;

    for (i = 0; i < count; i++) {
        bool is;

        if (!dladdr(callers[i], &info))
            return false;
        is = strstr(info.dli_fname, "libnghttp2");
        if (is && info.dli_sname && strncmp(info.dli_sname, "nghttp2_session_mem_recv", 24) == 0)
            return true;
        if ((nghttp2 && !is) || strstr(info.dli_fname, "libcurl.so"))
            return false;
        nghttp2 = is;
    }
    return false;
}

static void *curl_reallocate(void *block, size_t size)
{
    void *made = allocate(of_curl, block, size);

    if (!made && called_by_receiving_nghttp2() && (made = realloc(block, size)) && !block)
        of_curl->blocks++;
    return made;
}

static void *curl_zalloc(size_t count, size_t size)
{
    void *made = curl_reallocate(NULL, count * size);
    return made ? memset(made, 0, count * size) : NULL;
}

static void *curl_malloc(size_t size)
{
    void *made = curl_reallocate(NULL, size);

    if (!made && called_by_openssl() && (made = malloc(size)))
        of_curl->blocks++;
    return made;
}

static char *curl_copy(const char *text)
{
    size_t size = strlen(text) + 1;
    char *made = curl_malloc(size);
    return made ? strcpy(made, text) : NULL;
}

static void *sqlite_malloc(int size)
{
    return allocate(of_sqlite, NULL, (size_t)size);
}

static void *sqlite_reallocate(void *block, int size)
{
    return allocate(of_sqlite, block, (size_t)size);
}

static void sqlite_release(void *block)
{
    release(of_sqlite, block);
}

static int sqlite_size(void *block)
{
    return (int)malloc_usable_size(block);
}

static int sqlite_roundup(int size)
{
    return (size + 7) & ~7;
}

static int sqlite_init(void *unused)
{
    (void)unused;
    return SQLITE_OK;
}

static void sqlite_shutdown(void *unused)
{
    (void)unused;
}

static void on_alarm(int number)
{
    char text[256];
    int len = snprintf(text, sizeof text, "HANGS: %s %s %s %ld\n", now.scenario, now.pool, now.way, now.at);
    (void)number;
    if (write(STDERR_FILENO, text, (size_t)len) > 0)
        abort();
}

static int descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    while (dir && readdir(dir))
        count++;
    if (dir)
        closedir(dir);
    return count;
}

/* ---- a run ---- */

/* How often the API accepted an item that was reported accepted; -1 where whoever started us will look. */
static int seen(lua_State *L)
{
    reported++;
    lua_pushinteger(L, oom_seen ? (lua_Integer)oom_seen->items[luaL_checkinteger(L, 1)] : -1);
    return 1;
}

static int preload(lua_State *L)
{
    luaL_Buffer buffer;

    /* Lua 5.4 can make no long buffer any more once memory has failed while it made the first one. */
    luaL_buffinitsize(L, &buffer, 2 * LUAL_BUFFERSIZE);
    luaL_pushresultsize(&buffer, 0);
    lua_pop(L, 1);
    luaL_openlibs(L);
    luaL_requiref(L, "cjson", luaopen_cjson, 0);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, luaopen_cfpurge_core);
    lua_setfield(L, -2, "cfpurge.core");
    lua_pushcfunction(L, luaopen_cfpurge_sqlite);
    lua_setfield(L, -2, "cfpurge.sqlite");
    lua_pushcfunction(L, luaopen_cfpurge_redis);
    lua_setfield(L, -2, "cfpurge.redis");
    return 0;
}

static bool is_of_queue(void)
{
    return strcmp(now.scenario, "sqlite") == 0 || strcmp(now.scenario, "redis") == 0;
}

/* Leaves three functions: prepare, run and check. */
static bool load(lua_State *L)
{
    const char *file = is_of_queue() ? "spec/hosts/oom_queue.lua" : "spec/hosts/oom.lua";

    lua_settop(L, 0);
    lua_pushcfunction(L, preload);
    if (lua_pcall(L, 0, 0, 0) != LUA_OK || luaL_loadfile(L, file) != LUA_OK)
        return false;
    lua_pushstring(L, now.scenario);
    lua_pushstring(L, base_url);
    lua_pushcfunction(L, seen);
    return lua_pcall(L, 3, 3, 0) == LUA_OK;
}

static int fault(const char *what)
{
    fprintf(stderr, "%s, %s's allocation %ld %s: %s\n", now.scenario, now.pool, now.at, now.way, what);
    return 1;
}

struct account {
    long runs;
    int leaks, descriptors, wrong;
};

/* False: nothing had to fail any more. */
static bool run(struct pool *pool, bool for_ever, struct account *account)
{
    lua_State *L = lua_newstate(lua_reallocate, NULL);
    long curl_before = of_curl->blocks, sqlite_before = of_sqlite->blocks;
    int before = descriptors(), status, tries;
    long failed = pool->failed;

    if (oom_seen)
        memset((void *)(size_t)oom_seen, 0, sizeof *oom_seen);
    alarm(SECONDS);
    if (!L || !load(L)) {
        account->wrong += fault(L ? lua_tostring(L, -1) : "no state");
    } else if (lua_pushvalue(L, 1), lua_pcall(L, 0, 0, 0) != LUA_OK) {
        account->wrong += fault(lua_tostring(L, -1));
    } else {
        lua_pushvalue(L, 2);
        pool->asked = 0;
        pool->fail_at = now.at;
        /* Lua collects its garbage and tries again. */
        pool->last = for_ever ? LONG_MAX : now.at + (pool == of_lua);
        status = lua_pcall(L, 0, 1, 0);
        pool->fail_at = 0;
        lua_pushvalue(L, 3);
        lua_insert(L, -2);
        lua_pushboolean(L, status == LUA_OK);
        lua_insert(L, -2);
        lua_pushboolean(L, for_ever);
        if (lua_pcall(L, 3, 0, 0) != LUA_OK)
            account->wrong += fault(lua_tostring(L, -1));
    }
    lua_close(L);
    /* Such a thread, given up by libcurl, ends when it can. */
    for (tries = 0; (of_curl->blocks != curl_before || descriptors() != before) && tries < 10000; tries++)
        usleep(500);
    alarm(0);
    if (of_lua->blocks || own->blocks || of_curl->blocks != curl_before || of_sqlite->blocks != sqlite_before) {
        char text[128];
        snprintf(text, sizeof text, "left behind: %ld blocks of Lua's, %ld of ours, %ld of libcurl's, %ld of SQLite's",
                 of_lua->blocks, own->blocks, of_curl->blocks - curl_before, of_sqlite->blocks - sqlite_before);
        account->leaks += fault(text);
        of_lua->blocks = own->blocks = 0;
    }
    if (descriptors() != before)
        account->descriptors += fault("descriptors left open");
    account->runs++;
    return pool->failed > failed;
}

static int torture(struct pool *pool, bool for_ever, long step, long first)
{
    struct account account = {0, 0, 0, 0};

    /* Ours are few, and each is a branch that make coverage counts. */
    if (pool == own && getenv("CFPURGE_LINES"))
        step = 1;
    now.pool = pool->name;
    now.way = for_ever ? "and all that follow" : "alone";
    pool->failed = 0;
    for (now.at = first; run(pool, for_ever, &account); now.at += step)
        continue;
    printf("%-8s %-8s %-20s runs %5ld  failed %6ld  crashes 0  leaks %d  descriptors %d  wrong %d\n", now.scenario,
           now.pool, now.way, account.runs, pool->failed, account.leaks, account.descriptors, account.wrong);
    fflush(stdout);
    return account.leaks || account.descriptors || account.wrong;
}

int main(int argc, char **argv)
{
    static const sqlite3_mem_methods sqlite_memory = {sqlite_malloc,  sqlite_release, sqlite_reallocate, sqlite_size,
                                                      sqlite_roundup, sqlite_init,    sqlite_shutdown,   NULL};
    long step = argc > 1 ? atol(argv[1]) : 0, first = argc > 2 ? atol(argv[2]) : 0;
    struct account ignored = {0, 0, 0, 0};
    int faults = 0, i, j;

    signal(SIGALRM, on_alarm);
    if (step < 1 || first < 1 || argc < 5 || !oom_api_start(base_url, sizeof base_url))
        return 2;
    if (strcmp(argv[3], "-") != 0) {
        snprintf(base_url, sizeof base_url, "%s", argv[3]);
        oom_seen = NULL;
    }
    cf_memory_hook(own_reallocate);
    if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, curl_malloc, curl_release, curl_reallocate, curl_copy, curl_zalloc) !=
        CURLE_OK)
        return 2;
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &sqlite_memory) != SQLITE_OK)
        return 2;
    for (i = 4; i < argc; i++) {
        now.scenario = argv[i];
        now.pool = now.way = "none";
        /* What is made once a process is not to be taken for a leak. */
        run(own, false, &ignored);
        for (j = 0; j < (strcmp(now.scenario, "sqlite") == 0 ? 4 : 3); j++)
            faults |= torture(&pools[j], false, step, first) | torture(&pools[j], true, step, first);
    }
    printf("reported accepted %ld\n", reported);
    curl_global_cleanup();
    return faults;
}
