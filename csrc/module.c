/* luaopen_cfpurge_core: what `require "cfpurge.core"` returns, and the global init. */
#define _GNU_SOURCE /* sigaction */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "error.h"
#include "options.h"
#include "process.h"
#include "result.h"

static int now(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)cf_process_now() / 1e6);
    return 1;
}

/* For the command, which Lua gives neither: is a descriptor (0, 1, 2) a terminal? */
static int is_terminal(lua_State *L)
{
    lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
    return 1;
}

static volatile sig_atomic_t was_interrupted;

static void on_interrupt(int number)
{
    (void)number;
    was_interrupted = 1;
}

/* Did SIGINT or SIGTERM come? The first call begins to look out for them; the second signal ends the process. A flag and
 * not a hook that raises, as lua(1) has: that would cut a job's account wherever it is. A terminal's line is given up,
 * a pipe's is not cut in two. */
static int interrupted(lua_State *L)
{
    static int is_watching;

    if (!is_watching) {
        struct sigaction action;

        memset(&action, 0, sizeof action);
        action.sa_handler = on_interrupt;
        action.sa_flags = (int)SA_RESETHAND | (isatty(STDIN_FILENO) ? 0 : SA_RESTART);
        sigemptyset(&action.sa_mask);
        is_watching = sigaction(SIGINT, &action, NULL) == 0 && sigaction(SIGTERM, &action, NULL) == 0;
    }
    lua_pushboolean(L, was_interrupted);
    return 1;
}

/* { new, purge, purge_environment, now, is_terminal, interrupted, error, options, version } */
CFPURGE_EXPORT int luaopen_cfpurge_core(lua_State *L);

int luaopen_cfpurge_core(lua_State *L)
{
    static const luaL_Reg functions[] = {{"new", cf_client_new},
                                         {"purge", cf_client_purge},
                                         {"purge_environment", cf_client_purge_environment},
                                         {"now", now},
                                         {"is_terminal", is_terminal},
                                         {"interrupted", interrupted},
                                         {NULL, NULL}};

    if (!cf_process_init())
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
