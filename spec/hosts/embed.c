/* Sixty frames a second, and purges meanwhile: embed SECONDS URL... gives up what was not answered in that time. Built by
 *   make libcfpurge.a LUA=lua5.4
 *   cc embed.c build/lua5.4/libcfpurge.a -l:liblua5.4-cjson.so.0 $(pkg-config --cflags --libs lua5.4 libcurl) */
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int luaopen_cjson(lua_State *L), luaopen_cfpurge_core(lua_State *L);

static const char script[] =
    "package.path, package.cpath = '', ''    -- nothing comes from disk\n"
    "local client = assert(require 'cfpurge.core'.new { ca_file = os.getenv 'CA_FILE' })\n"
    "local urls = {}\n"
    "function purge(url)\n"
    "  local id, err = client:start { files = { url } }\n"
    "  if not id then error(tostring(err), 0) end\n"
    "  urls[id] = url\n"
    "end\n"
    "function frame(late)\n"
    "  if late then for id in pairs(urls) do client:cancel(id) end end\n"
    "  local in_flight, id, result, err = client:step(0), client:take()\n"
    "  while id do\n"
    "    print(('{\"url\": \"%s\", \"outcome\": \"%s\"}'):format(urls[id], result and 'accepted' or err.kind))\n"
    "    urls[id] = nil; id, result, err = client:take()\n"
    "  end\n"
    "  return in_flight\n"
    "end\n";

static void give_up(lua_State *L)
{
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    exit(1);
}

static int call(lua_State *L, const char *function, const char *argument)
{
    lua_settop(L, 0);
    lua_getglobal(L, function);
    lua_pushstring(L, argument);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK)
        give_up(L);
    return (int)lua_tointeger(L, 1);
}

int main(int argc, char **argv)
{
    int frames = 0, in_flight = 1, i;
    long microseconds, longest = 0;
    struct timespec begun, ended, pause = {0, 16666667};
    lua_State *L = luaL_newstate();

    luaL_openlibs(L);
    luaL_requiref(L, "cjson", luaopen_cjson, 0);
    luaL_requiref(L, "cfpurge.core", luaopen_cfpurge_core, 0);
    if (luaL_dostring(L, script) != LUA_OK)
        give_up(L);
    for (i = 2; i < argc; i++)
        call(L, "purge", argv[i]);
    for (; in_flight > 0; frames++) {
        timespec_get(&begun, TIME_UTC);
        in_flight = call(L, "frame", frames < 60 * atof(argv[1]) ? NULL : "late");
        timespec_get(&ended, TIME_UTC);
        microseconds = (ended.tv_sec - begun.tv_sec) * 1000000 + (ended.tv_nsec - begun.tv_nsec) / 1000;
        longest = microseconds > longest ? microseconds : longest;
        nanosleep(&pause, NULL);    /* here the game draws */
    }
    printf("{\"frames\": %d, \"longest\": %ld}\n", frames, longest);
    lua_close(L);
}
