/* Functions of the system that the command needs and Lua does not have. */
#define _GNU_SOURCE 1 /* sigaction */
#include "binding/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <lualib.h>

#include "binding/page.h"

/* is_terminal(fd): is this descriptor a terminal? */
static int cli_is_terminal(lua_State *L)
{
    lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
    return 1;
}

/* terminal_width(fd): the columns of this terminal, nil where nobody knows them. */
static int cli_terminal_width(lua_State *L)
{
    struct winsize size;

    memset(&size, 0, sizeof size);
    if (ioctl((int)luaL_checkinteger(L, 1), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        lua_pushinteger(L, size.ws_col);
    else
        lua_pushnil(L);
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

static int cli_push_problem(lua_State *L, int problem)
{
    lua_pushnil(L);
    lua_pushstring(L, strerror(problem));
    return 2;
}

/* The file that `path` stands for, whose links are followed. False with errno; a file that is not there yet is no
 * error. */
static bool cli_find_target(const char *path, char target[PATH_MAX], struct stat *found, bool *is_there)
{
    struct stat link;

    *is_there = stat(path, found) == 0;
    if (*is_there)
        return realpath(path, target) != NULL;
    /* A link that leads nowhere would be replaced. */
    if (errno != ENOENT || lstat(path, &link) == 0)
        return false;
    if (strlen(path) >= PATH_MAX)
        return errno = ENAMETOOLONG, false;
    memcpy(target, path, strlen(path) + 1);
    return true;
}

/* create_beside(path) -> a new, empty file in the same directory, with the owner and the mode of the file that it is to
 * replace, and the path of that file; or nil and why not. What is no regular file is written as it is: then both are
 * `path`. */
static int cli_create_beside(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    char target[PATH_MAX], beside[PATH_MAX + 8];
    struct stat before;
    bool is_there, is_ready;
    mode_t mode;
    int fd, problem;

    if (!cli_find_target(path, target, &before, &is_there))
        return cli_push_problem(L, errno);
    if (is_there && !S_ISREG(before.st_mode)) {
        if (S_ISDIR(before.st_mode))
            return cli_push_problem(L, EISDIR);
        lua_settop(L, 1);
        lua_pushvalue(L, 1);
        return 2;
    }
    if (is_there && access(target, W_OK) != 0)
        return cli_push_problem(L, errno);
    /* mkostemp: a random name and O_EXCL. */
    (void)snprintf(beside, sizeof beside, "%s.XXXXXX", target);
    fd = mkostemp(beside, O_CLOEXEC);
    if (fd < 0)
        return cli_push_problem(L, errno);
    if (is_there) {
        /* Another owner's file stays that owner's where we may give files away, and is else ours with the same rights.
         */
        mode = fchown(fd, before.st_uid, before.st_gid) == 0 ? before.st_mode & 07777 : before.st_mode & 0777;
    } else {
        mode_t mask = umask(0);
        (void)umask(mask);
        mode = 0666 & ~mask;
    }
    is_ready = fchmod(fd, mode) == 0;
    problem = errno;
    is_ready = close(fd) == 0 && is_ready;
    if (!is_ready) {
        (void)unlink(beside);
        return cli_push_problem(L, problem);
    }
    lua_pushstring(L, beside);
    lua_pushstring(L, target);
    return 2;
}

/* replace(path, target) -> true; or nil and why not. Whatever happens to the machine, `target` is the old file or the
 * whole new one. */
static int cli_replace(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1), *target = luaL_checkstring(L, 2);
    int fd = open(path, O_WRONLY | O_CLOEXEC), problem = errno;
    bool is_done = fd >= 0 && fsync(fd) == 0;

    if (fd >= 0) {
        problem = errno;
        (void)close(fd);
    }
    if (is_done && rename(path, target) != 0) {
        is_done = false;
        problem = errno;
    }
    if (!is_done)
        return cli_push_problem(L, problem);
    lua_pushboolean(L, true);
    return 1;
}

/* make_folder(path) -> true; or nil and why not. What is missing of the path is made too, for its owner alone. */
static int cli_make_folder(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1), *end = path;
    char part[PATH_MAX];
    struct stat found;

    if (strlen(path) >= sizeof part)
        return cli_push_problem(L, ENAMETOOLONG);
    do {
        end += strspn(end, "/");
        end += strcspn(end, "/");
        memcpy(part, path, (size_t)(end - path));
        part[end - path] = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return cli_push_problem(L, errno);
    } while (*end);
    if (stat(path, &found) != 0 || !S_ISDIR(found.st_mode))
        return cli_push_problem(L, ENOTDIR);
    lua_pushboolean(L, true);
    return 1;
}

/* The signals that came, and which was the last; has the command seen them? */
static volatile sig_atomic_t cli_signals, cli_last_signal, cli_is_seen;
/* When the first one came, in seconds. Only the handler reads it. */
static time_t cli_first;

static void cli_on_signal(int number)
{
    struct timespec now = {0, 0};

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    if (cli_signals == 0)
        cli_first = now.tv_sec;
    /* It is delivered when this returns. */
    if (cli_signals == 2 || (cli_signals == 1 && !cli_is_seen && now.tv_sec - cli_first > 1)) {
        (void)signal(number, SIG_DFL);
        (void)raise(number);
        return;
    }
    cli_last_signal = number;
    cli_signals++;
    cli_is_seen = 0;
}

/* interrupted() -> how many of SIGINT, SIGTERM and SIGHUP came, and the last one's number. The first call begins to
 * look out for them. A third one ends the process, and a second one where the first was not asked for within a second
 * or two: the command waits for somebody else. It asks each half a second where it waits for the API. lua(1) has a hook
 * that raises: it would cut a job's account wherever it is. A signal ends the reading of a terminal's line, but cuts no
 * line of a pipe in two. */
static int cli_interrupted(lua_State *L)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    static bool is_watching;

    if (!is_watching) {
        struct sigaction action, before;
        size_t i;

        memset(&action, 0, sizeof action);
        action.sa_handler = cli_on_signal;
        action.sa_flags = isatty(STDIN_FILENO) ? 0 : SA_RESTART;
        sigemptyset(&action.sa_mask);
        for (i = 0; i < sizeof numbers / sizeof *numbers; i++)
            /* nohup(1) has taken SIGHUP away. */
            if (numbers[i] != SIGHUP || sigaction(SIGHUP, NULL, &before) != 0 || before.sa_handler != SIG_IGN)
                (void)sigaction(numbers[i], &action, NULL);
        /* Where nobody reads standard output any more, the cause is still to be told. */
        (void)signal(SIGPIPE, SIG_IGN);
        is_watching = true;
    }
    cli_is_seen = 1;
    lua_pushinteger(L, cli_signals);
    lua_pushinteger(L, cli_last_signal);
    return 2;
}

