/* How a client begins a request: the draft of a call, what is refused of it, its id. */
#include "binding/client_private.h"

#include <string.h>

#include "base/distinct.h"
#include "binding/error.h"
#include "binding/rates.h"

/* The new request's id, or 0 with an error pushed. */
static uint64_t call_submit(lua_State *L, struct client *client, struct cf_submission *submission)
{
    enum cf_failure failure;
    uint64_t id;

    if (!cf_client_trust(L, client, submission->ca_file))
        return 0;
    id = cf_engine_submit(client->engine, submission, &failure);
    if (id == 0) {
        cf_error_push(L, cf_verdict_kind(failure, NULL), NULL,
                      failure == CF_FULL ? "max_queued requests are in flight already"
                                         : "out of memory or descriptors");
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, "retryable");
    }
    return id;
}

bool cf_client_is_open(lua_State *L, const struct client *client)
{
    if (client->closed)
        cf_error_push(L, "closed", NULL, "the client is closed");
    return !client->closed;
}

/* Sets a field of a copy of the caller's params, whose place on the stack is `copy` once there is one. The value is on
 * the top, and nil is none. */
static void call_carry(lua_State *L, int params, const char *name, int *copy)
{
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        return;
    }
    if (*copy == 0) {
        lua_newtable(L);
        for (lua_pushnil(L); lua_next(L, params);) {
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, -4);
        }
        lua_insert(L, -2);
        *copy = lua_gettop(L) - 1;
    }
    lua_setfield(L, *copy, name);
}

/* A purge that was refused here remains as a whole: the caller's own table, untouched; or, where the zone and the
 * environment stand beside it, a copy that has them. The error is on the top. */
static void call_set_remaining(lua_State *L, const struct cf_call *call)
{
    static const char *const names[][2] = {{"zone_id", "zone"}, {"environment_id", "environment"}};
    int error = lua_gettop(L), options = call->params + 1, copy = 0, i, j;
    bool is_named;

    if (!lua_istable(L, call->params))
        return;
    if (call->environment) {
        lua_pushvalue(L, call->environment);
        call_carry(L, call->params, names[1][0], &copy);
    }
    for (i = 0; lua_istable(L, options) && i < (call->environment ? 1 : 2); i++) {
        cf_rawgetfield(L, call->params, names[i][0]);
        cf_rawgetfield(L, call->params, names[i][1]);
        is_named = !lua_isnil(L, -1) || !lua_isnil(L, -2);
        lua_pop(L, 2);
        for (j = 0; !is_named && j < 2; j++) {
            cf_rawgetfield(L, options, names[i][j]);
            call_carry(L, call->params, names[i][j], &copy);
        }
    }
    lua_pushvalue(L, copy ? copy : call->params);
    lua_setfield(L, error, "remaining");
    lua_settop(L, error);
}

static bool call_draft(lua_State *L, struct client *client, const struct cf_call *call,
                       struct cf_submission *submission)
{
    if (cf_client_is_open(L, client) && cf_draft_write(L, &client->options, &client->draft, call, submission))
        return true;
    cf_draft_forget(&client->draft);
    call_set_remaining(L, call);
    return false;
}

/* A queue's store keeps the account: here nothing is held back but by what the server orders. */
static struct cf_budget *call_queue_budget(struct client *client, const char *name)
{
    struct cf_rates rates = {.address = client->options.rates.address};

    return cf_engine_budget(client->engine, name, &rates, false);
}

uint64_t cf_client_begin(lua_State *L, struct client *client, const struct cf_call *call)
{
    struct cf_submission submission;
    uint64_t id = 0;

    if (call_draft(L, client, call, &submission)) {
        submission.is_part = call->is_part;
        if (submission.budget_name)
            submission.budget = call_queue_budget(client, submission.budget_name);
        id = call_submit(L, client, &submission);
        if (id == 0)
            call_set_remaining(L, call);
    }
    cf_draft_forget(&client->draft);
    return id;
}

/* start and check: params, options, environment_id, is_part. */
static struct cf_call call_arguments(lua_State *L)
{
    lua_settop(L, 5);
    return (struct cf_call){2, 2, lua_isnil(L, 4) ? 0 : 4, 4, lua_toboolean(L, 5)};
}

static int call_push_id(lua_State *L, uint64_t id)
{
    if (id == 0)
        return cf_client_push_failure(L);
    /* No event yet: a handler that steps or closes would end a request whose id nobody has seen. */
    lua_pushinteger(L, (lua_Integer)id);
    return 1;
}

