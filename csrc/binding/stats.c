/* The method stats: what a client has done, and what is left of its budgets. */
#include "binding/client_private.h"

#include <string.h>

/* How many budgets stats tells of: a credential may see any number of accounts. */
#define MOST_BUDGETS 1000

static void stats_set_number(lua_State *L, const char *name, double value)
{
    lua_pushnumber(L, (lua_Number)value);
    lua_setfield(L, -2, name);
}

static void stats_set_integer(lua_State *L, const char *name, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

static const struct {
    const char *name;
    enum cf_bucket bucket;
} stats_buckets[] = {{"requests", CF_BUCKET_REQUESTS}, {"urls", CF_BUCKET_URLS}};

#define BUCKETS (sizeof stats_buckets / sizeof *stats_buckets)

static void stats_push_bucket(lua_State *L, const struct cf_bucket_state *bucket)
{
    lua_createtable(L, 0, 3);
    if (bucket->left >= 0) {
        stats_set_number(L, "left", bucket->left);
        stats_set_number(L, "rate", bucket->rate);
    }
    stats_set_number(L, "wait", (double)bucket->held / 1e6);
}

static void stats_push_buckets(lua_State *L, const struct cf_budget_state *budget)
{
    size_t i;

    lua_createtable(L, 0, BUCKETS + 1);
    for (i = 0; i < BUCKETS; i++) {
        stats_push_bucket(L, &budget->buckets[stats_buckets[i].bucket]);
        lua_setfield(L, -2, stats_buckets[i].name);
    }
}

/* Sets budgets, a list, and buckets: of each the least that is left, and the longest wait. A finalizer may close the
 * client in between. */
static void stats_set_budgets(lua_State *L, const struct client *client)
{
    struct cf_budget_state budget, least;
    size_t i, bucket;

    memset(&least, 0, sizeof least);
    for (bucket = 0; bucket < CF_BUCKETS; bucket++)
        least.buckets[bucket].left = -1;
    lua_newtable(L);
    for (i = 0; i < MOST_BUDGETS && client->engine && cf_engine_budget_state(client->engine, i, &budget); i++) {
        stats_push_buckets(L, &budget);
        if (budget.key[0]) {
            lua_pushstring(L, budget.key);
            lua_setfield(L, -2, "name");
        }
        lua_rawseti(L, -2, (int)i + 1);
        for (bucket = 0; bucket < CF_BUCKETS; bucket++) {
            struct cf_bucket_state *is = &budget.buckets[bucket], *most = &least.buckets[bucket];
            int64_t held = is->held > most->held ? is->held : most->held;
            if (is->left >= 0 && (most->left < 0 || is->left < most->left))
                *most = *is;
            most->held = held;
        }
    }
    lua_setfield(L, -2, "budgets");
    stats_push_buckets(L, &least);
    lua_setfield(L, -2, "buckets");
}

static void stats_set_outcomes(lua_State *L, const struct cf_tally *tally)
{
    size_t i;
    int bound;

    lua_createtable(L, 0, (int)tally->used);
    for (i = 0; i < tally->used; i++) {
        const struct cf_outcome_count *count = &tally->counts[i];
        lua_createtable(L, 0, 4);
        stats_set_integer(L, "requests", count->requests);
        stats_set_integer(L, "items", count->items);
        stats_set_number(L, "seconds", count->seconds);
        lua_createtable(L, CF_TALLY_BOUNDS, 0);
        for (bound = 0; bound < CF_TALLY_BOUNDS; bound++) {
            lua_pushinteger(L, (lua_Integer)count->within[bound]);
            lua_rawseti(L, -2, bound + 1);
        }
        lua_setfield(L, -2, "within");
        lua_setfield(L, -2, count->kind ? count->kind : "accepted");
    }
    lua_setfield(L, -2, "outcomes");
    lua_createtable(L, CF_TALLY_BOUNDS, 0);
    for (bound = 0; bound < CF_TALLY_BOUNDS; bound++) {
        lua_pushnumber(L, (lua_Number)cf_tally_bounds[bound]);
        lua_rawseti(L, -2, bound + 1);
    }
    lua_setfield(L, -2, "bounds");
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
                  {"rate_limited", now.rate_limited},
                  {"connections", now.connections},
                  {"bytes_sent", now.bytes_sent},
                  {"bytes_received", now.bytes_received}};
    lua_createtable(L, 0, (int)(sizeof fields / sizeof *fields) + 4);
    for (i = 0; i < sizeof fields / sizeof *fields; i++)
        stats_set_integer(L, fields[i].name, fields[i].value);
    stats_set_budgets(L, client);
    stats_set_outcomes(L, &now.tally);
    return 1;
}
