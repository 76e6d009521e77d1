/* luaopen_cfpurge_core: what `require "cfpurge.core"` returns, and the global init. */
#include <limits.h>

#include "base/clock.h"
#include "base/generation.h"
#include "binding/cli.h"
#include "binding/client.h"
#include "binding/error.h"
#include "binding/options.h"
#include "binding/params.h"
#include "binding/decoder.h"
#include "engine/address.h"
#include "engine/global.h"

static int module_now(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)cf_clock_now() / 1e6);
    return 1;
}

/* ascii_host(name) -> the name of a host in ASCII; nil where it has none, or libcurl cannot tell. */
static int module_ascii_host(lua_State *L)
{
    char ascii[256];

    if (cf_address_to_ascii(luaL_checkstring(L, 1), ascii, sizeof ascii))
        lua_pushstring(L, ascii);
    else
        lua_pushnil(L);
    return 1;
}

/* generation() -> another number in each forked child. */
static int module_generation(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)cf_generation());
    return 1;
}

/* libcurl() -> the running one and its libraries, for people. */
static int module_libcurl(lua_State *L)
{
    lua_pushstring(L, cf_global_libcurl());
    return 1;
}

/* HAProxy interrupts a task by a hook, after so many instructions. hold() puts that off, and returns how many they
 * were; nothing where there is no hook, or it is put off already. */
static int module_hold(lua_State *L)
{
    int count = lua_gethookcount(L);

    if (!lua_gethook(L) || count == INT_MAX)
        return 0;
    lua_sethook(L, lua_gethook(L), lua_gethookmask(L), INT_MAX);
    lua_pushinteger(L, count);
    return 1;
}

/* let_go(count): the hook comes after so many instructions, unless the task has slept and so has a new one. */
static int module_let_go(lua_State *L)
{
    int count = (int)luaL_checkinteger(L, 1);

    if (lua_gethook(L))
        lua_sethook(L, lua_gethook(L), lua_gethookmask(L), count > 1 ? count : 1);
    return 0;
}

/* { new, purge, purge_environment, now, generation, hold, let_go, ascii_host, libcurl, is_terminal, interrupted,
 * read_line, error, kinds, options, version } */
CFPURGE_EXPORT int luaopen_cfpurge_core(lua_State *L);

int luaopen_cfpurge_core(lua_State *L)
{
    static const luaL_Reg functions[] = {{"new", cf_client_new},
                                         {"purge", cf_client_purge},
                                         {"purge_environment", cf_client_purge_environment},
                                         {"now", module_now},
                                         {"ascii_host", module_ascii_host},
                                         {"generation", module_generation},
                                         {"hold", module_hold},
                                         {"let_go", module_let_go},
                                         {"libcurl", module_libcurl},
                                         {NULL, NULL}};
    const char *problem = cf_global_problem();

    if (problem)
        return luaL_error(L, "cfpurge: %s", problem);
    cf_decoder_open(L);
    cf_client_open(L);
    lua_newtable(L);
    cf_register(L, functions);
    cf_cli_open(L);
    cf_error_open(L);
    lua_setfield(L, -2, "error");
    cf_params_push_kinds(L);
    lua_setfield(L, -2, "kinds");
    cf_options_push_schema(L);
    lua_setfield(L, -2, "options");
    lua_pushliteral(L, CF_VERSION);
    lua_setfield(L, -2, "version");
    return 1;
}
