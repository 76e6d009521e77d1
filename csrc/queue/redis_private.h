/* What the files of the store in Redis share: its state, its connection, and TLS. */
#ifndef CFPURGE_REDIS_PRIVATE_H
#define CFPURGE_REDIS_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hiredis/async.h>
#include <hiredis/hiredis.h>

#include "queue/redis_url.h"
#include "queue/resolve.h"
#include "queue/store.h"

/* How long to wait before the next try to connect: doubled each time, up to the second. */
#define CF_REDIS_FIRST_PAUSE INT64_C(50000)
#define CF_REDIS_LAST_PAUSE INT64_C(1000000)

enum redis_state { REDIS_IDLE, REDIS_RESOLVES, REDIS_CONNECTS, REDIS_LOGS_IN, REDIS_READY, REDIS_LEAVES, REDIS_PAUSES };

/* `context` is set from REDIS_CONNECTS to REDIS_LEAVES, where what was written is answered and nothing more is written,
 * `resolve` in REDIS_RESOLVES alone. `waiting` is in order, and so is `written`: the first of each is the oldest.
 * hiredis may end a connection in any call of it, and tells of that by redis_disconnected. */
struct redis {
    struct cf_store_own own;
    struct cf_store *store;
    struct cf_redis_url url;
    enum redis_state state;
    struct cf_resolve *resolve;
    redisAsyncContext *context;
    unsigned turn; /* of the host's addresses: the next one when a connection was never ready */
    int fd, wanted;
    int64_t since, pause; /* when the state began; how long the next pause is */
    struct cf_work *waiting, *last_waiting, *written, *last_written;
    char problem[CF_WORK_PROBLEM]; /* of the last connection */
    const char **arguments;
    size_t *lengths;
    struct cf_redis_tls *tls; /* from the first connection by TLS on */
    /* Of the connection's replies: hiredis' own functions, and ours, which call them; how many elements this one has so
     * far; was it refused? */
    const redisReplyObjectFunctions *makers;
    redisReplyObjectFunctions bounded;
    size_t elements;
    bool is_odd;
};

#define CF_REDIS_ODD "it says what no Redis says"

/* Ends all units of a list that have not failed yet for the reason. */
void cf_redis_end(struct redis *redis, struct cf_work **list, const char *reason, const char *problem);
/* What kind of error of Redis it is: its first word where we know that, or else "error". */
const char *cf_redis_reason(const char *text);

/* Adds a reply as values: what is nested deeper than `depth` allows is nil. False: memory is short. */
bool cf_redis_add_reply(struct cf_buffer *results, const redisReply *reply, int depth);

/* Begins a connection, by a look-up of the host where it is a name. */
void cf_redis_begin(struct redis *redis);
/* NULL where TLS is there; or else why not. */
const char *cf_redis_tls_missing(void);
/* Makes the new connection one by TLS. NULL, or why it cannot be. */
const char *cf_redis_tls_begin(struct redis *redis);
/* Why the connection, which ends now, failed; NULL where TLS has nothing to say. */
const char *cf_redis_tls_problem(const struct redis *redis);
void cf_redis_tls_free(struct redis *redis);

/* From now on the new connection refuses a reply that is too large or not asked for, and `is_odd` says so. */
void cf_redis_bound(struct redis *redis);
/* Has the connection more in hand than a reply of ours may have? */
bool cf_redis_is_flooded(const struct redis *redis);

/* The look-up is done. */
void cf_redis_resolved(struct redis *redis);
/* It is connected: says who we are. REDIS_READY comes with the answer. */
void cf_redis_log_in(struct redis *redis);
/* Ends the connection once what was written on it is answered: the next one may lead elsewhere. */
void cf_redis_leave(struct redis *redis);
/* Ends the connection, if there is one, and what was written on it. */
void cf_redis_drop(struct redis *redis, const char *problem);

#endif
