/* The one userdata type and its methods. */
#include "binding/client.h"

#include <math.h>
#include <string.h>

#include "binding/draft.h"
#include "engine/engine.h"
#include "binding/error.h"
#include "binding/event.h"
#include "binding/protect.h"
#include "base/memory.h"
#include "binding/result.h"

#define TYPE "cfpurge.client"

struct client {
    struct cf_engine *engine; /* NULL before it is made and after __gc */
    bool closed, has_events;
    int busy;                      /* requests that are being taken: the engine must stay */
    struct cf_options options;     /* owned: wiped on close */
    struct cf_buffer header_lines; /* owned: what options.headers points to */
    struct cf_draft draft;         /* scratch */
};

static const char own_client = 0;

/* The functions that run protected, made once: on Lua 5.1 each lua_pushcfunction makes one more, which may collect and
 * may raise, where nothing may come between. */
enum ready { EMIT_ONE, PUSH_ENDING, REPORT_END, COPY_KEY, COPY_DRAFT, READY };

static const char ready_keys[READY];

static void client_push_ready(lua_State *L, enum ready which)
{
    cf_registry_get(L, &ready_keys[which]);
}

static struct client *client_check(lua_State *L)
{
    return luaL_checkudata(L, 1, TYPE);
}

static int client_push_failure(lua_State *L)
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
    client->engine = cf_engine_new();
    if (!client->engine || !cf_engine_pace(client->engine, &options->rates) ||
        !cf_options_own(&client->options, options))
        luaL_error(L, "not enough memory");
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
        return client_push_failure(L);
    client_furnish(L, client, &options);
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
    cf_buffer_wipe(&client->header_lines);
    cf_draft_wipe(&client->draft);
}

/* ---- events ---- */

static int client_emit_one(lua_State *L)
{
    cf_get_uservalue(L, 1);
    cf_rawgetfield(L, 3, "on_event");
    cf_event_push(L, cf_to_address(L, 2));
    lua_call(L, 1, 0);
    return 0;
}

/* An error raised by the handler breaks nothing, nor does one that memory was too short to tell of; the handler may
 * call the client again. */
static void client_emit(lua_State *L, struct client *client)
{
    struct cf_event event;
    int top = lua_gettop(L);

    while (client->has_events && client->engine && lua_checkstack(L, 10) &&
           cf_engine_next_event(client->engine, &event)) {
        client_push_ready(L, EMIT_ONE);
        lua_pushvalue(L, 1);
        cf_push_address(L, &event);
        lua_pcall(L, 2, 0, 0);
        lua_settop(L, top);
    }
}

/* ---- starting ---- */

/* The new request's id, or 0 with an error pushed. */
static uint64_t client_submit(lua_State *L, struct client *client, struct cf_submission *submission)
{
    uint64_t id = cf_engine_submit(client->engine, submission);
    if (id == 0)
        cf_error_push(L, "connection", NULL, "out of memory or descriptors");
    return id;
}

static bool client_is_open(lua_State *L, const struct client *client)
{
    if (client->closed)
        cf_error_push(L, "closed", NULL, "the client is closed");
    return !client->closed;
}

/* Sets a field of a copy of the caller's params, whose place on the stack is `copy` once there is one. The value is on
 * the top, and nil is none. */
static void client_carry(lua_State *L, int params, const char *name, int *copy)
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

/* What was refused here remains as a whole: the caller's own table, untouched; or, where the zone and the environment
 * stand beside it, a copy that has them. The error is on the top. */
