/* Options, from bytes to a client and what it would send: refused by name, or a client whose credential goes nowhere
 * that it must not (options.lua judges). The input is a list of instructions, a line each: see `build` there. */
#define _GNU_SOURCE /* setenv */
#include "state.h"

static lua_State *L;

CFPURGE_EXPORT int luaopen_cfpurge_core(lua_State *L);

/* environment(name, value): nil takes it away. */
static int environment(lua_State *state)
{
    const char *name = luaL_checkstring(state, 1), *value = lua_tostring(state, 2);
    if (value)
        setenv(name, value, 1);
    else
        unsetenv(name);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!L) {
        cf_memory_hook(counted);
        L = open_lua("options");
        lua_register(L, "environment", environment);
        luaL_requiref(L, "core", luaopen_cfpurge_core, 1);
        lua_settop(L, 0);
    }
    lua_getglobal(L, "options");
    lua_pushlstring(L, (const char *)data, size);
    call_or_die(L, 1);
    lua_gc(L, LUA_GCCOLLECT);
    CHECK(blocks == 0);
    return 0;
}