/* start(…) -> id, and true where items of the list are the same as others of it. */
int cf_client_start_request(lua_State *L)
{
    struct client *client = cf_client_check(L);
    struct cf_call call = call_arguments(L);
    uint64_t id = cf_client_begin(L, client, &call);

    if (id == 0 || client->draft.repeats == 0)
        return call_push_id(L, id);
    call_push_id(L, id);
    lua_pushboolean(L, true);
    return 2;
}

/* check(…) -> path, body, items: what start would send. */
int cf_client_check_request(lua_State *L)
{
    struct client *client = cf_client_check(L);
    struct cf_call call = call_arguments(L);
    struct cf_submission submission;

    if (!call_draft(L, client, &call, &submission))
        return cf_client_push_failure(L);
    return cf_taking_copy(L, client, &submission);
}

/* fetch(path, options) -> id: a GET, whose result is the envelope's. */
int cf_client_fetch(lua_State *L)
{
    struct client *client = cf_client_check(L);
    struct cf_submission submission;
    uint64_t id = 0;

    lua_settop(L, 3);
    if (cf_client_is_open(L, client) && cf_draft_write_get(L, &client->options, &client->draft, 2, &submission))
        id = call_submit(L, client, &submission);
    cf_draft_forget(&client->draft);
    return call_push_id(L, id);
}

static bool call_read_options(lua_State *L, struct client *client, int index, struct cf_options *options)
{
    return cf_client_is_open(L, client) && cf_draft_options(L, &client->options, &client->draft, index, index, options);
}

/* limits(kind, options, zone_id) -> { max_items, max_in_flight, max_retry_wait, isolate, deadline }: as they hold for a
 * call. */
int cf_client_limits(lua_State *L)
{
    struct client *client = cf_client_check(L);
    struct cf_options options;
    bool of_files = strcmp(luaL_checkstring(L, 2), "files") == 0;
    size_t max_items;

    lua_settop(L, 4);
    if (!call_read_options(L, client, 3, &options))
        return cf_client_push_failure(L);
    if (lua_type(L, 4) == LUA_TSTRING)
        options.zone_id = lua_tostring(L, 4);
    /* Before there is a table: a finalizer may close the client, whose texts the options have. */
    max_items = cf_draft_max_items(&options, of_files);
    lua_createtable(L, 0, 5);
    lua_pushinteger(L, (lua_Integer)max_items);
    lua_setfield(L, -2, "max_items");
    lua_pushinteger(L, (lua_Integer)options.max_in_flight);
    lua_setfield(L, -2, "max_in_flight");
    lua_pushnumber(L, (lua_Number)options.max_retry_wait / 1e6);
    lua_setfield(L, -2, "max_retry_wait");
    lua_pushboolean(L, options.isolate);
    lua_setfield(L, -2, "isolate");
    if (options.deadline) {
        lua_pushnumber(L, (lua_Number)options.deadline / 1e6);
        lua_setfield(L, -2, "deadline");
    }
    return 1;
}

/* plan(zone_id, account, plan) -> true where the plan is one that we know: from now on the zone's purges draw from what
 * that plan of that account allows. */
int cf_client_plan(lua_State *L)
{
    struct client *client = cf_client_check(L);
    const char *zone_id = luaL_checkstring(L, 2), *account = luaL_checkstring(L, 3), *plan = luaL_checkstring(L, 4);
    struct cf_zone_plan known;
    struct cf_rates rates = client->options.given;
    const char *key = lua_pushfstring(L, "%s/%s", account, plan);

    memset(&known, 0, sizeof known);
    if (client->closed || !client->options.plans || strcmp(plan, "auto") == 0 ||
        cf_options_id_problem(zone_id, strlen(zone_id)) || !cf_rates_settle(&rates, plan, client->options.share)) {
        lua_pushboolean(L, 0);
        return 1;
    }
    known.rates = rates;
    /* All calls count in the windows of the client's own budget. */
    rates.overall = rates.address = 0;
    memcpy(known.zone_id, zone_id, strlen(zone_id) + 1);
    known.is_enterprise = strcmp(plan, "enterprise") == 0;
    known.budget = cf_engine_budget(client->engine, key, &rates, true);
    if (!known.budget || !cf_plans_set(&client->plans, &known))
        return luaL_error(L, "not enough memory");
    lua_pushboolean(L, 1);
    return 1;
}

static void call_push_bucket(lua_State *L, double rate, double size)
{
    lua_createtable(L, 2, 0);
    lua_pushnumber(L, rate);
    lua_rawseti(L, -2, 1);
    lua_pushnumber(L, size);
    lua_rawseti(L, -2, 2);
}