static void client_set_remaining(lua_State *L, const struct cf_call *call)
{
    static const char *const names[][2] = {{"zone_id", "zone"}, {"environment_id", "environment"}};
    int error = lua_gettop(L), options = call->params + 1, copy = 0, i, j;
    bool is_named;

    if (!lua_istable(L, call->params))
        return;
    if (call->environment) {
        lua_pushvalue(L, call->environment);
        client_carry(L, call->params, names[1][0], &copy);
    }
    for (i = 0; lua_istable(L, options) && i < (call->environment ? 1 : 2); i++) {
        cf_rawgetfield(L, call->params, names[i][0]);
        cf_rawgetfield(L, call->params, names[i][1]);
        is_named = !lua_isnil(L, -1) || !lua_isnil(L, -2);
        lua_pop(L, 2);
        for (j = 0; !is_named && j < 2; j++) {
            cf_rawgetfield(L, options, names[i][j]);
            client_carry(L, call->params, names[i][j], &copy);
        }
    }
    lua_pushvalue(L, copy ? copy : call->params);
    lua_setfield(L, error, "remaining");
    lua_settop(L, error);
}

static bool client_draft(lua_State *L, struct client *client, const struct cf_call *call,
                         struct cf_submission *submission)
{
    if (client_is_open(L, client) && cf_draft_write(L, &client->options, &client->draft, call, submission))
        return true;
    client_set_remaining(L, call);
    return false;
}

static uint64_t client_start(lua_State *L, struct client *client, const struct cf_call *call)
{
    struct cf_submission submission;
    uint64_t id = 0;

    if (client_draft(L, client, call, &submission) && (id = client_submit(L, client, &submission)) == 0)
        client_set_remaining(L, call);
    cf_draft_forget(&client->draft);
    return id;
}

/* ---- taking ---- */

struct taking {
    struct client *client;
    struct cf_transfer *transfer;
};

/* Leaves the id and what cf_result_push leaves. */
static int client_push_ending(lua_State *L)
{
    const struct taking *taking = cf_to_address(L, 1);
    struct cf_ending ending;
    char zone_id[64] = "";

    cf_engine_ending(taking->transfer, &ending);
    /* A finalizer may close the client in the middle. */
    if (taking->client->options.zone_id)
        strncpy(zone_id, taking->client->options.zone_id, sizeof zone_id - 1);
    lua_pushinteger(L, (lua_Integer)ending.id);
    return 1 + cf_result_push(L, &ending, zone_id);
}

/* How many values it left: none where nothing has ended. Making them can raise, and run a finalizer that comes back to
 * the client: nobody else finds the request meanwhile, and it is released only when they are made, or when nobody else
 * is `known` to have its id. */
static int client_take_ending(lua_State *L, struct client *client, uint64_t id, bool known)
{
    struct taking taking = {client, NULL};
    int top = lua_gettop(L), status;

    luaL_checkstack(L, 8, "result");
    client_push_ready(L, PUSH_ENDING);
    cf_push_address(L, &taking);
    if (client->engine)
        taking.transfer = cf_engine_take(client->engine, id);
    if (!taking.transfer) {
        lua_settop(L, top);
        return 0;
    }
    client->busy++;
    status = cf_protect_call(L, 1, LUA_MULTRET);
    client->busy--;
    if (status != LUA_OK && known)
        cf_engine_put_back(client->engine, taking.transfer);
    else
        cf_engine_release(client->engine, taking.transfer);
    return status == LUA_OK ? lua_gettop(L) - top : lua_error(L);
}

static int client_wait_for(lua_State *L, struct client *client, uint64_t id)
{
    int count;

    if (id == 0)
        return client_push_failure(L);
    client_emit(L, client);
    while ((count = client_take_ending(L, client, id, false)) == 0 && client->engine &&
           cf_engine_in_flight(client->engine) > 0) {
        cf_engine_step(client->engine, CF_NEVER);
        client_emit(L, client);
    }
    if (count == 0)
        return luaL_error(L, "an on_event handler took the ending of the purge that is waited for");
    return count - 1;
}

/* ---- methods ----
 * A finalizer that runs after ours can still call them: without an engine they find nothing in flight. */

/* `skipped` arguments before the caller's own are ours: luaL_argerror itself leaves out the self of a method call. */
static int client_purge_with(lua_State *L, int skipped)
{
    struct client *client = client_check(L);
    lua_settop(L, 3);
    return client_wait_for(L, client, client_start(L, client, &(struct cf_call){2, 2 - skipped, 0, 0}));
}

