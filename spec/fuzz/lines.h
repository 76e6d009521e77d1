/* For the targets whose subject is Lua: libFuzzer sees its lines, as counters beside those of the compiler. */
#ifndef CFPURGE_FUZZ_LINES_H
#define CFPURGE_FUZZ_LINES_H

#include "state.h"

int luaopen_cfpurge_core(lua_State *L);

__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t lines[1 << 14];

static void on_line(lua_State *L, lua_Debug *activation)
{
    lua_getinfo(L, "S", activation);
    lines[((uintptr_t)activation->source / 16 * 31 + (uintptr_t)activation->currentline) % sizeof lines]++;
}

/* watch(boolean): what follows is of interest, or it is the target's own, and would only cost time. */
static int watch(lua_State *L)
{
    lua_sethook(L, lua_toboolean(L, 1) ? on_line : NULL, lua_toboolean(L, 1) ? LUA_MASKLINE : 0, 0);
    return 0;
}

/* The state of open_lua, with our modules to be found, and `function` as the global `name`. */
static inline lua_State *open_watched(const char *oracle, const char *name, lua_CFunction function)
{
    lua_State *L = luaL_newstate();

    CHECK(L);
    luaL_openlibs(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, luaopen_cjson);
    lua_setfield(L, -2, "cjson");
    lua_pushcfunction(L, luaopen_cfpurge_core);
    lua_setfield(L, -2, "cfpurge.core");
    lua_settop(L, 0);
    lua_register(L, "watch", watch);
    if (function)
        lua_register(L, name, function);
    lua_getglobal(L, "package");
    lua_pushfstring(L, "%s/../../lua/?.lua;%s/../../lua/?/init.lua;%s/../../?.lua", FUZZ_DIR, FUZZ_DIR, FUZZ_DIR);
    lua_setfield(L, -2, "path");
    load_oracle(L, oracle);
    return L;
}

#endif
