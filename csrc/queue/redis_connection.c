/* The connection of a store in Redis: looked up, made, logged in, and ended. */
#define _GNU_SOURCE 1
#include "queue/redis_private.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

/* ---- the connection ---- */

static void redis_set(struct redis *redis, enum redis_state state)
{
    redis->state = state;
    redis->since = cf_clock_now();
}

static void redis_pause(struct redis *redis, const char *problem)
{
    const char *told = problem && *problem ? problem : "the connection closed";

    (void)snprintf(redis->problem, sizeof redis->problem, "%s", told);
    redis_set(redis, REDIS_PAUSES);
}

static void redis_want(void *data, int add, int drop)
{
    struct redis *redis = data;

    redis->wanted = (redis->wanted | add) & ~drop;
    cf_poller_watch(&redis->store->poller, redis->fd, redis->wanted, 1);
}

static void redis_add_read(void *data)
{
    redis_want(data, CF_POLLER_READ, 0);
}

static void redis_del_read(void *data)
{
    redis_want(data, 0, CF_POLLER_READ);
}

static void redis_add_write(void *data)
{
    redis_want(data, CF_POLLER_WRITE, 0);
}

static void redis_del_write(void *data)
{
    redis_want(data, 0, CF_POLLER_WRITE);
}

static void redis_cleanup(void *data)
{
    struct redis *redis = data;

    cf_poller_closing(&redis->store->poller, redis->fd);
}

static int64_t redis_next_pause(const struct redis *redis)
{
    return redis->pause * 2 > CF_REDIS_LAST_PAUSE ? CF_REDIS_LAST_PAUSE : redis->pause * 2;
}

/* All ends of a connection come here, once, whoever ended it. What it had written may have been carried out. */
static void redis_gone(struct redis *redis, const char *problem)
{
    bool was_ready = redis->state == REDIS_READY;

    redis->context = NULL;
    redis->pause = was_ready ? CF_REDIS_FIRST_PAUSE : redis_next_pause(redis);
    redis->turn += !was_ready;
    redis_pause(redis, problem);
    cf_redis_end(redis, &redis->written, "broken", redis->problem);
}

static void redis_disconnected(const redisAsyncContext *context, int status)
{
    struct redis *redis = context->data;
    const char *problem = cf_redis_tls_problem(redis);

    redis_gone(redis, redis->is_odd ? CF_REDIS_ODD : problem ? problem : status == REDIS_OK ? NULL : context->errstr);
}

static void redis_connected(const redisAsyncContext *context, int status)
{
    struct redis *redis = context->data;

    if (status == REDIS_OK)
        redis_set(redis, REDIS_LOGS_IN);
    else
        /* hiredis frees it now and tells nothing more. */
        redis_gone(redis, context->errstr);
}

/* Ends the connection from our side. */
void cf_redis_drop(struct redis *redis, const char *problem)
{
    redisAsyncContext *context = redis->context;

    if (context) {
        context->onDisconnect = NULL;
        redisAsyncFree(context);
        redis_gone(redis, problem);
    }
}

void cf_redis_leave(struct redis *redis)
{
    redis_set(redis, REDIS_LEAVES);
    redisAsyncDisconnect(redis->context);
}

static void redis_connect(struct redis *redis, const char *address)
{
    const char *problem = NULL;
    redisAsyncContext *context =
        redis->url.path ? redisAsyncConnectUnix(redis->url.path) : redisAsyncConnect(address, redis->url.port);

    if (!context || context->err) {
        redis->pause = redis_next_pause(redis);
        redis->turn++;
        redis_pause(redis, context ? context->errstr : "not enough memory");
        if (context)
            redisAsyncFree(context);
        return;
    }
    redis->context = context;
    redis->fd = context->c.fd;
    redis->wanted = 0;
    fcntl(redis->fd, F_SETFD, FD_CLOEXEC);
    context->data = redis;
    context->ev.data = redis;
    context->ev.addRead = redis_add_read;
    context->ev.delRead = redis_del_read;
    context->ev.addWrite = redis_add_write;
    context->ev.delWrite = redis_del_write;
    context->ev.cleanup = redis_cleanup;
    cf_redis_bound(redis);
    redis_set(redis, REDIS_CONNECTS);
    if (!cf_poller_opened(&redis->store->poller, redis->fd))
        problem = "not enough memory";
    else if (redis->url.is_tls)
        problem = cf_redis_tls_begin(redis);
    if (problem) {
        cf_redis_drop(redis, problem);
        return;
    }
    redisAsyncSetDisconnectCallback(context, redis_disconnected);
    redisAsyncSetConnectCallback(context, redis_connected);
}

void cf_redis_begin(struct redis *redis)
{
    const char *host = redis->url.host;
    int fd;

    if (!host || strspn(host, "0123456789.") == strlen(host) || strchr(host, ':')) {
        redis_connect(redis, host);
        return;
    }
    redis->resolve = cf_resolve_start(host, redis->turn, &fd);
    if (redis->resolve && cf_poller_opened(&redis->store->poller, fd) &&
        cf_poller_watch(&redis->store->poller, fd, CF_POLLER_READ, 2)) {
        redis->fd = fd;
        redis_set(redis, REDIS_RESOLVES);
    } else {
        cf_resolve_free(redis->resolve);
        redis->resolve = NULL;
        redis_pause(redis, "out of descriptors, memory or threads");
    }
}

void cf_redis_resolved(struct redis *redis)
{
    struct cf_resolve *resolve = redis->resolve;
    const char *problem, *address = cf_resolve_answer(resolve, &problem);

    cf_poller_closing(&redis->store->poller, redis->fd);
    redis->resolve = NULL;
    if (address) {
        redis_connect(redis, address);
    } else {
        redis->pause = redis_next_pause(redis);
        redis_pause(redis, problem);
    }
    cf_resolve_free(resolve);
}

/* ---- logging in ---- */

static void redis_logged_in(redisAsyncContext *context, void *data, void *is_last)
{
    struct redis *redis = context->data;
    const redisReply *reply = data;

    if (!reply)
        return;
    if (reply->type == REDIS_REPLY_ERROR) {
        /* Another try with the same words would end the same. */
        cf_redis_end(redis, &redis->waiting, cf_redis_reason(reply->str), reply->str);
        redisAsyncDisconnect(context);
    } else if (is_last) {
        redis_set(redis, REDIS_READY);
        redis->pause = CF_REDIS_FIRST_PAUSE;
    }
}

/* The last of these commands that is answered makes it ready; a PING tells of a server that still loads its data. */
void cf_redis_log_in(struct redis *redis)
{
    redisAsyncContext *context = redis->context;
    const char *password = redis->url.password;

    if (password && redis->url.user)
        redisAsyncCommand(context, redis_logged_in, NULL, "AUTH %s %s", redis->url.user, password);
    else if (password)
        redisAsyncCommand(context, redis_logged_in, NULL, "AUTH %s", password);
    if (redis->url.db > 0)
        redisAsyncCommand(context, redis_logged_in, NULL, "SELECT %d", redis->url.db);
    redisAsyncCommand(context, redis_logged_in, redis, "PING");
}
