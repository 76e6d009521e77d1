/* For the targets that end in Lua: one state, with lua-cjson in it and the error tables known, for the whole run. */
#ifndef CFPURGE_FUZZ_STATE_H
#define CFPURGE_FUZZ_STATE_H

#include <lualib.h>

#include "../../csrc/binding/compat.h"
#include "../../csrc/binding/error.h"
#include "../../csrc/binding/decoder.h"
#include "../../csrc/binding/result.h"
#include "fuzz.h"

int luaopen_cjson(lua_State *L);

/* What the Lua file named `oracle` beside the targets returns becomes the global of that name. */
static inline void load_oracle(lua_State *L, const char *oracle)
{
    lua_settop(L, 0);
    lua_pushfstring(L, "%s/%s.lua", FUZZ_DIR, oracle);
    if (luaL_dofile(L, lua_tostring(L, 1))) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        abort();
    }
    lua_setglobal(L, oracle);
    lua_settop(L, 0);
}

/* The state, with the oracle of this name. */
static inline lua_State *open_lua(const char *oracle)
{
    lua_State *L = luaL_newstate();

    CHECK(L);
    luaL_openlibs(L);
    luaL_requiref(L, "cjson", luaopen_cjson, 0);
    lua_settop(L, 0);
    cf_decoder_open(L);
    cf_error_open(L);
    load_oracle(L, oracle);
    return L;
}

/* The function and its arguments stand on the stack: an error that it raises is a finding. */
static inline void call_or_die(lua_State *L, int arguments)
{
    if (lua_pcall(L, arguments, 0, 0) != LUA_OK) {
        fprintf(stderr, "broken: %s\n", lua_tostring(L, -1));
        abort();
    }
}

#endif
