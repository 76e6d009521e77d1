/* A store in Redis: commands go out one after another on one connection, which is made anew when it breaks.
 *
 * A unit waits until there is a connection, and is then written at once; hiredis calls back for each command in their
 * order. Where the connection breaks nobody knows whether what was written was carried out: such units end. */
#define _GNU_SOURCE 1
#include "queue/redis_private.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/sigpipe.h"
#include "queue/values.h"

/* Deeper than any reply of the rules' scripts. */
#define MAX_DEPTH 16
#define MAX_ARGUMENTS 4096

/* When what begins now has taken too long. */
static int64_t redis_due_from(const struct redis *redis, int64_t since)
{
    return since + (int64_t)(redis->store->seconds * 1e6);
}

/* Is a connection being made, whose time is counted from `since`? */
static bool redis_is_joining(const struct redis *redis)
{
    return redis->state == REDIS_CONNECTS || redis->state == REDIS_LOGS_IN;
}

/* ---- lists of work ---- */

static void redis_append(struct cf_work **first, struct cf_work **last, struct cf_work *work)
{
    work->next = NULL;
    *(*first ? &(*last)->next : first) = work;
    *last = work;
}

static struct cf_work *redis_shift(struct cf_work **first)
{
    struct cf_work *work = *first;

    if (work)
        *first = work->next;
    return work;
}

void cf_redis_end(struct redis *redis, struct cf_work **list, const char *reason, const char *problem)
{
    struct cf_work *work;

    while ((work = redis_shift(list))) {
        if (!work->reason)
            cf_work_fail(work, reason, problem);
        cf_units_returned(&redis->store->units, work);
    }
}

/* ---- replies ---- */

bool cf_redis_add_reply(struct cf_buffer *results, const redisReply *reply, int depth)
{
    struct cf_value value = {.tag = CF_VALUE_FALSE};
    size_t i;

    switch (depth > MAX_DEPTH ? REDIS_REPLY_NIL : reply->type) {
    case REDIS_REPLY_INTEGER:
        value.tag = CF_VALUE_INTEGER;
        value.integer = reply->integer;
        break;
    case REDIS_REPLY_ARRAY:
        value.tag = CF_VALUE_LIST;
        value.size = reply->elements;
        break;
    case REDIS_REPLY_NIL:
        break;
    default:
        value.tag = CF_VALUE_TEXT;
        value.text = reply->str;
        value.size = (size_t)reply->len;
    }
    if (!cf_values_add(results, &value))
        return false;
    for (i = 0; value.tag == CF_VALUE_LIST && i < value.size; i++)
        if (!cf_redis_add_reply(results, reply->element[i], depth + 1))
            return false;
    return true;
}

/* The first word of an error of Redis is its kind. */
const char *cf_redis_reason(const char *text)
{
    static const char *const kinds[] = {"NOSCRIPT", "OOM",    "READONLY",   "LOADING", "BUSY",      "MISCONF",
                                        "NOAUTH",   "NOPERM", "MASTERDOWN", "MOVED",   "WRONGPASS", "NOREPLICAS"};
    /* Redis 6 says of which script a command failed, and then how. */
    const char *inner = strncmp(text, "ERR Error running script", 24) == 0 ? strstr(text, ": -") : NULL;
    size_t i, len;

    text = inner ? inner + 3 : text;
    len = strcspn(text, " ");
    for (i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strlen(kinds[i]) == len && memcmp(text, kinds[i], len) == 0)
            return kinds[i];
    return "error";
}

