/* What the specs need of the system and Lua has not: forks, threads, signals, clocks, sockets; and the units of csrc/
 * that are pure enough to be called by themselves. Built by spec/support/host.lua with retry.c and sigpipe.c. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <lauxlib.h>
#include <linux/filter.h>
#include <lua.h>
#include <lualib.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../csrc/base/retry.h"
#include "../../csrc/base/sigpipe.h"

static int do_fork(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)fork());
    return 1;
}

/* wait(pid): its exit code, or minus the signal that ended it. */
static int do_wait(lua_State *L)
{
    int status = 0;
    pid_t pid = waitpid((pid_t)luaL_checkinteger(L, 1), &status, lua_toboolean(L, 2) ? WNOHANG : 0);
    if (pid == 0)
        return 0;
    lua_pushinteger(L, pid < 0 ? -999 : WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    return 1;
}

/* A forked child ends without the handlers of its parent, but for those that write down what ran (make coverage). */
static int do_exit(lua_State *L)
{
    int status = (int)luaL_optinteger(L, 1, 0);

    if (getenv("CFPURGE_LINES"))
        exit(status);
    _exit(status);
}

static int clock_of(lua_State *L, clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec / 1e9);
    return 1;
}

static int cpu(lua_State *L)
{
    return clock_of(L, CLOCK_THREAD_CPUTIME_ID);
}

static int now(lua_State *L)
{
    return clock_of(L, CLOCK_MONOTONIC);
}

static int set_env(lua_State *L)
{
    if (lua_isnoneornil(L, 2))
        unsetenv(luaL_checkstring(L, 1));
    else
        setenv(luaL_checkstring(L, 1), luaL_checkstring(L, 2), 1);
    return 0;
}

/* peers(port): how many sockets of this process are connected to it, how many of those the other side has closed, and
 * the shortest TCP_USER_TIMEOUT of them in milliseconds (0: none). */
static int peers(lua_State *L)
{
    int port = (int)luaL_checkinteger(L, 1), fd, connected = 0, closed = 0;
    unsigned patience = 0;

    for (fd = 3; fd < 1024; fd++) {
        struct sockaddr_storage address;
        socklen_t size = sizeof address;
        struct pollfd look = {fd, POLLRDHUP, 0};
        unsigned limit = 0;
        socklen_t limit_size = sizeof limit;
        in_port_t at;

        if (getpeername(fd, (struct sockaddr *)&address, &size) != 0)
            continue;
        at = address.ss_family == AF_INET    ? ((struct sockaddr_in *)&address)->sin_port
             : address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                             : 0;
        if (ntohs(at) != port)
            continue;
        connected++;
        closed += poll(&look, 1, 0) > 0 && look.revents & (POLLRDHUP | POLLHUP | POLLERR);
        getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, &limit_size);
        if (limit > 0 && (patience == 0 || limit < patience))
            patience = limit;
    }
    lua_pushinteger(L, connected);
    lua_pushinteger(L, closed);
    lua_pushinteger(L, (lua_Integer)patience);
    return 3;
}

/* poll(fd, seconds): did it become readable? A host that only waits, for ever where there are no seconds. */
static int do_poll(lua_State *L)
{
    struct pollfd look = {(int)luaL_checkinteger(L, 1), POLLIN, 0};
    double seconds = luaL_optnumber(L, 2, -1);

    lua_pushboolean(L, poll(&look, 1, seconds < 0 ? -1 : (int)(seconds * 1000)) > 0 && look.revents & POLLIN);
    return 1;
}

/* close(fd): false where it was not open. */
static int do_close(lua_State *L)
{
    lua_pushboolean(L, close((int)luaL_checkinteger(L, 1)) == 0);
    return 1;
}