/* rates(plan) -> { requests = {a second, bucket}, urls = the same, overall = calls in 5 minutes, plan }: all that the
 * plan allows, whatever this client's share; without one by the client's own options. nil: there is no such plan. */
int cf_client_rates(lua_State *L)
{
    struct client *client = cf_client_check(L);
    struct cf_rates rates = client->options.given;
    const char *plan = luaL_optstring(L, 2, client->options.plan);
    char name[16] = "";

    if (client->closed || !cf_rates_settle(&rates, plan, 1))
        return 0;
    /* A finalizer may close the client, whose text it may be. */
    if (plan)
        strncpy(name, plan, sizeof name - 1);
    lua_createtable(L, 0, 4);
    call_push_bucket(L, rates.requests, rates.requests_bucket);
    lua_setfield(L, -2, "requests");
    call_push_bucket(L, rates.urls, rates.urls_bucket);
    lua_setfield(L, -2, "urls");
    lua_pushnumber(L, rates.overall);
    lua_setfield(L, -2, "overall");
    lua_pushstring(L, plan ? name : NULL);
    lua_setfield(L, -2, "plan");
    return 1;
}

/* ordered(name, kind) -> how long the server wants those that draw from this budget of a queue to wait, in seconds, and
 * how long it wants all calls to. */
int cf_client_ordered(lua_State *L)
{
    struct client *client = cf_client_check(L);
    const char *name = luaL_checkstring(L, 2), *kind = luaL_checkstring(L, 3);
    struct cf_budget *budget = client->closed ? NULL : call_queue_budget(client, name);
    enum cf_bucket bucket = strcmp(kind, "files") == 0 ? CF_BUCKET_URLS : CF_BUCKET_REQUESTS;
    int64_t all = 0, own = budget ? cf_engine_ordered(budget, bucket, &all) : 0;

    lua_pushnumber(L, (lua_Number)own / 1e6);
    lua_pushnumber(L, (lua_Number)all / 1e6);
    return 2;
}

#define SET "cfpurge.set"

static int call_collect_set(lua_State *L)
{
    cf_distinct_set_free(luaL_checkudata(L, 1, SET));
    return 0;
}

/* set() -> an empty set of items. */
int cf_client_set(lua_State *L)
{
    struct cf_distinct_set *set = lua_newuserdata(L, sizeof *set);

    cf_distinct_set_init(set);
    if (luaL_newmetatable(L, SET)) {
        lua_pushcfunction(L, call_collect_set);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return 1;
}

/* add(set, kind, item, place) -> true; false, nil and the other's place where the set has one that is the same to the
 * API; nil and an error of an item that breaks a rule. Without a set it is only checked. Unless it refuses the item, it
 * makes nothing in Lua. */
int cf_client_add(lua_State *L)
{
    struct client *client = cf_client_check(L);
    struct cf_distinct_set *set = lua_isnil(L, 2) ? NULL : luaL_checkudata(L, 2, SET);
    int64_t place = (int64_t)luaL_optinteger(L, 5, 0);

    lua_settop(L, 4);
    if (!cf_client_is_open(L, client) || !cf_params_write_item(L, 3, &client->draft.body))
        return cf_client_push_failure(L);
    cf_params_fold(L, 3, client->draft.body.data, client->draft.body.len);
    if (!set || cf_distinct_set_add(set, client->draft.body.data, client->draft.body.len, &place)) {
        lua_pushboolean(L, true);
        return 1;
    }
    lua_pushboolean(L, false);
    lua_pushnil(L);
    lua_pushinteger(L, (lua_Integer)place);
    return 3;
}

/* key(kind, item) -> the key by which the API knows the item, and its JSON; nil and an error of one that breaks a rule.
 */
int cf_client_key(lua_State *L)
{
    struct client *client = cf_client_check(L);
    struct cf_buffer *body = &client->draft.body;
    char room[512], *copy = room;
    size_t len = sizeof room;

    lua_settop(L, 3);
    /* Making more room may run a finalizer that uses the draft: it is written again then. */
    while (true) {
        lua_pushvalue(L, 3);
        if (!cf_client_is_open(L, client) || !cf_params_write_item(L, 2, body))
            return cf_client_push_failure(L);
        if (body->len <= len)
            break;
        len = body->len;
        lua_settop(L, 3);
        copy = lua_newuserdata(L, len);
    }
    len = body->len;
    memcpy(copy, body->data, len);
    lua_pushlstring(L, copy, len);
    cf_params_fold(L, 2, copy, len);
    lua_pushlstring(L, copy, len);
    lua_insert(L, -2);
    return 2;
}