/* One command's reply; NULL where the connection is over, of which redis_disconnected tells. */
static void redis_replied(redisAsyncContext *context, void *data, void *privdata)
{
    struct redis *redis = context->data;
    const redisReply *reply = data;
    struct cf_work *work = privdata;

    if (!reply)
        return;
    work->open--;
    if (reply->type == REDIS_REPLY_ERROR) {
        if (!work->reason)
            cf_work_fail(work, cf_redis_reason(reply->str), reply->str);
        /* A replica has taken over: the address may be its own by now. */
        if (redis->state == REDIS_READY && strcmp(work->reason, "READONLY") == 0)
            cf_redis_leave(redis);
    } else if (!work->reason && !cf_redis_add_reply(&work->results, reply, 0)) {
        cf_work_fail(work, "memory", "not enough memory");
    }
    if (work->open == 0) {
        redis_shift(&redis->written);
        cf_units_returned(&redis->store->units, work);
    }
}

/* ---- units ---- */

/* Writes all commands of one unit. False: memory is short, or a command has too many words. */
static bool redis_write(struct redis *redis, struct cf_work *work)
{
    struct cf_value list, value;
    char numbers[32][32];
    size_t at = 0, i, number;

    while (cf_values_next(&work->commands, &at, &list)) {
        if (list.size > MAX_ARGUMENTS)
            return false;
        for (i = number = 0; i < list.size; i++) {
            cf_values_next(&work->commands, &at, &value);
            if (value.tag == CF_VALUE_TEXT) {
                redis->arguments[i] = value.text;
                redis->lengths[i] = value.size;
                continue;
            }
            if (number == 32)
                return false;
            redis->arguments[i] = numbers[number];
            redis->lengths[i] =
                (size_t)(value.tag == CF_VALUE_INTEGER ? snprintf(numbers[number], 32, "%lld", (long long)value.integer)
                         : value.tag == CF_VALUE_NUMBER
                             ? snprintf(numbers[number], 32, "%.17g", value.number)
                             : snprintf(numbers[number], 32, "%d", value.tag == CF_VALUE_TRUE));
            number++;
        }
        if (redisAsyncCommandArgv(redis->context, redis_replied, work, (int)list.size, redis->arguments,
                                  redis->lengths) != REDIS_OK)
            return false;
        work->open++;
    }
    return true;
}

static void redis_write_all(struct redis *redis)
{
    struct cf_work *work;

    while (redis->state == REDIS_READY && (work = redis_shift(&redis->waiting))) {
        work->due = redis_due_from(redis, cf_clock_now());
        redis_append(&redis->written, &redis->last_written, work);
        if (!redis_write(redis, work)) {
            cf_work_fail(work, "error", "a command is too long, or memory is short");
            /* What of it was written would be answered. */
            cf_redis_drop(redis, "a command could not be written");
        }
    }
}

/* ---- time ---- */

static int64_t redis_next(const struct redis *redis)
{
    int64_t at = CF_POLLER_NEVER;

    if (redis->waiting && redis->waiting->due < at)
        at = redis->waiting->due;
    if (redis->written && redis->written->due < at)
        at = redis->written->due;
    if (redis->state == REDIS_PAUSES && redis->waiting && redis->since + redis->pause < at)
        at = redis->since + redis->pause;
    if (redis_is_joining(redis) && redis_due_from(redis, redis->since) < at)
        at = redis_due_from(redis, redis->since);
    return at;
}

/* What is due: units that have waited too long, a connection that gives no answer, the end of a pause. */
static void redis_due(struct redis *redis)
{
    int64_t now = cf_clock_now();
    struct cf_work *work, *late = NULL, *last = NULL;

    while (redis->waiting && redis->waiting->due <= now) {
        work = redis_shift(&redis->waiting);
        redis_append(&late, &last, work);
    }
    cf_redis_end(redis, &late, "connection", redis->problem[0] ? redis->problem : "no connection in time");
    if ((redis->written && redis->written->due <= now) ||
        (redis_is_joining(redis) && redis_due_from(redis, redis->since) <= now))
        cf_redis_drop(redis, "no answer in time");
    if ((redis->state == REDIS_PAUSES && redis->since + redis->pause <= now) || redis->state == REDIS_IDLE) {
        if (redis->waiting)
            cf_redis_begin(redis);
        else
            redis->state = redis->state == REDIS_PAUSES ? REDIS_IDLE : redis->state;
    }
}

