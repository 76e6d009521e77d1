/* The one userdata type and its methods. */
#include "binding/client_private.h"

#include <math.h>
#include <string.h>

#include "binding/client.h"
#include "binding/error.h"
#include "engine/preload.h"

#define TYPE "cfpurge.client"
/* In a forecast. */
#define MAX_COUNT 1e9

static const char client_own = 0;

struct client *cf_client_check(lua_State *L)
{
    return luaL_checkudata(L, 1, TYPE);
}

int cf_client_push_failure(lua_State *L)
{
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

/* ---- making and unmaking ---- */

static struct client *client_push_new(lua_State *L)
{
    struct client *client = lua_newuserdata(L, sizeof *client);

    memset(client, 0, sizeof *client);
    cf_draft_init(&client->draft);
    luaL_getmetatable(L, TYPE);
    lua_setmetatable(L, -2);
    lua_newtable(L);
    cf_set_uservalue(L, -2);
    return client;
}

/* The client is on the top. */
static void client_furnish(lua_State *L, struct client *client, const struct cf_options *options)
{
    struct cf_engine_settings settings = {options->rates, (size_t)options->max_connections,
                                          (size_t)options->max_queued};

    client->engine = cf_engine_new(&settings);
    if (!client->engine || !cf_options_own(&client->options, options))
        luaL_error(L, "not enough memory");
    if (cf_options_has_auto_plan(options))
        client->options.plans = &client->plans;
}

bool cf_client_trust(lua_State *L, struct client *client, const char *ca_file)
{
    const char *problem = ca_file ? cf_engine_trust(client->engine, ca_file) : NULL;

    if (problem)
        cf_error_push(L, "invalid_request", "ca_file", "ca_file: %s: %s", ca_file, problem);
    return !problem;
}

int cf_client_new(lua_State *L)
{
    struct cf_options options;
    struct client *client;

    lua_settop(L, 1);
    if (!lua_isnil(L, 1))
        luaL_checktype(L, 1, LUA_TTABLE);
    client = client_push_new(L);
    cf_options_default(&options);
    if (!cf_options_read(L, 1, 1, CF_SCOPE_CLIENT | CF_SCOPE_REQUEST, true, &client->header_lines, &options) ||
        !cf_options_need_credential(L, &options))
        return cf_error_with_text(L);
    client_furnish(L, client, &options);
    if (!cf_client_trust(L, client, options.ca_file))
        return cf_error_with_text(L);
    if (lua_istable(L, 1)) {
        cf_rawgetfield(L, 1, "on_event");
        if (lua_isfunction(L, -1)) {
            client->has_events = true;
            cf_engine_want_events(client->engine);
            cf_get_uservalue(L, 2);
            lua_insert(L, -2);
            lua_setfield(L, -2, "on_event");
        }
    }
    lua_settop(L, 2);
    return 1;
}

static void client_wipe(struct client *client)
{
    client->closed = true;
    cf_options_wipe(&client->options);
    client->options.plans = NULL;
    cf_plans_free(&client->plans);
    cf_buffer_wipe(&client->header_lines);
    cf_draft_wipe(&client->draft);
}

/* ---- methods ----
 * A finalizer that runs after ours can still call them: without an engine they find nothing in flight. */

/* `skipped` arguments before the caller's own are ours: luaL_argerror itself leaves out the self of a method call. */
static int client_purge_with(lua_State *L, int skipped)
{
    struct client *client = cf_client_check(L);
    lua_settop(L, 3);
    return cf_taking_wait(L, client, cf_client_begin(L, client, &(struct cf_call){2, 2 - skipped, 0, 0, false}));
}

static int client_purge_environment_with(lua_State *L, int skipped)
{
    struct client *client = cf_client_check(L);
    lua_settop(L, 4);
    return cf_taking_wait(L, client,
                          cf_client_begin(L, client, &(struct cf_call){3, 3 - skipped, 2, 2 - skipped, false}));
}

static int client_purge(lua_State *L)
{
    return client_purge_with(L, 0);
}

static int client_purge_environment(lua_State *L)
{
    return client_purge_environment_with(L, 0);
}

/* forecast(kind, requests, items, zone_id): the seconds that so many requests of so many items each take by the plan,
 * the zone's own where it is known. */
static int client_forecast(lua_State *L)
{
    struct client *client = cf_client_check(L);
    enum cf_bucket bucket = strcmp(luaL_checkstring(L, 2), "files") == 0 ? CF_BUCKET_URLS : CF_BUCKET_REQUESTS;
    lua_Number requests = luaL_checknumber(L, 3);
    lua_Number items = bucket == CF_BUCKET_URLS ? luaL_checknumber(L, 4) : 1;
    const struct cf_zone_plan *known =
        cf_plans_find(client->options.plans, luaL_optstring(L, 5, client->options.zone_id));
    int64_t duration;

    luaL_argcheck(L, requests >= 0 && requests <= MAX_COUNT && floor(requests) >= requests, 3, "not a count");
    luaL_argcheck(L, items >= 0 && items <= MAX_COUNT, 4, "not a count");
    duration = cf_pacer_forecast(known ? &known->rates : &client->options.rates, bucket, (uint64_t)requests, items);
    if (duration < 0)
        return luaL_error(L, "not enough memory");
    lua_pushnumber(L, (lua_Number)duration / 1e6);
    return 1;
}

/* How many are in flight, and how many have ended and were not taken. */
static int client_push_counts(lua_State *L, const struct client *client)
{
    lua_pushinteger(L, client->engine ? (lua_Integer)cf_engine_in_flight(client->engine) : 0);
    lua_pushinteger(L, client->engine ? (lua_Integer)cf_engine_done(client->engine) : 0);
    return 2;
}

/* step(timeout) -> in flight, ended. */
static int client_step(lua_State *L)
{
    struct client *client = cf_client_check(L);
    lua_Number seconds = luaL_optnumber(L, 2, HUGE_VAL);

    lua_settop(L, 1);
    if (client->engine)
        cf_engine_step(client->engine, seconds > 1e9 ? CF_NEVER : seconds > 0 ? (int64_t)(seconds * 1e6) : 0);
    cf_taking_emit(L, client);
    return client_push_counts(L, client);
}

/* wait() -> the same: steps until something has ended or nothing is in flight. A hook may raise between the steps. */
static int client_wait(lua_State *L)
{
    struct client *client = cf_client_check(L);

    lua_settop(L, 1);
    do {
        if (client->engine)
            cf_engine_step(client->engine, cf_engine_done(client->engine) > 0 ? 0 : CF_NEVER);
        cf_taking_emit(L, client);
        cf_taking_heed(L);
    } while (client->engine && cf_engine_done(client->engine) == 0 && cf_engine_in_flight(client->engine) > 0);
    return client_push_counts(L, client);
}

static int client_take(lua_State *L)
{
    struct client *client = cf_client_check(L);
    return cf_taking_take(L, client, (uint64_t)luaL_optinteger(L, 2, 0), true);
}

static int client_cancel(lua_State *L)
{
    struct client *client = cf_client_check(L);
    lua_Integer id = luaL_checkinteger(L, 2);
    bool unsent = lua_toboolean(L, 3);
    bool cancelled = client->engine && cf_engine_cancel(client->engine, (uint64_t)id, unsent);

    lua_settop(L, 1);
    cf_taking_emit(L, client);
    lua_pushboolean(L, cancelled);
    return 1;
}

static int client_file_number(lua_State *L)
{
    struct client *client = cf_client_check(L);
    int fd = client->engine ? cf_engine_fd(client->engine) : -1;
    if (fd < 0)
        lua_pushnil(L);
    else
        lua_pushinteger(L, fd);
    return 1;
}

/* preload(): fetches what requests need of the system, for as long as that takes. True, or nil and a sentence. */
static int client_preload(lua_State *L)
{
    struct client *client = cf_client_check(L);
    const char *problem = NULL;

    if (client->engine && !client->closed)
        problem = cf_engine_preload(client->engine, client->options.base_url, client->options.proxy);
    if (problem) {
        lua_pushnil(L);
        lua_pushstring(L, problem);
        return 2;
    }
    lua_pushboolean(L, true);
    return 1;
}

/* wake(): whoever calls this has work for the next step, and the descriptor is readable until then. */
static int client_wake(lua_State *L)
{
    struct client *client = cf_client_check(L);
    if (client->engine)
        cf_engine_wake(client->engine);
    return 0;
}

/* alarm(seconds): the descriptor is readable, and a step ends, when they have passed; without, there is none. */
static int client_alarm(lua_State *L)
{
    struct client *client = cf_client_check(L);
    lua_Number seconds = luaL_optnumber(L, 2, HUGE_VAL);

    if (client->engine)
        cf_engine_alarm(client->engine, seconds > 1e9 ? CF_NEVER : seconds > 0 ? (int64_t)(seconds * 1e6) : 0);
    return 0;
}

static int client_timeout(lua_State *L)
{
    struct client *client = cf_client_check(L);
    int64_t left = client->engine ? cf_engine_timeout(client->engine) : CF_NEVER;
    if (left == CF_NEVER)
        lua_pushnil(L);
    else
        lua_pushnumber(L, (lua_Number)left / 1e6);
    return 1;
}

static int client_close_client(lua_State *L)
{
    struct client *client = cf_client_check(L);

    lua_settop(L, 1);
    if (client->engine)
        cf_engine_close(client->engine);
    client_wipe(client);
    cf_taking_emit(L, client);
    return 0;
}

/* settle(function): what __gc calls, after all in flight has ended, so that the Lua side can report it. Who calls this
 * is the Lua layer. */
static int client_settle(lua_State *L)
{
    struct client *client = cf_client_check(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    client->options.has_lua_layer = true;
    cf_get_uservalue(L, 1);
    lua_pushvalue(L, 2);
    lua_setfield(L, -2, "settle");
    return 0;
}

static int client_collect(lua_State *L)
{
    struct client *client = cf_client_check(L);
    struct cf_engine_stats now;
    size_t untold;
    int status, vain = 0;

    lua_settop(L, 1);
    client->closed = true;
    if (client->engine)
        cf_engine_close(client->engine);
    /* Called by hand amid a call of the client, or amid this one, it leaves the rest to the collector. */
    if (client->engine && !client->busy) {
        client->busy++;
        /* Nobody comes back to a finalizer that raises: what must be freed is freed, and where memory was short it goes
         * on with what is left to tell. */
        do {
            cf_engine_stats(client->engine, &now);
            untold = now.done;
            status = cf_taking_report_end(L);
            cf_engine_stats(client->engine, &now);
            vain = now.done < untold ? 0 : vain + 1;
        } while (status != LUA_OK && vain < 2);
        cf_taking_emit(L, client);
        cf_engine_free(client->engine);
        client->engine = NULL;
        client->busy--;
    }
    client_wipe(client);
    return 0;
}

static int client_to_string(lua_State *L)
{
    struct client *client = cf_client_check(L);
    lua_pushfstring(L, TYPE " (%s): %p", client->closed ? "closed" : "open", (void *)client);
    return 1;
}

/* ---- without a client ---- */

/* Puts the state's own client before the arguments. The environment's settings are checked with each call, which may
 * have options of its own. */
static void client_insert_own_client(lua_State *L)
{
    cf_registry_get(L, &client_own);
    if (lua_isnil(L, -1)) {
        struct cf_options options;
        struct client *client;

        lua_pop(L, 1);
        client = client_push_new(L);
        cf_options_default(&options);
        cf_options_read_environment(&options);
        client_furnish(L, client, &options);
        lua_pushvalue(L, -1);
        cf_registry_set(L, &client_own);
    }
    lua_insert(L, 1);
}

int cf_client_purge(lua_State *L)
{
    lua_settop(L, 2);
    client_insert_own_client(L);
    return client_purge_with(L, 1);
}

int cf_client_purge_environment(lua_State *L)
{
    lua_settop(L, 3);
    client_insert_own_client(L);
    return client_purge_environment_with(L, 1);
}

void cf_client_open(lua_State *L)
{
    static const luaL_Reg methods[] = {{"purge", client_purge},
                                       {"purge_environment", client_purge_environment},
                                       {"start", cf_client_start_request},
                                       {"check", cf_client_check_request},
                                       {"fetch", cf_client_fetch},
                                       {"limits", cf_client_limits},
                                       {"plan", cf_client_plan},
                                       {"rates", cf_client_rates},
                                       {"ordered", cf_client_ordered},
                                       {"set", cf_client_set},
                                       {"add", cf_client_add},
                                       {"key", cf_client_key},
                                       {"forecast", client_forecast},
                                       {"step", client_step},
                                       {"wait", client_wait},
                                       {"take", client_take},
                                       {"cancel", client_cancel},
                                       {"fileno", client_file_number},
                                       {"preload", client_preload},
                                       {"wake", client_wake},
                                       {"alarm", client_alarm},
                                       {"timeout", client_timeout},
                                       {"stats", cf_client_stats},
                                       {"close", client_close_client},
                                       {"settle", client_settle},
                                       {"__close", client_close_client},
                                       {"__gc", client_collect},
                                       {"__tostring", client_to_string},
                                       {NULL, NULL}};
    cf_taking_open(L);
    luaL_newmetatable(L, TYPE);
    cf_register(L, methods);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
