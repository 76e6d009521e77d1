/* The one userdata type and its methods. */
#include "client.h"

#include <math.h>
#include <string.h>

#include "engine.h"
#include "error.h"
#include "memory.h"
#include "options.h"
#include "params.h"
#include "result.h"

#define TYPE "cfpurge.client"
#define MAX_BODY ((size_t)100 << 20)

struct client {
    struct cf_engine *engine;           /* NULL before it is made and after __gc */
    bool closed, has_events;
    int busy;                           /* requests that are being taken: the engine must stay */
    struct cf_options options;          /* owned: wiped on close */
    struct cf_buffer header_lines;      /* owned: what options.headers points to */
    struct cf_buffer body, call_lines, headers, url;    /* scratch of one start: it allocates nothing in Lua, so that no
                                                           finalizer can come back to us in the middle */
};

static const char own_client = 0;

static struct client *check(lua_State *L)
{
    return luaL_checkudata(L, 1, TYPE);
}

static int push_failure(lua_State *L)
{
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

/* ---- making and unmaking ---- */

static struct client *push_new(lua_State *L)
{
    struct client *client = lua_newuserdata(L, sizeof *client);

    memset(client, 0, sizeof *client);
    client->body.max = client->headers.max = client->url.max = MAX_BODY;
    luaL_getmetatable(L, TYPE);
    lua_setmetatable(L, -2);
    lua_newtable(L);
    cf_set_uservalue(L, -2);
    return client;
}

/* Its options stand at `index`; the client is on the top. */
static bool furnish(lua_State *L, struct client *client, int index, bool needs_credential)
{
    struct cf_options options;

    cf_options_default(&options);
    if (!cf_options_read(L, index, 1, CF_SCOPE_CLIENT | CF_SCOPE_REQUEST, true, &client->header_lines, &options))
        return false;
    if (needs_credential && !cf_options_need_credential(L, &options))
        return false;
    client->engine = cf_engine_new();
    if (!client->engine || !cf_options_own(&client->options, &options)) {
        luaL_error(L, "not enough memory");
        return false;
    }
    return true;
}

int cf_client_new(lua_State *L)
{
    struct client *client;

    lua_settop(L, 1);
    if (!lua_isnil(L, 1))
        luaL_checktype(L, 1, LUA_TTABLE);
    client = push_new(L);
    if (!furnish(L, client, 1, true))
        return push_failure(L);
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

static void wipe(struct client *client)
{
    client->closed = true;
    cf_options_wipe(&client->options);
    cf_buffer_wipe(&client->header_lines);
    cf_buffer_wipe(&client->body);
    cf_buffer_wipe(&client->call_lines);
    cf_buffer_wipe(&client->headers);
    cf_buffer_wipe(&client->url);
}

/* ---- events ---- */

static void push_event(lua_State *L, const struct cf_event *event)
{
    static const char *const names[] = {"request", "response", "retry", "done", "warning"};
    bool is_over = event->name == CF_EVENT_RESPONSE || event->name == CF_EVENT_DONE;

    lua_createtable(L, 0, 11);
    lua_pushstring(L, names[event->name]);
    lua_setfield(L, -2, "name");
    if (event->message) {
        lua_pushstring(L, event->message);
        lua_setfield(L, -2, "message");
        return;
    }
    lua_pushinteger(L, (lua_Integer)event->id);
    lua_setfield(L, -2, "id");
    lua_pushstring(L, event->method);
    lua_setfield(L, -2, "method");
    lua_pushstring(L, event->path);
    lua_setfield(L, -2, "path");
    lua_pushinteger(L, event->attempt);
    lua_setfield(L, -2, "attempt");
    if (event->status) {
        lua_pushinteger(L, event->status);
        lua_setfield(L, -2, "status");
    }
    if (event->ray_id[0]) {
        lua_pushstring(L, event->ray_id);
        lua_setfield(L, -2, "ray_id");
    }
    if (is_over) {
        lua_pushnumber(L, (lua_Number)event->elapsed / 1e6);
        lua_setfield(L, -2, "seconds");
    }
    if (event->name == CF_EVENT_RETRY) {
        lua_pushnumber(L, (lua_Number)event->wait / 1e6);
        lua_setfield(L, -2, "wait");
    } else {
        lua_pushinteger(L, (lua_Integer)event->bytes);
        lua_setfield(L, -2, "bytes");
    }
    if (event->name != CF_EVENT_REQUEST && (event->failure != CF_OK || event->status < 200 || event->status >= 300)) {
        lua_pushstring(L, cf_result_kind(event->failure, event->status));
        lua_setfield(L, -2, "kind");
    }
}

/* An error raised by the handler breaks nothing; the handler may call the client again. */
static void emit(lua_State *L, struct client *client)
{
    struct cf_event event;
    int top = lua_gettop(L);

    if (!client->has_events)
        return;
    luaL_checkstack(L, 10, "events");
    cf_get_uservalue(L, 1);
    while (client->engine && cf_engine_next_event(client->engine, &event)) {
        cf_rawgetfield(L, top + 1, "on_event");
        push_event(L, &event);
        lua_pcall(L, 1, 0, 0);
        lua_settop(L, top + 1);
    }
    lua_settop(L, top);
}

/* ---- starting ---- */

static bool add(struct cf_buffer *buffer, const char *text)
{
    return cf_buffer_add(buffer, text, strlen(text)) == CF_BUFFER_OK;
}

static bool add_header(struct cf_buffer *lines, const char *name, const char *value)
{
    return add(lines, name) && cf_buffer_add(lines, value, strlen(value) + 1) == CF_BUFFER_OK;
}

static bool write_headers(struct client *client, const struct cf_options *options)
{
    struct cf_buffer *lines = &client->headers;

    lines->len = 0;
    if (options->api_token ? !add_header(lines, "Authorization: Bearer ", options->api_token)
                           : !(add_header(lines, "X-Auth-Email: ", options->api_email) &&
                               add_header(lines, "X-Auth-Key: ", options->api_key)))
        return false;
    /* libcurl would ask for a "100 Continue" before a large body, and wait a second for it. */
    return add_header(lines, "Content-Type: ", "application/json") && add_header(lines, "Accept: ", "application/json") &&
           add_header(lines, "Expect:", "") &&
           (!options->headers || cf_buffer_add(lines, options->headers->data, options->headers->len) == CF_BUFFER_OK);
}

static bool write_url(struct client *client, const struct cf_options *options, const char *zone_id,
                      const char *environment_id, size_t *path_at)
{
    struct cf_buffer *url = &client->url;
    size_t base = strlen(options->base_url);

    while (base > 0 && options->base_url[base - 1] == '/')
        base--;
    url->len = 0;
    *path_at = base;
    return cf_buffer_add(url, options->base_url, base) == CF_BUFFER_OK && add(url, "/zones/") && add(url, zone_id) &&
           (!environment_id || (add(url, "/environments/") && add(url, environment_id))) && add(url, "/purge_cache") &&
           cf_buffer_add(url, "", 1) == CF_BUFFER_OK;
}

static size_t limit_of(const struct cf_options *options, bool of_files)
{
    bool enterprise = options->plan && strcmp(options->plan, "enterprise") == 0;
    return options->max_items ? (size_t)options->max_items : of_files && enterprise ? CF_MAX_FILES_ENTERPRISE : CF_MAX_ITEMS;
}

/* params stand at `params`, the caller's argument `arg`, options behind them. The new request's id, or 0 with an error
 * pushed. */
static uint64_t start_unreported(lua_State *L, struct client *client, int params, int arg, const char *environment_id)
{
    struct cf_options options = client->options;
    struct cf_submission submission;
    struct cf_purge purge;
    uint64_t id = 0;
    bool written;

    if (client->closed) {
        cf_error_push(L, "closed", NULL, "the client is closed");
        return 0;
    }
    if (lua_isnoneornil(L, params + 1)) {
        options.direct = client->options.direct;
    } else if (!cf_options_read(L, params + 1, arg + 1, CF_SCOPE_REQUEST | CF_SCOPE_CALL, false, &client->call_lines,
                                &options)) {
        return 0;
    }
    if (!cf_params_write(L, params, arg, limit_of(&options, true), limit_of(&options, false), &client->body, &purge))
        return 0;
    if (purge.zone_id)
        options.zone_id = purge.zone_id;
    if (!environment_id)
        environment_id = purge.environment_id ? purge.environment_id : options.environment_id;
    if (!options.zone_id) {
        cf_error_push(L, "invalid_request", "zone_id", "no zone_id: give it to new, with the call or in params");
        return 0;
    }
    if (!cf_options_need_credential(L, &options))
        return 0;
    memset(&submission, 0, sizeof submission);
    written = write_headers(client, &options) &&
              write_url(client, &options, options.zone_id, environment_id, &submission.path_at);
    if (written) {
        submission.url = client->url.data;
        submission.headers = client->headers.data;
        submission.headers_size = client->headers.len;
        submission.body = &client->body;
        submission.secrets[0] = options.api_token ? options.api_token : options.api_key;
        submission.secrets[1] = options.api_token ? NULL : options.api_email;
        submission.items = purge.items;
        submission.proxy = options.proxy;
        submission.ca_file = options.ca_file;
        submission.user_agent = options.user_agent;
        submission.direct = options.direct;
        submission.retry.max_retries = (int)options.max_retries;
        submission.retry.max_wait = options.max_retry_wait;
        submission.timeout = options.timeout;
        submission.connect_timeout = options.connect_timeout;
        submission.deadline = options.deadline;
        id = cf_engine_submit(client->engine, &submission);
    }
    if (client->headers.data)
        cf_wipe(client->headers.data, client->headers.len);
    if (id == 0)
        cf_error_push(L, "connection", NULL, "out of memory or descriptors");
    return id;
}

/* False: an error was pushed. */
static bool check_environment_id(lua_State *L, int index, int arg, const char **environment_id)
{
    const char *problem;
    size_t len;

    if (lua_type(L, index) != LUA_TSTRING)
        luaL_argerror(L, arg, lua_pushfstring(L, "environment_id: string expected, got %s", luaL_typename(L, index)));
    *environment_id = lua_tolstring(L, index, &len);
    problem = cf_options_id_problem(*environment_id, len);
    if (problem)
        cf_error_push(L, "invalid_request", "environment_id", "environment_id: %s", problem);
    return problem == NULL;
}

/* What was refused here remains as a whole: the caller's own table, untouched. The error is on the top. */
static void set_remaining(lua_State *L, int params)
{
    if (lua_istable(L, params)) {
        lua_pushvalue(L, params);
        lua_setfield(L, -2, "remaining");
    }
}

/* The environment's id stands at `environment`, the caller's argument `environment_arg`; 0 for none. */
static uint64_t start(lua_State *L, struct client *client, int params, int arg, int environment, int environment_arg)
{
    const char *environment_id = NULL;
    uint64_t id = 0;

    if (!environment || check_environment_id(L, environment, environment_arg, &environment_id))
        id = start_unreported(L, client, params, arg, environment_id);
    if (id == 0)
        set_remaining(L, params);
    return id;
}

/* ---- taking ---- */

struct taking {
    struct client *client;
    struct cf_transfer *transfer;
};

/* Leaves the id and what cf_result_push leaves. */
static int push_ending(lua_State *L)
{
    const struct taking *taking = lua_touserdata(L, 1);
    struct cf_ending ending;
    char zone_id[64] = "";

    cf_engine_ending(taking->transfer, &ending);
    /* A finalizer may close the client in the middle. */
    if (taking->client->options.zone_id)
        strncpy(zone_id, taking->client->options.zone_id, sizeof zone_id - 1);
    lua_pushinteger(L, (lua_Integer)ending.id);
    return 1 + cf_result_push(L, &ending, zone_id);
}

/* How many values it left: none where nothing has ended. Making them can raise, and run a finalizer that comes back to the
 * client: nobody else finds the request meanwhile, and it is released only when they are made. */
static int take_ending(lua_State *L, struct client *client, uint64_t id)
{
    struct taking taking = {client, NULL};
    int top = lua_gettop(L), status;

    luaL_checkstack(L, 8, "result");
    lua_pushcfunction(L, push_ending);
    lua_pushlightuserdata(L, &taking);
    if (client->engine)
        taking.transfer = cf_engine_take(client->engine, id);
    if (!taking.transfer) {
        lua_settop(L, top);
        return 0;
    }
    client->busy++;
    status = lua_pcall(L, 1, LUA_MULTRET, 0);
    client->busy--;
    if (status != LUA_OK) {
        cf_engine_put_back(client->engine, taking.transfer);
        lua_error(L);
    }
    cf_engine_release(client->engine, taking.transfer);
    return lua_gettop(L) - top;
}

static int wait_for(lua_State *L, struct client *client, uint64_t id)
{
    int count;

    if (id == 0)
        return push_failure(L);
    emit(L, client);
    while ((count = take_ending(L, client, id)) == 0 && client->engine && cf_engine_in_flight(client->engine) > 0) {
        cf_engine_step(client->engine, CF_ENGINE_NEVER);
        emit(L, client);
    }
    if (count == 0)
        return luaL_error(L, "an on_event handler took the ending of the purge that is waited for");
    return count - 1;
}

/* ---- methods ----
 * A finalizer that runs after ours can still call them: without an engine they find nothing in flight. */

/* `skipped` arguments before the caller's own are ours: luaL_argerror itself leaves out the self of a method call. */
static int purge_with(lua_State *L, int skipped)
{
    struct client *client = check(L);
    lua_settop(L, 3);
    return wait_for(L, client, start(L, client, 2, 2 - skipped, 0, 0));
}

static int purge_environment_with(lua_State *L, int skipped)
{
    struct client *client = check(L);
    lua_settop(L, 4);
    return wait_for(L, client, start(L, client, 3, 3 - skipped, 2, 2 - skipped));
}

static int purge(lua_State *L)
{
    return purge_with(L, 0);
}

static int purge_environment(lua_State *L)
{
    return purge_environment_with(L, 0);
}

static int start_request(lua_State *L)
{
    struct client *client = check(L);
    uint64_t id;

    lua_settop(L, 4);
    id = start(L, client, 2, 2, lua_isnil(L, 4) ? 0 : 4, 4);
    if (id == 0)
        return push_failure(L);
    /* No event yet: a handler that steps or closes would end a request whose id nobody has seen. */
    lua_pushinteger(L, (lua_Integer)id);
    return 1;
}

static int step(lua_State *L)
{
    struct client *client = check(L);
    lua_Number seconds = luaL_optnumber(L, 2, HUGE_VAL);
    size_t in_flight = 0;

    lua_settop(L, 1);
    if (client->engine)
        in_flight = cf_engine_step(client->engine,
                                   seconds > 1e9 ? CF_ENGINE_NEVER : seconds > 0 ? (int64_t)(seconds * 1e6) : 0);
    emit(L, client);
    lua_pushinteger(L, (lua_Integer)in_flight);
    return 1;
}

static int take(lua_State *L)
{
    struct client *client = check(L);
    return take_ending(L, client, (uint64_t)luaL_optinteger(L, 2, 0));
}

static int cancel(lua_State *L)
{
    struct client *client = check(L);
    lua_Integer id = luaL_checkinteger(L, 2);
    bool cancelled = client->engine && cf_engine_cancel(client->engine, (uint64_t)id);

    lua_settop(L, 1);
    emit(L, client);
    lua_pushboolean(L, cancelled);
    return 1;
}

static int file_number(lua_State *L)
{
    struct client *client = check(L);
    int fd = client->engine ? cf_engine_fd(client->engine) : -1;
    if (fd < 0)
        lua_pushnil(L);
    else
        lua_pushinteger(L, fd);
    return 1;
}

static int timeout(lua_State *L)
{
    struct client *client = check(L);
    int64_t left = client->engine ? cf_engine_timeout(client->engine) : CF_ENGINE_NEVER;
    if (left == CF_ENGINE_NEVER)
        lua_pushnil(L);
    else
        lua_pushnumber(L, (lua_Number)left / 1e6);
    return 1;
}

static int stats(lua_State *L)
{
    struct client *client = check(L);
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
    return 1;
}

static int close_client(lua_State *L)
{
    struct client *client = check(L);

    lua_settop(L, 1);
    if (client->engine)
        cf_engine_close(client->engine);
    wipe(client);
    emit(L, client);
    return 0;
}

/* settle(function): what __gc calls, after all in flight has ended, so that the Lua side can report it. */
static int settle(lua_State *L)
{
    check(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    cf_get_uservalue(L, 1);
    lua_pushvalue(L, 2);
    lua_setfield(L, -2, "settle");
    return 0;
}

static int collect(lua_State *L)
{
    struct client *client = check(L);

    lua_settop(L, 1);
    if (client->engine) {
        cf_engine_close(client->engine);
        cf_get_uservalue(L, 1);
        cf_rawgetfield(L, 2, "settle");
        if (lua_isfunction(L, -1))
            lua_pcall(L, 0, 0, 0);
        lua_settop(L, 1);
        emit(L, client);
        if (!client->busy) {
            cf_engine_free(client->engine);
            client->engine = NULL;
        }
    }
    wipe(client);
    return 0;
}

static int to_string(lua_State *L)
{
    struct client *client = check(L);
    lua_pushfstring(L, TYPE " (%s): %p", client->closed ? "closed" : "open", (void *)client);
    return 1;
}

/* ---- without a client ---- */

/* Puts the state's own client before the arguments. False: the environment is at fault, and an error was pushed. */
static bool insert_own_client(lua_State *L)
{
    cf_registry_get(L, &own_client);
    if (lua_isnil(L, -1)) {
        struct client *client;
        lua_pop(L, 1);
        client = push_new(L);
        if (!furnish(L, client, lua_gettop(L) + 1, false))
            return false;
        lua_pushvalue(L, -1);
        cf_registry_set(L, &own_client);
    }
    lua_insert(L, 1);
    return true;
}

static int push_refusal(lua_State *L, int params)
{
    set_remaining(L, params);
    return push_failure(L);
}

int cf_client_purge(lua_State *L)
{
    lua_settop(L, 2);
    return insert_own_client(L) ? purge_with(L, 1) : push_refusal(L, 1);
}

int cf_client_purge_environment(lua_State *L)
{
    lua_settop(L, 3);
    return insert_own_client(L) ? purge_environment_with(L, 1) : push_refusal(L, 2);
}

void cf_client_open(lua_State *L)
{
    static const luaL_Reg methods[] = {{"purge", purge},
                                       {"purge_environment", purge_environment},
                                       {"start", start_request},
                                       {"step", step},
                                       {"take", take},
                                       {"cancel", cancel},
                                       {"fileno", file_number},
                                       {"timeout", timeout},
                                       {"stats", stats},
                                       {"close", close_client},
                                       {"settle", settle},
                                       {"__close", close_client},
                                       {"__gc", collect},
                                       {"__tostring", to_string},
                                       {NULL, NULL}};
    luaL_newmetatable(L, TYPE);
    cf_register(L, methods);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
