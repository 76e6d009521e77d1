/* JSON -> Lua tables, by a private instance of lua-cjson; in Neovim by its vim.json. */
#include "binding/decoder.h"

#include <string.h>

#include "binding/protect.h"

/* Deeper than any envelope, and far from the C stack's end. */
#define MAX_DEPTH 50

static const char decoder = 0;

/* Raises where memory is short or a finalizer of the host raised: neither is the function's verdict. */
static bool decoder_try_call(lua_State *L)
{
    int status = cf_protect_call(L, 1, 1);
    if (status != LUA_OK && status != LUA_ERRRUN)
        lua_error(L);
    return status == LUA_OK && lua_istable(L, -1);
}

/* lua/cfpurge/json.lua says why Neovim's comes first. */
static bool decoder_require_cjson(lua_State *L)
{
    int top = lua_gettop(L);

    lua_getglobal(L, "vim");
    if (lua_istable(L, -1))
        lua_getfield(L, -1, "json");
    if (lua_istable(L, -1) && lua_gettop(L) == top + 2)
        return true;
    lua_settop(L, top);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "cjson");
    return decoder_try_call(L);
}

void cf_decoder_open(lua_State *L)
{
    int top = lua_gettop(L), json;

    if (!decoder_require_cjson(L))
        luaL_error(L, "cfpurge needs lua-cjson: the module 'cjson' was not found");
    json = lua_gettop(L);
    /* A private instance: we neither change nor obey the host's settings. */
    lua_getfield(L, json, "new");
    if (lua_isfunction(L, -1)) {
        lua_call(L, 0, 1);
        lua_replace(L, json);
    }
    lua_settop(L, json);
    lua_getfield(L, json, "decode_max_depth");
    if (lua_isfunction(L, -1)) {
        lua_pushinteger(L, MAX_DEPTH);
        lua_call(L, 1, 0);
    }
    lua_settop(L, json);
    lua_getfield(L, json, "decode");
    luaL_checktype(L, -1, LUA_TFUNCTION);
    cf_registry_set(L, &decoder);
    lua_settop(L, top);
}

bool cf_decoder_push(lua_State *L, const char *json, size_t len)
{
    size_t blank = 0;

    while (blank < len && json[blank] && strchr(" \t\r\n", json[blank]))
        blank++;
    /* lua-cjson would read no further than to a NUL, which JSON never has. */
    if (blank >= len || json[blank] != '{' || memchr(json, '\0', len))
        return false;
    cf_registry_get(L, &decoder);
    lua_pushlstring(L, json, len);
    if (decoder_try_call(L))
        return true;
    lua_pop(L, 1);
    return false;
}
