/* The queue's rules over SQLite: transitions in any order, which queue.lua makes of the input, with a clock of their
 * own. */
#define _GNU_SOURCE 1
#include "lines.h"

#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../../csrc/queue/database.h"
#include "../../csrc/queue/values.h"

static lua_State *L;
static struct cf_database database = {.busy = 1000000};
static char folder[64] = "/dev/shm/cfpurge-fuzz.XXXXXX", path[80];
static time_t faked; /* 0: the machine's own clock */

int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (faked == 0 || clock != CLOCK_REALTIME)
        return (int)syscall(SYS_clock_gettime, clock, now);
    now->tv_sec = faked;
    now->tv_nsec = 0;
    return 0;
}

static void remove_store(void)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    char name[96];
    size_t i;

    cf_database_shut(&database);
    for (i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        unlink(name);
    }
    rmdir(folder);
}

/* unit(seconds, commands) -> what they give at this instant, or nil and the problem. */
static int unit(lua_State *state)
{
    time_t seconds = (time_t)luaL_checkinteger(state, 1);
    struct cf_work *work = cf_work_new();
    sigset_t alarms;

    CHECK(work);
    cf_values_read(state, 2, 2, &work->commands);
    /* libFuzzer's alarm is to see the machine's clock. */
    sigemptyset(&alarms);
    sigaddset(&alarms, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarms, NULL);
    faked = seconds;
    cf_database_run(&database, work);
    faked = 0;
    pthread_sigmask(SIG_UNBLOCK, &alarms, NULL);
    if (work->reason)
        lua_pushnil(state);
    else
        cf_values_push(state, &work->results);
    lua_pushstring(state, work->reason ? work->problem : NULL);
    cf_work_free(work);
    return 2;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!L) {
        CHECK(mkdtemp(folder));
        snprintf(path, sizeof path, "%s/db", folder);
        database.path = path;
        atexit(remove_store);
        L = open_watched("queue", "unit", unit);
    }
    lua_getglobal(L, "queue");
    lua_pushlstring(L, (const char *)data, size);
    call_or_die(L, 1);
    return 0;
}
