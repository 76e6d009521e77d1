/* A C program with Lua, cfpurge's core and lua-cjson linked in, and nothing on disk: the Lua that it runs comes by standard
 * input and leaves a function `frame`, which is called sixty times a second until it returns false. */
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <time.h>

int luaopen_cjson(lua_State *L), luaopen_cfpurge_core(lua_State *L);

static int fail(lua_State *L)
{
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    lua_close(L);
    return 1;
}

int main(void)
{
    const struct timespec pause = {0, 16666667};
    lua_State *L = luaL_newstate();
    int more = 1;

    luaL_openlibs(L);
    luaL_requiref(L, "cjson", luaopen_cjson, 0);
    luaL_requiref(L, "cfpurge.core", luaopen_cfpurge_core, 0);
    if (luaL_dostring(L, "package.path, package.cpath = '', ''") || luaL_dofile(L, NULL))
        return fail(L);
    while (more) {
        lua_settop(L, 0);
        lua_getglobal(L, "frame");
        if (lua_pcall(L, 0, 1, 0))
            return fail(L);
        more = lua_toboolean(L, -1);
        nanosleep(&pause, NULL);
    }
    lua_close(L);
    return 0;
}