bool cf_cli_has_signal(void)
{
    return cli_signals > 0;
}

/* file_rights(path) -> may others than its owner write it, may they read it, may everybody write it; nil of what is no
 * regular file. One that is neither ours nor root's is its owner's to write. */
static int cli_file_rights(lua_State *L)
{
    struct stat found;

    if (stat(luaL_checkstring(L, 1), &found) != 0 || !S_ISREG(found.st_mode))
        return 0;
    lua_pushboolean(L, (found.st_mode & 022) != 0 || (found.st_uid != geteuid() && found.st_uid != 0));
    lua_pushboolean(L, (found.st_mode & 044) != 0);
    lua_pushboolean(L, (found.st_mode & S_IWOTH) != 0);
    return 3;
}

/* sleep(seconds): a signal ends it. */
static int cli_sleep(lua_State *L)
{
    lua_Number seconds = luaL_checknumber(L, 1);
    struct timespec time = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - floor(seconds)) * 1e9)};

    (void)nanosleep(&time, NULL);
    return 0;
}

/* end_by(signal): as a process that never caught it: a shell's loop stops. */
static int cli_end_by(lua_State *L)
{
    int number = (int)luaL_checkinteger(L, 1);

    (void)signal(number, SIG_DFL);
    (void)raise(number);
    return 0;
}

void cf_cli_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"is_terminal", cli_is_terminal}, {"terminal_width", cli_terminal_width},
                                         {"read_line", cli_read_line},     {"create_beside", cli_create_beside},
                                         {"replace", cli_replace},         {"make_folder", cli_make_folder},
                                         {"interrupted", cli_interrupted}, {"end_by", cli_end_by},
                                         {"file_rights", cli_file_rights}, {"sleep", cli_sleep},
                                         {"pages", cf_page_new},           {NULL, NULL}};
    cf_register(L, functions);
}