/* linger(fd): its close will be a reset. */
static int do_linger(lua_State *L)
{
    struct linger at_once = {1, 0};
    lua_pushboolean(L, setsockopt((int)luaL_checkinteger(L, 1), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
    return 1;
}

/* deafen(fd): the kernel drops all that comes for it, unacknowledged, as where the peer has vanished. */
static int deafen(lua_State *L)
{
    struct sock_filter nothing = {BPF_RET | BPF_K, 0, 0, 0};
    struct sock_fprog program = {1, &nothing};
    lua_pushboolean(
        L, setsockopt((int)luaL_checkinteger(L, 1), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0);
    return 1;
}

/* nofile(n): the highest number of descriptors of this process. */
static int nofile(lua_State *L)
{
    rlim_t most = (rlim_t)luaL_checkinteger(L, 1);
    struct rlimit limit = {most, most};
    lua_pushboolean(L, setrlimit(RLIMIT_NOFILE, &limit) == 0);
    return 1;
}

/* ---- signals ---- */

static volatile sig_atomic_t counted;

static void count(int number)
{
    (void)number;
    counted++;
}

/* sigpipe("count" | "default" | "ignore" | "block" | "unblock" | "raise"?) -> how often it came, what is done with it,
 * blocked, pending */
static int sigpipe(lua_State *L)
{
    const char *what = luaL_optstring(L, 1, "");
    struct sigaction action;
    sigset_t set, blocked, pending;

    memset(&action, 0, sizeof action);
    action.sa_handler = *what == 'c' ? count : *what == 'd' ? SIG_DFL : SIG_IGN;
    if (*what && strchr("cdi", *what))
        sigaction(SIGPIPE, &action, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    if (*what == 'b' || *what == 'u')
        pthread_sigmask(*what == 'b' ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
    if (*what == 'r')
        pthread_kill(pthread_self(), SIGPIPE);
    sigaction(SIGPIPE, NULL, &action);
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    sigpending(&pending);
    lua_pushinteger(L, counted);
    lua_pushstring(L, action.sa_handler == count     ? "count"
                      : action.sa_handler == SIG_DFL ? "default"
                      : action.sa_handler == SIG_IGN ? "ignore"
                                                     : "other");
    lua_pushboolean(L, sigismember(&blocked, SIGPIPE));
    lua_pushboolean(L, sigismember(&pending, SIGPIPE));
    return 4;
}

/* A SIGPIPE between cf_sigpipe_hold and cf_sigpipe_release, sent the way write(2) sends it: to the thread. */
static int guarded_sigpipe(lua_State *L)
{
    struct cf_sigpipe guard = cf_sigpipe_hold(true);
    (void)L;
    pthread_kill(pthread_self(), SIGPIPE);
    cf_sigpipe_release(guard);
    return 0;
}

/* ---- threads ---- */

struct thread {
    pthread_t id;
    int number;
    const char *code;
    char result[512];
};

static pthread_barrier_t together;

static void *run(void *argument)
{
    struct thread *thread = argument;
    lua_State *L = luaL_newstate();

    luaL_openlibs(L);
    pthread_barrier_wait(&together);
    if (luaL_loadstring(L, thread->code) == 0) {
        lua_pushinteger(L, thread->number);
        lua_pcall(L, 1, 1, 0);
    }
    strncpy(thread->result, lua_isstring(L, -1) ? lua_tostring(L, -1) : "no string", sizeof thread->result - 1);
    lua_close(L);
    return NULL;
}

/* threads(n, code): runs it in n states at once, each in a thread and with its number; a list of the strings returned.
 */
static int threads(lua_State *L)
{
    struct thread list[64];
    int n = (int)luaL_checkinteger(L, 1), i;

    luaL_argcheck(L, n > 0 && n <= 64, 1, "1 to 64");
    memset(list, 0, sizeof list);
    pthread_barrier_init(&together, NULL, (unsigned)n);
    for (i = 0; i < n; i++) {
        list[i].number = i + 1;
        list[i].code = luaL_checkstring(L, 2);
        if (pthread_create(&list[i].id, NULL, run, &list[i]) != 0)
            return luaL_error(L, "no thread");
    }
    lua_newtable(L);
    for (i = 0; i < n; i++) {
        pthread_join(list[i].id, NULL);
        lua_pushstring(L, list[i].result);
        lua_rawseti(L, -2, i + 1);
    }
    pthread_barrier_destroy(&together);
    return 1;
}

/* How often curl_global_init_mem was called, where curl.c is preloaded. */
static int global_inits(lua_State *L)
{
    int *number = dlsym(RTLD_DEFAULT, "spec_global_inits");
    if (number)
        lua_pushinteger(L, *number);
    else
        lua_pushnil(L);
    return 1;
}

/* How many look-ups of slow names began and ended, where slow_dns.c is preloaded. */
static int lookups(lua_State *L)
{
    int *numbers = dlsym(RTLD_DEFAULT, "spec_lookups");
    lua_pushinteger(L, numbers ? __atomic_load_n(&numbers[0], __ATOMIC_SEQ_CST) : -1);
    lua_pushinteger(L, numbers ? __atomic_load_n(&numbers[1], __ATOMIC_SEQ_CST) : -1);
    return 2;
}

/* clock_off(seconds): how wrong the wall clock is (spec/hosts/clock.c). */
static int clock_off(lua_State *L)
{
    long *off = dlsym(RTLD_DEFAULT, "spec_clock_off");
    if (!off)
        return luaL_error(L, "clock.c is not preloaded");
    __atomic_store_n(off, (long)luaL_checknumber(L, 1), __ATOMIC_SEQ_CST);
    return 0;
}

/* ---- retry.c ---- */

/* retry_decide(max_retries, max_wait, attempts, failure, status, should_retry, retry_after, chance, retry_for,
 * elapsed): the wait, or false; and whether another attempt may help. Times are seconds; -1 where there is none. */
static int retry_decide(lua_State *L)
{
    static const char *const failures[] = {"ok",        "connection", "tls",       "timeout", "cut_short",
                                           "too_big",   "refused",    "exhausted", "proxy",   "queue_full",
                                           "cancelled", "closed",     "held_back", NULL};
    struct cf_retry_policy policy = {.max_retries = (int)luaL_checkinteger(L, 1),
                                     .max_wait = (int64_t)(luaL_checknumber(L, 2) * 1e6),
                                     .retry_for = (int64_t)(luaL_optnumber(L, 9, -1) * 1e6)};
    struct cf_outcome outcome = {.failure = (enum cf_failure)luaL_checkoption(L, 4, NULL, failures),
                                 .status = (int)luaL_checkinteger(L, 5),
                                 .should_retry = (int)luaL_checkinteger(L, 6),
                                 .retry_after = (int64_t)(luaL_checknumber(L, 7) * 1e6),
                                 .attempts = (int)luaL_checkinteger(L, 3),
                                 .elapsed = (int64_t)(luaL_optnumber(L, 10, 0) * 1e6)};
    int64_t wait = 0;

    cf_verdict_read(outcome.status, NULL, 0, &outcome.verdict);
    outcome.limited = outcome.attempts;
    if (outcome.retry_after < 0)
        outcome.retry_after = -1;
    if (cf_retry_decide(&policy, &outcome, luaL_checknumber(L, 8), &wait))
        lua_pushnumber(L, (lua_Number)wait / 1e6);
    else
        lua_pushboolean(L, 0);
    lua_pushboolean(L, cf_retry_may_help(&outcome));
    return 2;
}

/* retry_after(value, now, date): the wait in seconds, -1 for none. */
static int retry_after(lua_State *L)
{
    int64_t wait = cf_retry_after(luaL_checkstring(L, 1), luaL_optstring(L, 3, ""), (int64_t)luaL_checknumber(L, 2));
    lua_pushnumber(L, wait < 0 ? -1 : (lua_Number)wait / 1e6);
    return 1;
}

/* verdict(status, body): kind, about, is_transient, is_overall. */
static int verdict(lua_State *L)
{
    struct cf_verdict read;
    size_t len = 0;
    const char *body = luaL_optlstring(L, 2, NULL, &len);

    cf_verdict_read((int)luaL_checkinteger(L, 1), body, len, &read);
    lua_pushstring(L, read.kind);
    lua_pushstring(L, cf_verdict_about(read.about));
    lua_pushboolean(L, read.is_transient);
    lua_pushboolean(L, read.is_overall);
    return 4;
}

int luaopen_spec_system(lua_State *L);

int luaopen_spec_system(lua_State *L)
{
    static const luaL_Reg functions[] = {{"fork", do_fork},
                                         {"wait", do_wait},
                                         {"exit", do_exit},
                                         {"cpu", cpu},
                                         {"now", now},
                                         {"setenv", set_env},
                                         {"peers", peers},
                                         {"poll", do_poll},
                                         {"close", do_close},
                                         {"linger", do_linger},
                                         {"deafen", deafen},
                                         {"nofile", nofile},
                                         {"sigpipe", sigpipe},
                                         {"guarded_sigpipe", guarded_sigpipe},
                                         {"threads", threads},
                                         {"global_inits", global_inits},
                                         {"lookups", lookups},
                                         {"clock_off", clock_off},
                                         {"retry_decide", retry_decide},
                                         {"retry_after", retry_after},
                                         {"verdict", verdict},
                                         {NULL, NULL}};
    const luaL_Reg *function;

    lua_newtable(L);
    for (function = functions; function->name; function++) {
        lua_pushcfunction(L, function->func);
        lua_setfield(L, -2, function->name);
    }
    return 1;
}
