/* The benchmarks' functions of C, as a Lua module: clocks, waits, and a purge by libcurl's blocking easy interface. */
#define _GNU_SOURCE
#include <curl/curl.h>
#include <lauxlib.h>
#include <lua.h>
#include <poll.h>
#include <time.h>

static int clock_of(lua_State *L, clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec / 1e9);
    return 1;
}

static int now(lua_State *L)
{
    return clock_of(L, CLOCK_MONOTONIC);
}

/* Of all threads. */
static int cpu(lua_State *L)
{
    return clock_of(L, CLOCK_PROCESS_CPUTIME_ID);
}

/* Of the calling one. */
static int thread_cpu(lua_State *L)
{
    return clock_of(L, CLOCK_THREAD_CPUTIME_ID);
}

/* sleep_until(t), of the same clock as now. */
static int sleep_until(lua_State *L)
{
    double at = luaL_checknumber(L, 1);
    struct timespec when;

    when.tv_sec = (time_t)at;
    when.tv_nsec = (long)((at - (double)when.tv_sec) * 1e9);
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL);
    return 0;
}

/* wait(fd, seconds): until the descriptor is readable, or for so long. */
static int wait_readable(lua_State *L)
{
    struct pollfd watched = {.fd = (int)luaL_checkinteger(L, 1), .events = POLLIN};

    poll(&watched, 1, (int)(luaL_checknumber(L, 2) * 1e3 + 0.999));
    return 0;
}

/* The bytes of the value on the top of the stack and of all in it. */
static size_t bytes_in(lua_State *L)
{
    size_t bytes = 0, len = 0;

    if (lua_type(L, -1) == LUA_TSTRING)
        return lua_tolstring(L, -1, &len), len;
    if (lua_istable(L, -1))
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            bytes += bytes_in(L);
            len = 0;
            if (lua_type(L, -2) == LUA_TSTRING)
                lua_tolstring(L, -2, &len);
            bytes += len;
        }
    return bytes;
}

/* read(value): reads every string in it, and does nothing with them. */
static int read_value(lua_State *L)
{
    luaL_checkstack(L, 20, "read");
    lua_settop(L, 1);
    lua_pushnumber(L, (lua_Number)bytes_in(L));
    return 1;
}

static size_t discard(char *bytes, size_t size, size_t count, void *unused)
{
    (void)bytes, (void)unused;
    return size * count;
}

/* post(url, ca_file, body): what libcurl says. The handle is kept, as the usual bindings allow. */
static int post(lua_State *L)
{
    static CURL *easy;

    if (!easy)
        easy = curl_easy_init();
    curl_easy_setopt(easy, CURLOPT_URL, luaL_checkstring(L, 1));
    curl_easy_setopt(easy, CURLOPT_CAINFO, luaL_checkstring(L, 2));
    curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, luaL_checkstring(L, 3));
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, discard);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    CURLcode code = curl_easy_perform(easy);
    lua_pushstring(L, code == CURLE_OK ? "ok" : curl_easy_strerror(code));
    return 1;
}

__attribute__((visibility("default"))) int luaopen_bench_native(lua_State *L);

int luaopen_bench_native(lua_State *L)
{
    static const struct {
        const char *name;
        lua_CFunction function;
    } functions[] = {{"now", now}, {"cpu", cpu}, {"thread_cpu", thread_cpu}, {"sleep_until", sleep_until},
                   {"wait", wait_readable}, {"read", read_value}, {"post", post}};
    size_t i;

    lua_newtable(L);
    for (i = 0; i < sizeof functions / sizeof *functions; i++) {
        lua_pushcfunction(L, functions[i].function);
        lua_setfield(L, -2, functions[i].name);
    }
    return 1;
}