static void redis_work_on(struct redis *redis)
{
    redis_due(redis);
    redis_write_all(redis);
    cf_store_due(redis->store, redis_next(redis));
}

/* ---- the store ---- */

static void redis_free(struct redis *redis)
{
    cf_redis_tls_free(redis);
    cf_redis_url_free(&redis->url);
    cf_free(redis->arguments);
    cf_free(redis->lengths);
    cf_free(redis);
}

static bool redis_open(struct cf_store *store, char *problem)
{
    struct redis *redis = cf_zalloc(sizeof *redis);
    const char *wrong = redis ? cf_redis_url_read(&redis->url, store->target) : NULL;

    if (redis) {
        redis->arguments = cf_zalloc(MAX_ARGUMENTS * sizeof *redis->arguments);
        redis->lengths = cf_zalloc(MAX_ARGUMENTS * sizeof *redis->lengths);
    }
    if (!redis || wrong || !redis->arguments || !redis->lengths) {
        (void)snprintf(problem, CF_WORK_PROBLEM, "%s", wrong ? wrong : "not enough memory");
        if (redis)
            redis_free(redis);
        return false;
    }
    redis->store = store;
    redis->pause = CF_REDIS_FIRST_PAUSE;
    store->own = redis;
    return true;
}

static void redis_submit(struct cf_store *store, struct cf_work *work)
{
    struct redis *redis = store->own;
    struct cf_sigpipe guard = cf_sigpipe_hold(true);

    work->due = redis_due_from(redis, cf_clock_now());
    redis_append(&redis->waiting, &redis->last_waiting, work);
    redis_work_on(redis);
    cf_sigpipe_release(guard);
}

static void redis_step(struct cf_store *store, const struct cf_poller_event *events, int count)
{
    struct redis *redis = store->own;
    struct cf_sigpipe guard = cf_sigpipe_hold(true);
    enum redis_state before;
    int i;

    for (i = 0; i < count; i++) {
        if (events[i].fd != redis->fd)
            continue;
        if (redis->resolve) {
            cf_redis_resolved(redis);
            continue;
        }
        before = redis->state;
        if (redis->context && (events[i].what & (CF_POLLER_READ | CF_POLLER_ERROR)))
            redisAsyncHandleRead(redis->context);
        if (redis->context && cf_redis_is_flooded(redis))
            cf_redis_drop(redis, CF_REDIS_ODD);
        if (redis->context && (events[i].what & CF_POLLER_WRITE))
            redisAsyncHandleWrite(redis->context);
        if (before == REDIS_CONNECTS && redis->state == REDIS_LOGS_IN)
            cf_redis_log_in(redis);
    }
    redis_work_on(redis);
    cf_sigpipe_release(guard);
}

static void redis_close(struct cf_store *store)
{
    struct redis *redis = store->own;

    cf_redis_drop(redis, "the store is closed");
    if (redis->resolve) {
        cf_poller_closing(&store->poller, redis->fd);
        cf_resolve_free(redis->resolve);
    }
    cf_redis_end(redis, &redis->waiting, "closed", "the store is closed");
    redis_free(redis);
}

static const struct cf_store_io redis_io = {"cfpurge.redis", redis_open, redis_submit, redis_step, redis_close};

/* What is wrong with the URL is told now, and not by the first unit. */
static int redis_open_handle(lua_State *L)
{
    struct cf_redis_url url;
    const char *problem = cf_redis_url_read(&url, luaL_checkstring(L, 1));

    if (!problem && url.is_tls)
        problem = cf_redis_tls_missing();
    cf_redis_url_free(&url);
    luaL_argcheck(L, !problem, 1, problem);
    return cf_store_push_new(L, &redis_io, "timeout", 5);
}

int luaopen_cfpurge_redis(lua_State *L);

CFPURGE_EXPORT int luaopen_cfpurge_redis(lua_State *L)
{
    cf_store_register(L, &redis_io, redis_open_handle);
    return 1;
}
