/* Functions of the system that the command needs and Lua does not have. */
#define _GNU_SOURCE /* sigaction */
#include "binding/cli.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <lualib.h>

/* is_terminal(fd): is this descriptor a terminal? */
static int cli_is_terminal(lua_State *L)
{
    lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
    return 1;
}

/* NULL where it is closed. */
static FILE *cli_check_file(lua_State *L, int index)
{
    void *handle = luaL_checkudata(L, index, LUA_FILEHANDLE);
#if LUA_VERSION_NUM >= 502
    return ((luaL_Stream *)handle)->closef ? ((luaL_Stream *)handle)->f : NULL;
#else
    return *(FILE **)handle;
#endif
}

/* read_line(file) -> the line without its end; nil at the file's end; nil and why not. Lua 5.1 and LuaJIT take a NUL
 * for the end of a line, and lose what stands behind it. */
static int cli_read_line(lua_State *L)
{
    FILE *file = cli_check_file(L, 1);
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

static volatile sig_atomic_t cli_signal_came;

static void cli_on_interrupt(int number)
{
    (void)number;
    cli_signal_came = 1;
}

/* interrupted(): did SIGINT or SIGTERM come? The first call begins to look out for them; the second signal ends the
 * process. lua(1) has a hook that raises: it would cut a job's account wherever it is. A signal ends the reading of a
 * terminal's line, but cuts no line of a pipe in two. */
static int cli_interrupted(lua_State *L)
{
    static int is_watching;

    if (!is_watching) {
        struct sigaction action;

        memset(&action, 0, sizeof action);
        action.sa_handler = cli_on_interrupt;
        action.sa_flags = (int)SA_RESETHAND | (isatty(STDIN_FILENO) ? 0 : SA_RESTART);
        sigemptyset(&action.sa_mask);
        is_watching = sigaction(SIGINT, &action, NULL) == 0 && sigaction(SIGTERM, &action, NULL) == 0;
    }
    lua_pushboolean(L, cli_signal_came);
    return 1;
}

void cf_cli_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"is_terminal", cli_is_terminal}, {"interrupted", cli_interrupted}, {"read_line", cli_read_line}, {NULL, NULL}};
    cf_register(L, functions);
}
