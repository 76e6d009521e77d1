/* A store in SQLite: one thread does all of its I/O, and commits what came in one turn together.
 *
 * The host's thread hands work over and takes it back under `lock`, and never waits for the other one but in close. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "queue/database.h"
#include "queue/store.h"
#include "queue/thread.h"

/* A transaction that is smaller than the last one waits for company: its host is telling what that one stored, and more
 * comes of it. So long at most, in microseconds, and half of what the last one took. */
#define LONGEST_WAIT INT64_C(3000)

/* The database and what is `running` in it are the thread's alone; `lock` guards the last six. A forked child has this
 * with the lock in any state and no thread: it leaves it as it is. */
struct sqlite {
    struct cf_store_own own;
    pthread_t thread;
    struct cf_database database;
    struct cf_work *running;
    int bell[2]; /* a pipe: the thread rings, the host reads */

    pthread_mutex_t lock;
    pthread_cond_t has_work;
    struct cf_work *waiting, *last; /* in order */
    size_t size;                    /* of what waits, in bytes */
    struct cf_work *done;           /* the last one first */
    bool stops;
};

/* ---- the thread ---- */

static void sqlite_wait_for_company(struct sqlite *sqlite, size_t last_size, int64_t last_time)
{
    int64_t until = cf_clock_now() + (last_time / 2 < LONGEST_WAIT ? last_time / 2 : LONGEST_WAIT);
    struct timespec time = {(time_t)(until / 1000000), (long)(until % 1000000 * 1000)};

    /* A unit's statements count too, so that as many adds are not always as many bytes. */
    while (!sqlite->stops && sqlite->size < last_size / 4 * 3)
        if (pthread_cond_timedwait(&sqlite->has_work, &sqlite->lock, &time) != 0)
            break;
}

static void *sqlite_thread(void *data)
{
    struct sqlite *sqlite = data;
    struct cf_work *work, *next;
    size_t size = 0;
    int64_t begun, took = 0;

    pthread_mutex_lock(&sqlite->lock);
    while (!sqlite->stops) {
        if (!sqlite->waiting) {
            pthread_cond_wait(&sqlite->has_work, &sqlite->lock);
            continue;
        }
        sqlite_wait_for_company(sqlite, size, took);
        sqlite->running = sqlite->waiting;
        size = sqlite->size;
        sqlite->waiting = sqlite->last = NULL;
        sqlite->size = 0;
        pthread_mutex_unlock(&sqlite->lock);
        begun = cf_clock_now();
        cf_database_run(&sqlite->database, sqlite->running);
        took = cf_clock_now() - begun;
        pthread_mutex_lock(&sqlite->lock);
        for (work = sqlite->running; work; work = next) {
            next = work->next;
            work->next = sqlite->done;
            sqlite->done = work;
        }
        sqlite->running = NULL;
        /* A full pipe is as good as one byte more. */
        if (write(sqlite->bell[1], "", 1) < 0)
            continue;
    }
    pthread_mutex_unlock(&sqlite->lock);
    cf_database_shut(&sqlite->database);
    return NULL;
}

/* ---- the host's side ---- */

static void sqlite_free(struct sqlite *sqlite)
{
    pthread_cond_destroy(&sqlite->has_work);
    pthread_mutex_destroy(&sqlite->lock);
    close(sqlite->bell[0]);
    close(sqlite->bell[1]);
    cf_free(sqlite);
}