static int client_purge_environment_with(lua_State *L, int skipped)
{
    struct client *client = client_check(L);
    lua_settop(L, 4);
    return client_wait_for(L, client, client_start(L, client, &(struct cf_call){3, 3 - skipped, 2, 2 - skipped}));
}

static int client_purge(lua_State *L)
{
    return client_purge_with(L, 0);
}

static int client_purge_environment(lua_State *L)
{
    return client_purge_environment_with(L, 0);
}

/* start and check: params, options, environment_id. */
static struct cf_call client_call_of(lua_State *L)
{
    lua_settop(L, 4);
    return (struct cf_call){2, 2, lua_isnil(L, 4) ? 0 : 4, 4};
}

static int client_push_id(lua_State *L, uint64_t id)
{
    if (id == 0)
        return client_push_failure(L);
    /* No event yet: a handler that steps or closes would end a request whose id nobody has seen. */
    lua_pushinteger(L, (lua_Integer)id);
    return 1;
}

static int client_start_request(lua_State *L)
{
    struct client *client = client_check(L);
    struct cf_call call = client_call_of(L);
    return client_push_id(L, client_start(L, client, &call));
}

/* What copy_draft and copy_key copy into Lua. */
struct lent {
    struct cf_draft draft;
    struct cf_submission submission;
};

/* Calls the function on the top of the stack with the draft. While that makes strings Lua may collect, and a finalizer
 * come back to the client, to write another draft or to close: this one is nobody else's meanwhile. */
static int client_lend_draft(lua_State *L, struct client *client, const struct cf_submission *submission)
{
    struct lent lent = {client->draft, {0}};
    int top = lua_gettop(L) - 1, status;

    if (submission)
        lent.submission = *submission;
    cf_draft_init(&client->draft);
    cf_push_address(L, &lent);
    status = lua_pcall(L, 1, LUA_MULTRET, 0);
    cf_draft_wipe(client->closed ? &lent.draft : &client->draft);
    if (!client->closed)
        client->draft = lent.draft;
    return status == LUA_OK ? lua_gettop(L) - top : lua_error(L);
}

static int client_copy_draft(lua_State *L)
{
    const struct lent *lent = cf_to_address(L, 1);
    const struct cf_submission *submission = &lent->submission;

    lua_pushstring(L, submission->url + submission->path_at);
    lua_pushlstring(L, lent->draft.body.data, lent->draft.body.len);
    lua_pushinteger(L, (lua_Integer)submission->items);
    return 3;
}

static int client_copy_key(lua_State *L)
{
    const struct lent *lent = cf_to_address(L, 1);

    lua_pushlstring(L, lent->draft.body.data, lent->draft.body.len);
    return 1;
}

/* check(…) -> path, body, items: what start would send. */
static int client_check_request(lua_State *L)
{
    struct client *client = client_check(L);
    struct cf_call call = client_call_of(L);
    struct cf_submission submission;

    if (!client_draft(L, client, &call, &submission))
        return client_push_failure(L);
    cf_draft_forget(&client->draft);
    client_push_ready(L, COPY_DRAFT);
    return client_lend_draft(L, client, &submission);
}

/* fetch(path, options) -> id: a GET, whose result is the envelope's. */
static int client_fetch(lua_State *L)
{
    struct client *client = client_check(L);
    struct cf_submission submission;
    uint64_t id = 0;

    lua_settop(L, 3);
    if (client_is_open(L, client) && cf_draft_write_get(L, &client->options, &client->draft, 2, &submission))
        id = client_submit(L, client, &submission);
    cf_draft_forget(&client->draft);
    return client_push_id(L, id);
}

static bool client_read_call_options(lua_State *L, struct client *client, int index, struct cf_options *options)
{
    return client_is_open(L, client) && cf_draft_options(L, &client->options, &client->draft, index, index, options);
}

