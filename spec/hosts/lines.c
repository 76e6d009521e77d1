/* Notes each line of lua/cfpurge that a process runs, the first time it does: "cfpurge/bulk.lua:7" in the file that
 * CFPURGE_LINES names. In C, so that the coroutines that a host makes are watched as well. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILES 256
#define LINES 1024

static const char *path;
static struct {
    char name[64];
    char seen[LINES];
} files[FILES];

/* Written at once, and closed: a process may be killed, and a spec may count its descriptors. */
static void note(const char *name, int line)
{
    char text[96];
    int len = snprintf(text, sizeof text, "%s:%d\n", name, line), fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);

    if (fd < 0 || write(fd, text, (size_t)len) != len)
        fprintf(stderr, "lines: %s was not written\n", path);
    if (fd >= 0)
        close(fd);
}

static void on_line(lua_State *L, lua_Debug *ar)
{
    const char *name;
    int i;

    if (!lua_getinfo(L, "S", ar) || *ar->source != '@' || !(name = strstr(ar->source, "/lua/cfpurge/")))
        return;
    name += sizeof "/lua/" - 1;
    for (i = 0; i < FILES && *files[i].name && strcmp(files[i].name, name) != 0; i++)
        continue;
    if (i == FILES || strlen(name) >= sizeof files[i].name || ar->currentline < 0 || ar->currentline >= LINES)
        return;
    strcpy(files[i].name, name);
    if (!files[i].seen[ar->currentline]) {
        files[i].seen[ar->currentline] = 1;
        note(name, ar->currentline);
    }
}

int luaopen_lines(lua_State *L);

int luaopen_lines(lua_State *L)
{
    path = getenv("CFPURGE_LINES");
    if (path)
        lua_sethook(L, on_line, LUA_MASKLINE, 0);
    return 0;
}
