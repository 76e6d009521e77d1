/* What a server may say, so that none can hold, fill or end its client's process: hiredis allocates at once all that an
 * array says to have, keeps whatever comes, and aborts at a reply that no command waits for. */
#include "queue/redis_private.h"

#include <string.h>

/* Of one reply: the largest of ours has three for each of 500 items. */
#define MOST_ELEMENTS 65536
/* Of what is no whole reply yet, and of a line in it. */
#define MOST_BYTES ((size_t)64 << 20)
#define LONGEST_LINE ((size_t)64 << 10)

#if HIREDIS_MAJOR < 1
typedef int replies_count;
#else
typedef size_t replies_count;
#endif

/* NULL refuses it: hiredis then ends the connection, and says that memory is short. A server that takes no more clients
 * says so before it is asked: hiredis knows such an error. */
static const redisReplyObjectFunctions *replies_makers(const redisReadTask *task, replies_count elements)
{
    struct redis *redis = task->privdata;

    if (!task->parent)
        redis->elements = 0;
    redis->is_odd = (!task->parent && !redis->context->replies.head && task->type != REDIS_REPLY_ERROR) ||
                    (size_t)elements > MOST_ELEMENTS - redis->elements;
    if (redis->is_odd)
        return NULL;
    redis->elements += (size_t)elements;
    return redis->makers;
}

static void *replies_string(const redisReadTask *task, char *text, size_t len)
{
    const redisReplyObjectFunctions *makers = replies_makers(task, 0);
    return makers ? makers->createString(task, text, len) : NULL;
}

static void *replies_array(const redisReadTask *task, replies_count elements)
{
    const redisReplyObjectFunctions *makers = replies_makers(task, elements);
    return makers ? makers->createArray(task, elements) : NULL;
}

static void *replies_integer(const redisReadTask *task, long long integer)
{
    const redisReplyObjectFunctions *makers = replies_makers(task, 0);
    return makers ? makers->createInteger(task, integer) : NULL;
}

static void *replies_nil(const redisReadTask *task)
{
    const redisReplyObjectFunctions *makers = replies_makers(task, 0);
    return makers ? makers->createNil(task) : NULL;
}

#if HIREDIS_MAJOR >= 1
/* RESP3's, which we never ask for. */
static void *replies_double(const redisReadTask *task, double number, char *text, size_t len)
{
    (void)number;
    (void)text;
    (void)len;
    ((struct redis *)task->privdata)->is_odd = true;
    return NULL;
}

static void *replies_bool(const redisReadTask *task, int is_true)
{
    (void)is_true;
    ((struct redis *)task->privdata)->is_odd = true;
    return NULL;
}
#endif

void cf_redis_bound(struct redis *redis)
{
    redisReader *reader = redis->context->c.reader;

    redis->makers = reader->fn;
    redis->bounded = *reader->fn;
    redis->bounded.createString = replies_string;
    redis->bounded.createArray = replies_array;
    redis->bounded.createInteger = replies_integer;
    redis->bounded.createNil = replies_nil;
#if HIREDIS_MAJOR >= 1
    redis->bounded.createDouble = replies_double;
    redis->bounded.createBool = replies_bool;
#endif
    reader->fn = &redis->bounded;
    reader->privdata = redis;
    redis->is_odd = false;
}

bool cf_redis_is_flooded(const struct redis *redis)
{
    const redisReader *reader = redis->context->c.reader;
    size_t len = reader->len - reader->pos;

    return len > MOST_BYTES || (len > LONGEST_LINE && !memchr(reader->buf + reader->pos, '\n', LONGEST_LINE));
}