/* limits(kind, options) -> max_items, max_in_flight, max_retry_wait, isolate, deadline: as they hold for a call. */
static int client_limits(lua_State *L)
{
    struct client *client = client_check(L);
    struct cf_options options;
    bool of_files = strcmp(luaL_checkstring(L, 2), "files") == 0;

    lua_settop(L, 3);
    if (!client_read_call_options(L, client, 3, &options))
        return client_push_failure(L);
    lua_pushinteger(L, (lua_Integer)cf_draft_max_items(&options, of_files));
    lua_pushinteger(L, (lua_Integer)options.max_in_flight);
    lua_pushnumber(L, (lua_Number)options.max_retry_wait / 1e6);
    lua_pushboolean(L, options.isolate);
    if (options.deadline)
        lua_pushnumber(L, (lua_Number)options.deadline / 1e6);
    else
        lua_pushnil(L);
    return 5;
}

/* key(kind, item): the same string for two items that are the same to the API; nil for one that breaks a rule. */
static int client_key(lua_State *L)
{
    struct client *client = client_check(L);
    lua_settop(L, 3);
    if (client->closed || !cf_params_write_key(L, 2, &client->draft.body)) {
        lua_pushnil(L);
        return 1;
    }
    client_push_ready(L, COPY_KEY);
    return client_lend_draft(L, client, NULL);
}

/* forecast(kind, requests, items): the seconds that so many requests of so many items each take by the plan. */
static int client_forecast(lua_State *L)
{
    struct client *client = client_check(L);
    enum cf_bucket bucket = strcmp(luaL_checkstring(L, 2), "files") == 0 ? CF_BUCKET_URLS : CF_BUCKET_REQUESTS;
    int64_t duration = cf_pacer_forecast(&client->options.rates, bucket, (uint64_t)luaL_checkinteger(L, 3),
                                         bucket == CF_BUCKET_URLS ? luaL_checknumber(L, 4) : 1);
    if (duration < 0)
        return luaL_error(L, "not enough memory");
    lua_pushnumber(L, (lua_Number)duration / 1e6);
    return 1;
}

static int client_step(lua_State *L)
{
    struct client *client = client_check(L);
    lua_Number seconds = luaL_optnumber(L, 2, HUGE_VAL);
    size_t in_flight = 0;

    lua_settop(L, 1);
    if (client->engine)
        in_flight = cf_engine_step(client->engine, seconds > 1e9 ? CF_NEVER
                                                   : seconds > 0 ? (int64_t)(seconds * 1e6)
                                                                 : 0);
    client_emit(L, client);
    lua_pushinteger(L, (lua_Integer)in_flight);
    return 1;
}

static int client_take(lua_State *L)
{
    struct client *client = client_check(L);
    return client_take_ending(L, client, (uint64_t)luaL_optinteger(L, 2, 0), true);
}

static int client_cancel(lua_State *L)
{
    struct client *client = client_check(L);
    lua_Integer id = luaL_checkinteger(L, 2);
    bool cancelled = client->engine && cf_engine_cancel(client->engine, (uint64_t)id);

    lua_settop(L, 1);
    client_emit(L, client);
    lua_pushboolean(L, cancelled);
    return 1;
}

static int client_file_number(lua_State *L)
{
    struct client *client = client_check(L);
    int fd = client->engine ? cf_engine_fd(client->engine) : -1;
    if (fd < 0)
        lua_pushnil(L);
    else
        lua_pushinteger(L, fd);
    return 1;
}

static int client_timeout(lua_State *L)
{
    struct client *client = client_check(L);
    int64_t left = client->engine ? cf_engine_timeout(client->engine) : CF_NEVER;
    if (left == CF_NEVER)
        lua_pushnil(L);
    else
        lua_pushnumber(L, (lua_Number)left / 1e6);
    return 1;
}

static void client_push_bucket(lua_State *L, const char *name, double left, int64_t held)
{
    lua_createtable(L, 0, 2);
    if (left >= 0) {
        lua_pushnumber(L, (lua_Number)left);
        lua_setfield(L, -2, "left");
    }
    lua_pushnumber(L, (lua_Number)held / 1e6);
    lua_setfield(L, -2, "wait");
    lua_setfield(L, -2, name);
}

