/* The functions that run protected: each allocates in Lua, may raise, and may run a finalizer that comes back to the
 * client, where an ending, a draft or an event must not be lost. */
#include "binding/client_private.h"

#include <string.h>

#include "binding/event.h"
#include "binding/protect.h"
#include "binding/result.h"

/* The functions that run protected, made once: on Lua 5.1 each lua_pushcfunction makes one more, which may collect and
 * may raise, where nothing may come between. */
enum taking_ready { EMIT_ONE, PUSH_ENDING, REPORT_END, COPY_DRAFT, READY };

static const char taking_ready_keys[READY];

static void taking_push_ready(lua_State *L, enum taking_ready which)
{
    cf_registry_get(L, &taking_ready_keys[which]);
}

/* ---- events ---- */

static int taking_emit_one(lua_State *L)
{
    cf_get_uservalue(L, 1);
    cf_rawgetfield(L, 3, "on_event");
    cf_event_push(L, cf_to_address(L, 2));
    lua_call(L, 1, 0);
    return 0;
}

/* An error raised by the handler breaks nothing, nor does one that memory was too short to tell of; the handler may
 * call the client again. */
void cf_taking_emit(lua_State *L, struct client *client)
{
    struct cf_event event;
    int top = lua_gettop(L);

    while (client->has_events && client->engine && lua_checkstack(L, 10) &&
           cf_engine_next_event(client->engine, &event)) {
        taking_push_ready(L, EMIT_ONE);
        lua_pushvalue(L, 1);
        cf_push_address(L, &event);
        lua_pcall(L, 2, 0, 0);
        lua_settop(L, top);
    }
}

/* ---- taking ---- */

struct taking {
    struct client *client;
    struct cf_transfer *transfer;
};

/* Leaves the id and what cf_result_push leaves. */
static int taking_push_ending(lua_State *L)
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
int cf_taking_take(lua_State *L, struct client *client, uint64_t id, bool known)
{
    struct taking taking = {client, NULL};
    int top = lua_gettop(L), status;

    luaL_checkstack(L, 8, "result");
    taking_push_ready(L, PUSH_ENDING);
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

static int taking_do_nothing(lua_State *L)
{
    (void)L;
    return 0;
}

void cf_taking_heed(lua_State *L)
{
    if (lua_gethook(L) && lua_checkstack(L, 2)) {
        lua_pushcfunction(L, taking_do_nothing);
        lua_call(L, 0, 0);
    }
}

/* The same, for one whose request nobody would take after it: false, and what the hook raised on the top. */
static bool taking_is_undisturbed(lua_State *L)
{
    if (!lua_gethook(L) || !lua_checkstack(L, 2))
        return true;
    lua_pushcfunction(L, taking_do_nothing);
    return lua_pcall(L, 0, 0, 0) == LUA_OK;
}

static void taking_give_up(struct client *client, uint64_t id)
{
    struct cf_transfer *transfer;

    if (!client->engine)
        return;
    cf_engine_cancel(client->engine, id, false);
    transfer = cf_engine_take(client->engine, id);
    if (transfer)
        cf_engine_release(client->engine, transfer);
}

int cf_taking_wait(lua_State *L, struct client *client, uint64_t id)
{
    int count;

    if (id == 0)
        return cf_client_push_failure(L);
    cf_taking_emit(L, client);
    while ((count = cf_taking_take(L, client, id, false)) == 0 && client->engine &&
           cf_engine_in_flight(client->engine) > 0) {
        if (!taking_is_undisturbed(L)) {
            taking_give_up(client, id);
            return lua_error(L);
        }
        cf_engine_step(client->engine, CF_NEVER);
        cf_taking_emit(L, client);
    }
    if (count == 0)
        return luaL_error(L, "an on_event handler took the ending of the purge that is waited for");
    return count - 1;
}

/* ---- copying the draft ---- */

/* The draft that copy_draft copies into Lua. */
struct taking_lent {
    struct cf_draft draft;
    struct cf_submission submission;
};

static int taking_copy_draft(lua_State *L)
{
    const struct taking_lent *lent = cf_to_address(L, 1);
    const struct cf_submission *submission = &lent->submission;

    lua_pushstring(L, submission->url + submission->path_at);
    lua_pushlstring(L, lent->draft.body.data, lent->draft.body.len);
    lua_pushinteger(L, (lua_Integer)submission->items);
    return 3;
}

/* Calls the function that copies the draft, with the draft. While that makes strings Lua may collect, and a finalizer
 * come back to the client, to write another draft or to close: this one is nobody else's meanwhile. */
int cf_taking_copy(lua_State *L, struct client *client, const struct cf_submission *submission)
{
    struct taking_lent lent = {client->draft, *submission};
    int top = lua_gettop(L), status;

    taking_push_ready(L, COPY_DRAFT);
    cf_draft_init(&client->draft);
    cf_push_address(L, &lent);
    status = lua_pcall(L, 1, LUA_MULTRET, 0);
    cf_draft_wipe(client->closed ? &lent.draft : &client->draft);
    if (!client->closed) {
        client->draft = lent.draft;
        cf_draft_forget(&client->draft);
    }
    return status == LUA_OK ? lua_gettop(L) - top : lua_error(L);
}

/* ---- the end ---- */

/* Tells the Lua side of the end. */
static int taking_report_end(lua_State *L)
{
    cf_get_uservalue(L, 1);
    cf_rawgetfield(L, 2, "settle");
    if (lua_isfunction(L, -1))
        lua_call(L, 0, 0);
    return 0;
}

int cf_taking_report_end(lua_State *L)
{
    int top = lua_gettop(L), status;

    taking_push_ready(L, REPORT_END);
    lua_pushvalue(L, 1);
    status = lua_pcall(L, 1, 0, 0);
    lua_settop(L, top);
    return status;
}

void cf_taking_open(lua_State *L)
{
    static const lua_CFunction ready[READY] = {taking_emit_one, taking_push_ending, taking_report_end,
                                               taking_copy_draft};
    int i;

    for (i = 0; i < READY; i++) {
        lua_pushcfunction(L, ready[i]);
        cf_registry_set(L, &taking_ready_keys[i]);
    }
}
