/* luaopen_cfpurge_core: what `require "cfpurge.core"` returns, and the global init. */
#define _GNU_SOURCE /* sigaction */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <lualib.h>

#include "binding/client.h"
#include "binding/error.h"
#include "binding/options.h"
#include "base/clock.h"
#include "engine/global.h"
#include "binding/result.h"

static int module_now(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)cf_clock_now() / 1e6);
    return 1;
}

/* For the command, which Lua gives neither: is a descriptor (0, 1, 2) a terminal? */
static int module_is_terminal(lua_State *L)
{
    lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
    return 1;
}

/* NULL where it is closed. */
static FILE *module_check_file(lua_State *L, int index)
{
    void *handle = luaL_checkudata(L, index, LUA_FILEHANDLE);
#if LUA_VERSION_NUM >= 502
    return ((luaL_Stream *)handle)->closef ? ((luaL_Stream *)handle)->f : NULL;
#else
    return *(FILE **)handle;
#endif
}

/* read_line(file) -> the line without its end; nil at the file's end; nil and why not. Lua's own takes a NUL for the
 * end of a line in 5.1 and LuaJIT, and what is behind it is lost. */
static int module_read_line(lua_State *L)
{
    FILE *file = module_check_file(L, 1);
    luaL_Buffer line;
    int c, problem;

    if (!file)
        return luaL_argerror(L, 1, "closed file");
    luaL_buffinit(L, &line);
    while ((c = getc_unlocked(file)) != EOF && c != '\n')
        luaL_addchar(&line, (char)c);
    problem = c == EOF && ferror(file) ? errno : 0;
    luaL_pushresult(&line);
    if (c == '\n' || (!problem && lua_rawlen(L, -1) > 0))
        return 1;
    lua_pushnil(L);
    if (!problem)
        return 1;
    lua_pushstring(L, strerror(problem));
    return 2;
}

static volatile sig_atomic_t was_interrupted;

static void module_on_interrupt(int number)
{
    (void)number;
    was_interrupted = 1;
}

/* Did SIGINT or SIGTERM come? The first call begins to look out for them; the second signal ends the process. A flag
 * and not a hook that raises, as lua(1) has: that would cut a job's account wherever it is. A terminal's line is given
 * up, a pipe's is not cut in two. */
static int module_interrupted(lua_State *L)
{
    static int is_watching;

    if (!is_watching) {
        struct sigaction action;

        memset(&action, 0, sizeof action);
        action.sa_handler = module_on_interrupt;
        action.sa_flags = (int)SA_RESETHAND | (isatty(STDIN_FILENO) ? 0 : SA_RESTART);
        sigemptyset(&action.sa_mask);
        is_watching = sigaction(SIGINT, &action, NULL) == 0 && sigaction(SIGTERM, &action, NULL) == 0;
    }
    lua_pushboolean(L, was_interrupted);
    return 1;
}

/* { new, purge, purge_environment, now, is_terminal, interrupted, read_line, error, options, version } */
CFPURGE_EXPORT int luaopen_cfpurge_core(lua_State *L);

int luaopen_cfpurge_core(lua_State *L)
{
    static const luaL_Reg functions[] = {{"new", cf_client_new},
                                         {"purge", cf_client_purge},
                                         {"purge_environment", cf_client_purge_environment},
                                         {"now", module_now},
                                         {"is_terminal", module_is_terminal},
                                         {"interrupted", module_interrupted},
                                         {"read_line", module_read_line},
                                         {NULL, NULL}};

    if (!cf_global_init())
        return luaL_error(L, "cfpurge: curl_global_init failed");
    cf_result_open(L);
    cf_client_open(L);
    lua_newtable(L);
    cf_register(L, functions);
    cf_error_open(L);
    lua_setfield(L, -2, "error");
    cf_options_push_schema(L);
    lua_setfield(L, -2, "options");
    lua_pushliteral(L, CF_VERSION);
    lua_setfield(L, -2, "version");
    return 1;
}