static int client_stats(lua_State *L)
{
    struct client *client = client_check(L);
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
    client_push_bucket(L, "requests", now.left[CF_BUCKET_REQUESTS], now.held[CF_BUCKET_REQUESTS]);
    client_push_bucket(L, "urls", now.left[CF_BUCKET_URLS], now.held[CF_BUCKET_URLS]);
    lua_setfield(L, -2, "buckets");
    return 1;
}

static int client_close_client(lua_State *L)
{
    struct client *client = client_check(L);

    lua_settop(L, 1);
    if (client->engine)
        cf_engine_close(client->engine);
    client_wipe(client);
    client_emit(L, client);
    return 0;
}

/* settle(function): what __gc calls, after all in flight has ended, so that the Lua side can report it. Who calls this
 * is the Lua layer. */
static int client_settle(lua_State *L)
{
    struct client *client = client_check(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    client->options.has_lua_layer = true;
    cf_get_uservalue(L, 1);
    lua_pushvalue(L, 2);
    lua_setfield(L, -2, "settle");
    return 0;
}

/* Tells the Lua side of the end. */
static int client_report_end(lua_State *L)
{
    cf_get_uservalue(L, 1);
    cf_rawgetfield(L, 2, "settle");
    if (lua_isfunction(L, -1))
        lua_call(L, 0, 0);
    return 0;
}

static int client_collect(lua_State *L)
{
    struct client *client = client_check(L);
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
            client_push_ready(L, REPORT_END);
            lua_pushvalue(L, 1);
            status = lua_pcall(L, 1, 0, 0);
            lua_settop(L, 1);
            cf_engine_stats(client->engine, &now);
            vain = now.done < untold ? 0 : vain + 1;
        } while (status != LUA_OK && vain < 2);
        client_emit(L, client);
        cf_engine_free(client->engine);
        client->engine = NULL;
        client->busy--;
    }
    client_wipe(client);
    return 0;
}

static int client_to_string(lua_State *L)
{
    struct client *client = client_check(L);
    lua_pushfstring(L, TYPE " (%s): %p", client->closed ? "closed" : "open", (void *)client);
    return 1;
}

/* ---- without a client ---- */

/* Puts the state's own client before the arguments. What the environment says is checked with each call, which may have
 * options of its own. */
static void client_insert_own_client(lua_State *L)
{
    cf_registry_get(L, &own_client);
    if (lua_isnil(L, -1)) {
        struct cf_options options;
        struct client *client;

        lua_pop(L, 1);
        client = client_push_new(L);
        cf_options_default(&options);
        cf_options_read_environment(&options);
        client_furnish(L, client, &options);
        lua_pushvalue(L, -1);
        cf_registry_set(L, &own_client);
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
                                       {"start", client_start_request},
                                       {"check", client_check_request},
                                       {"fetch", client_fetch},
                                       {"limits", client_limits},
                                       {"key", client_key},
                                       {"forecast", client_forecast},
                                       {"step", client_step},
                                       {"take", client_take},
                                       {"cancel", client_cancel},
                                       {"fileno", client_file_number},
                                       {"timeout", client_timeout},
                                       {"stats", client_stats},
                                       {"close", client_close_client},
                                       {"settle", client_settle},
                                       {"__close", client_close_client},
                                       {"__gc", client_collect},
                                       {"__tostring", client_to_string},
                                       {NULL, NULL}};
    static const lua_CFunction ready[READY] = {client_emit_one, client_push_ending, client_report_end, client_copy_key,
                                               client_copy_draft};
    int i;

    for (i = 0; i < READY; i++) {
        lua_pushcfunction(L, ready[i]);
        cf_registry_set(L, &ready_keys[i]);
    }
    luaL_newmetatable(L, TYPE);
    cf_register(L, methods);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
