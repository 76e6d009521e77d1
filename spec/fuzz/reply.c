/* What a store returns, from bytes to Lua: whatever hiredis takes for a reply becomes values, and these a Lua value of
 * the same shape. */
#include "state.h"

#include "../../csrc/queue/redis_private.h"
#include "../../csrc/queue/values.h"

static lua_State *L;

static size_t count_reply(const redisReply *reply, int depth)
{
    size_t count = 1, i;

    for (i = 0; depth <= 16 && reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++)
        count += count_reply(reply->element[i], depth + 1);
    return count;
}

/* Of the value at the top, which goes. */
static size_t count_value(void)
{
    size_t count = 1, i, len = lua_istable(L, -1) ? (size_t)lua_rawlen(L, -1) : 0;

    CHECK(lua_checkstack(L, 4));
    for (i = 1; i <= len; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        count += count_value();
    }
    lua_pop(L, 1);
    return count;
}

/* Whether an array says that it has a million elements or more: hiredis allocates them all before it has read one. */
static int claims_much(const uint8_t *data, size_t size)
{
    size_t i, digits = 0;

    for (i = 0; i < size && digits < 8; i++)
        digits = data[i] == '*' || (digits && data[i] >= '0' && data[i] <= '9') ? digits + 1 : 0;
    return digits == 8;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    redisReader *reader;
    struct cf_buffer results = {NULL, 0, 0, 1 << 22};
    size_t expected = 1;
    void *reply = NULL;

    if (claims_much(data, size))
        return 0;
    reader = redisReaderCreate();
    if (!L) {
        cf_memory_hook(counted);
        L = luaL_newstate();
    }
    CHECK(reader && L);
    redisReaderFeed(reader, (const char *)data, size);
    while (redisReaderGetReply(reader, &reply) == REDIS_OK && reply) {
        CHECK(cf_redis_add_reply(&results, reply, 0));
        expected += count_reply(reply, 0);
        freeReplyObject(reply);
        reply = NULL;
    }
    redisReaderFree(reader);
    cf_values_push(L, &results);
    CHECK(count_value() == expected);
    CHECK(lua_gettop(L) == 0);
    cf_buffer_free(&results);
    CHECK(blocks == 0);
    return 0;
}
