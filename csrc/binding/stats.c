/* The method stats: what a client has done, and what is left of its budgets. */
#include "binding/client_private.h"

#include <string.h>

static void stats_push_bucket(lua_State *L, const char *name, double rate, double left, int64_t held)
{
    lua_createtable(L, 0, 3);
    if (left >= 0) {
        lua_pushnumber(L, (lua_Number)left);
        lua_setfield(L, -2, "left");
        lua_pushnumber(L, (lua_Number)rate);
        lua_setfield(L, -2, "rate");
    }
    lua_pushnumber(L, (lua_Number)held / 1e6);
    lua_setfield(L, -2, "wait");
    lua_setfield(L, -2, name);
}

int cf_client_stats(lua_State *L)
{
    struct client *client = cf_client_check(L);
    struct cf_engine_stats now;
    size_t i;

    memset(&now, 0, sizeof now);
    if (client->engine)
        cf_engine_stats(client->engine, &now);
    const struct {
        const char *name;
        uint64_t value;
    } fields[] = {{"in_flight", now.queued + now.running + now.waiting},
                  {"queued", now.queued},
                  {"running", now.running},
                  {"waiting", now.waiting},
                  {"done", now.done},
                  {"started", now.started},
                  {"finished", now.finished},
                  {"attempts", now.attempts},
                  {"retries", now.retries},
                  {"connections", now.connections},
                  {"bytes_sent", now.bytes_sent},
                  {"bytes_received", now.bytes_received}};
    lua_createtable(L, 0, (int)(sizeof fields / sizeof *fields));
    for (i = 0; i < sizeof fields / sizeof *fields; i++) {
        lua_pushinteger(L, (lua_Integer)fields[i].value);
        lua_setfield(L, -2, fields[i].name);
    }
    lua_newtable(L);
    stats_push_bucket(L, "requests", client->options.rates.requests, now.left[CF_BUCKET_REQUESTS],
                      now.held[CF_BUCKET_REQUESTS]);
    stats_push_bucket(L, "urls", client->options.rates.urls, now.left[CF_BUCKET_URLS], now.held[CF_BUCKET_URLS]);
    lua_setfield(L, -2, "buckets");
    return 1;
}
