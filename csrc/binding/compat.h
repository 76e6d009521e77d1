/* Every difference between Lua 5.1 to 5.5 and LuaJIT, and nothing else. */
#ifndef CFPURGE_COMPAT_H
#define CFPURGE_COMPAT_H

#include <stdint.h>

#include <lauxlib.h>
#include <lua.h>

#if defined(__GNUC__)
#define CFPURGE_EXPORT __attribute__((visibility("default")))
#else
#define CFPURGE_EXPORT
#endif

#if LUA_VERSION_NUM == 501

#define lua_rawlen lua_objlen
#define LUA_OK 0

/* For indices on the stack only. */
static inline int lua_absindex(lua_State *L, int index)
{
    return index > 0 ? index : lua_gettop(L) + index + 1;
}

static inline void cf_register(lua_State *L, const luaL_Reg *functions)
{
    luaL_register(L, NULL, functions);
}

/* The table (5.1 takes nothing else) on the top of the stack becomes the userdata's own. */
static inline void cf_set_uservalue(lua_State *L, int index)
{
    lua_setfenv(L, index);
}

static inline void cf_get_uservalue(lua_State *L, int index)
{
    lua_getfenv(L, index);
}

#else

static inline void cf_register(lua_State *L, const luaL_Reg *functions)
{
    luaL_setfuncs(L, functions, 0);
}

static inline void cf_set_uservalue(lua_State *L, int index)
{
    lua_setuservalue(L, index);
}

static inline void cf_get_uservalue(lua_State *L, int index)
{
    lua_getuservalue(L, index);
}

#endif

/* An address as a Lua value. It is a number, which is exact to 53 bits and whose making neither allocates nor collects.
 * Light userdata of older LuaJITs has 47 bits, and arm64 has wider addresses. */
static inline void cf_push_address(lua_State *L, const void *address)
{
    lua_pushinteger(L, (lua_Integer)(intptr_t)address);
}

static inline void *cf_to_address(lua_State *L, int index)
{
    return (void *)(intptr_t)lua_tointeger(L, index);
}

/* Keyed by the address of a static, which nothing else has. The value on the top of the stack. */
static inline void cf_registry_set(lua_State *L, const void *key)
{
    cf_push_address(L, key);
    lua_insert(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

static inline void cf_registry_get(lua_State *L, const void *key)
{
    cf_push_address(L, key);
    lua_rawget(L, LUA_REGISTRYINDEX);
}

/* An unset field, and the module's own functions, must not run a metamethod of the caller's table. */
static inline void cf_rawgetfield(lua_State *L, int index, const char *name)
{
    index = lua_absindex(L, index);
    lua_pushstring(L, name);
    lua_rawget(L, index);
}

#endif