static bool sqlite_open(struct cf_store *store, char *problem)
{
    struct sqlite *sqlite = cf_zalloc(sizeof *sqlite);
    pthread_condattr_t clock;
    int code = 0;

    if (!sqlite || pipe2(sqlite->bell, O_NONBLOCK | O_CLOEXEC) != 0) {
        (void)snprintf(problem, CF_WORK_PROBLEM, "%s", sqlite ? strerror(errno) : "not enough memory");
        cf_free(sqlite);
        return false;
    }
    pthread_mutex_init(&sqlite->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&sqlite->has_work, &clock);
    pthread_condattr_destroy(&clock);
    sqlite->database.path = store->target;
    sqlite->database.busy = (int64_t)(store->seconds * 1e6);
    if (!cf_poller_opened(&store->poller, sqlite->bell[0]) ||
        !cf_poller_watch(&store->poller, sqlite->bell[0], CF_POLLER_READ, 0))
        code = ENOMEM;
    if (code == 0)
        code = cf_thread_start(&sqlite->thread, sqlite_thread, sqlite);
    if (code != 0) {
        cf_poller_closing(&store->poller, sqlite->bell[0]);
        sqlite_free(sqlite);
        (void)snprintf(problem, CF_WORK_PROBLEM, "no thread for the store: %s", strerror(code));
        return false;
    }
    store->own = sqlite;
    return true;
}

static void sqlite_submit(struct cf_store *store, struct cf_work *work)
{
    struct sqlite *sqlite = store->own;

    pthread_mutex_lock(&sqlite->lock);
    *(sqlite->last ? &sqlite->last->next : &sqlite->waiting) = work;
    sqlite->last = work;
    sqlite->size += work->commands.len;
    pthread_cond_signal(&sqlite->has_work);
    pthread_mutex_unlock(&sqlite->lock);
}

/* Gives back what was done, the oldest first. */
static void sqlite_return(struct cf_store *store, struct cf_work *done)
{
    struct cf_work *first = NULL, *next;

    for (; done; done = next) {
        next = done->next;
        done->next = first;
        first = done;
    }
    for (; first; first = next) {
        next = first->next;
        cf_units_returned(&store->units, first);
    }
}

static void sqlite_step(struct cf_store *store, const struct cf_poller_event *events, int count)
{
    struct sqlite *sqlite = store->own;
    struct cf_work *done;
    char rung[64];

    (void)events;
    (void)count;
    /* First, so that what is done from here on rings again. */
    while (read(sqlite->bell[0], rung, sizeof rung) > 0)
        continue;
    pthread_mutex_lock(&sqlite->lock);
    done = sqlite->done;
    sqlite->done = NULL;
    pthread_mutex_unlock(&sqlite->lock);
    sqlite_return(store, done);
}

static void sqlite_close(struct cf_store *store)
{
    struct sqlite *sqlite = store->own;
    struct cf_work *work, *next;

    atomic_store(&sqlite->database.stops, true);
    pthread_mutex_lock(&sqlite->lock);
    sqlite->stops = true;
    pthread_cond_signal(&sqlite->has_work);
    pthread_mutex_unlock(&sqlite->lock);
    pthread_join(sqlite->thread, NULL);
    cf_poller_closing(&store->poller, sqlite->bell[0]);
    sqlite_return(store, sqlite->done);
    for (work = sqlite->waiting; work; work = next) {
        next = work->next;
        cf_work_fail(work, "closed", "the store is closed");
        cf_units_returned(&store->units, work);
    }
    sqlite_free(sqlite);
}

static const struct cf_store_io sqlite_io = {"cfpurge.sqlite", sqlite_open, sqlite_submit, sqlite_step, sqlite_close};

/* From the root on: the program may change its folder later, and `file:x` and `:memory:` are no paths to libsqlite3. */
static int sqlite_open_handle(lua_State *L)
{
    int count = cf_store_push_new(L, &sqlite_io, "busy", 10);
    struct cf_store *store = lua_touserdata(L, -1);
    char folder[PATH_MAX];

    if (store->target[0] != '/') {
        if (!getcwd(folder, sizeof folder))
            return luaL_argerror(L, 1, strerror(errno));
        lua_pushfstring(L, "%s/%s", folder, store->target);
        cf_wipe_free(store->target);
        store->target = cf_strndup(lua_tostring(L, -1), (size_t)lua_rawlen(L, -1));
        if (!store->target)
            return luaL_error(L, "not enough memory");
        lua_pop(L, 1);
    }
    return count;
}

int luaopen_cfpurge_sqlite(lua_State *L);

CFPURGE_EXPORT int luaopen_cfpurge_sqlite(lua_State *L)
{
    cf_store_register(L, &sqlite_io, sqlite_open_handle);
    return 1;
}
