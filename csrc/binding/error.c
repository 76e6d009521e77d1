/* The one constructor of error tables. */
#include "binding/error.h"

#include <stdarg.h>

static const char error_metatable = 0;

static void error_push_new(lua_State *L, const char *kind)
{
    lua_createtable(L, 0, 12);
    lua_pushstring(L, kind);
    lua_setfield(L, -2, "kind");
    lua_newtable(L);
    lua_setfield(L, -2, "errors");
    lua_newtable(L);
    lua_setfield(L, -2, "messages");
    lua_pushinteger(L, 0);
    lua_setfield(L, -2, "attempts");
    lua_pushinteger(L, 0);
    lua_setfield(L, -2, "accepted");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "retryable");
    cf_registry_get(L, &error_metatable);
    lua_setmetatable(L, -2);
}

void cf_error_set_message(lua_State *L, int error)
{
    const char *text = lua_tostring(L, -1), *byte = text;
    luaL_Buffer clean;

    while ((unsigned char)*byte >= 0x20 && *byte != 0x7f)
        byte++;
    if (*byte) {
        luaL_buffinit(L, &clean);
        for (byte = text; *byte; byte++)
            luaL_addchar(&clean, (unsigned char)*byte >= 0x20 && *byte != 0x7f ? *byte : '?');
        luaL_pushresult(&clean);
        lua_remove(L, -2);
    }
    lua_setfield(L, error, "message");
}

void cf_error_push(lua_State *L, const char *kind, const char *field, const char *message, ...)
{
    va_list arguments;

    error_push_new(L, kind);
    va_start(arguments, message);
    lua_pushvfstring(L, message, arguments);
    va_end(arguments);
    cf_error_set_message(L, lua_gettop(L) - 1);
    if (field) {
        lua_pushstring(L, field);
        lua_setfield(L, -2, "field");
    }
}

static int error_new_error(lua_State *L)
{
    const char *kind = luaL_checkstring(L, 1);

    luaL_checkstring(L, 2);
    lua_settop(L, 3);
    error_push_new(L, kind);
    lua_pushvalue(L, 2);
    cf_error_set_message(L, 4);
    if (lua_istable(L, 3))
        for (lua_pushnil(L); lua_next(L, 3);) {
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, 4);
        }
    return 1;
}

static int error_to_string(lua_State *L)
{
    static const char *const details[] = {"status", "code", "ray_id"};
    size_t i;

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    cf_rawgetfield(L, 1, "kind");
    cf_rawgetfield(L, 1, "message");
    /* A caller may have put anything into the table. */
    lua_pushfstring(L, "%s: %s", lua_isstring(L, 2) ? lua_tostring(L, 2) : "error",
                    lua_isstring(L, 3) ? lua_tostring(L, 3) : "");
    for (i = 0; i < sizeof details / sizeof *details; i++) {
        cf_rawgetfield(L, 1, details[i]);
        if (lua_isstring(L, -1)) {
            lua_pushfstring(L, "%s; %s %s", lua_tostring(L, 4), details[i], lua_tostring(L, -1));
            lua_replace(L, 4);
        }
        lua_settop(L, 4);
    }
    return 1;
}

int cf_error_with_text(lua_State *L)
{
    lua_pushnil(L);
    lua_pushcfunction(L, error_to_string);
    lua_pushvalue(L, -3);
    lua_call(L, 1, 1);
    lua_pushvalue(L, -3);
    return 3;
}

/* "text" .. err, err .. "text", err .. err: by habit an error is text. */
static int error_concat(lua_State *L)
{
    int i;

    lua_settop(L, 2);
    for (i = 1; i <= 2; i++) {
        if (lua_isstring(L, i))
            lua_pushvalue(L, i);
        else if (!luaL_callmeta(L, i, "__tostring"))
            return luaL_error(L, "attempt to concatenate a %s value", luaL_typename(L, i));
    }
    lua_concat(L, 2);
    return 1;
}

void cf_error_open(lua_State *L)
{
    lua_newtable(L);
    lua_pushcfunction(L, error_concat);
    lua_setfield(L, -2, "__concat");
    lua_pushcfunction(L, error_to_string);
    lua_setfield(L, -2, "__tostring");
    lua_pushliteral(L, "cfpurge.error");
    lua_setfield(L, -2, "__name");
    cf_registry_set(L, &error_metatable);
    lua_pushcfunction(L, error_new_error);
}
