/* A protected call that the errors of the host's finalizers do not end. */
#include "binding/protect.h"

#include <stdbool.h>

#if LUA_VERSION_NUM >= 504

/* A finalizer's error is a warning here. */
int cf_protect_call(lua_State *L, int arguments, int results)
{
    return lua_pcall(L, arguments, results, 0);
}

#else

/* Kilobytes for one step of the collector. */
#define STEP 1024
#define MOST_STEPS 100000

static int protect_step(lua_State *L)
{
    int steps;
    for (steps = 0; steps < MOST_STEPS && !lua_gc(L, LUA_GCSTEP, STEP); steps++)
        continue;
    return 0;
}

#if LUA_VERSION_NUM == 501

static bool protect_may_be_finalizer(int status)
{
    return status == LUA_ERRRUN;
}

static int protect_call_step(lua_State *L)
{
    return lua_cpcall(L, protect_step, NULL);
}

#else

static bool protect_may_be_finalizer(int status)
{
    return status == LUA_ERRGCMM;
}

static int protect_call_step(lua_State *L)
{
    lua_pushcfunction(L, protect_step);
    return lua_pcall(L, 0, 0, 0);
}

#endif

/* To the end of this cycle of the collector. Each error has been the last of one finalizer. */
static void protect_finalize(lua_State *L)
{
    int top = lua_gettop(L), errors;

    for (errors = 0; errors < MOST_STEPS && protect_call_step(L) != LUA_OK; errors++)
        lua_settop(L, top);
}

int cf_protect_call(lua_State *L, int arguments, int results)
{
    int function = lua_gettop(L) - arguments, status, i;

    luaL_checkstack(L, arguments + 2, "protected call");
    for (i = function; i <= function + arguments; i++)
        lua_pushvalue(L, i);
    status = lua_pcall(L, arguments, results, 0);
    if (protect_may_be_finalizer(status)) {
        lua_settop(L, function + arguments);
        protect_finalize(L);
        for (i = function; i <= function + arguments; i++)
            lua_pushvalue(L, i);
        status = lua_pcall(L, arguments, results, 0);
    }
    for (i = 0; i <= arguments; i++)
        lua_remove(L, function);
    return status;
}

#endif
