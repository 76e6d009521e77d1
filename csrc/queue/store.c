/* A store's handle in Lua: units go in, step moves them, take hands out what has ended. */
#define _GNU_SOURCE 1
#include "queue/store.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/generation.h"
#include "base/memory.h"
#include "queue/values.h"

/* ---- opening and closing ---- */

/* In a forked child: its parent's, which it neither ends nor frees. Kept, so that none of it counts as lost. */
static _Atomic(struct cf_store_own *) store_parents;

static void store_shut(struct cf_store *store, bool forget, const char *reason)
{
    struct cf_store_own *own = store->own;

    if (store->is_open && forget)
        own->next = atomic_exchange(&store_parents, own);
    else if (store->is_open)
        store->io->close(store);
    store->own = NULL;
    if (store->has_poller)
        cf_poller_close(&store->poller, forget);
    store->is_open = store->has_poller = false;
    cf_units_end_all(&store->units, reason);
}

/* A forked child has copies of the parent's descriptors, and none of its threads. */
static void store_notice_fork(struct cf_store *store)
{
    uint32_t generation = cf_generation();

    if (store->generation != generation) {
        store_shut(store, true, "forked");
        store->watched = -1;
        store->deadline = store->due = CF_POLLER_NEVER;
        store->generation = generation;
    }
}

static void store_arm(struct cf_store *store)
{
    if (store->has_poller)
        cf_poller_deadline(&store->poller, store->due < store->deadline ? store->due : store->deadline);
}

static bool store_need_poller(struct cf_store *store)
{
    if (!store->has_poller && !store->is_closed) {
        store->has_poller = cf_poller_open(&store->poller);
        if (!store->has_poller)
            cf_poller_close(&store->poller, false);
        else if (store->watched >= 0)
            cf_poller_watch(&store->poller, store->watched, CF_POLLER_READ, 0);
        store_arm(store);
    }
    return store->has_poller;
}

void cf_store_due(struct cf_store *store, int64_t at)
{
    store->due = at;
    store_arm(store);
}

static void store_free(struct cf_store *store)
{
    store_notice_fork(store);
    store->is_closed = true;
    store_shut(store, false, "closed");
    cf_work_free(store->draft);
    store->draft = NULL;
}

/* ---- methods ---- */

static struct cf_store *store_check(lua_State *L)
{
    const struct cf_store_io *io = cf_to_address(L, lua_upvalueindex(1));
    struct cf_store *store = luaL_checkudata(L, 1, io->type);

    if (!store->is_closed)
        store_notice_fork(store);
    return store;
}

static int store_fail(lua_State *L, const char *problem, const char *reason)
{
    lua_pushnil(L);
    lua_pushstring(L, problem);
    lua_pushstring(L, reason);
    return 3;
}

/* submit(commands) -> id, or nil, a sentence, a reason. */
static int store_submit(lua_State *L)
{
    struct cf_store *store = store_check(L);
    struct cf_work *work;
    struct cf_unit *unit;
    char problem[CF_WORK_PROBLEM] = "";

    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    luaL_argcheck(L, lua_rawlen(L, 2) > 0, 2, "no command");
    if (store->is_closed)
        return store_fail(L, "the store is closed", "closed");
    cf_work_free(store->draft);
    store->draft = work = cf_work_new();
    if (!work)
        return luaL_error(L, "not enough memory");
    cf_values_read(L, 2, 2, &work->commands);
    if (!store_need_poller(store))
        return store_fail(L, "out of descriptors or memory", "memory");
    if (!store->is_open && !store->io->open(store, problem))
        return store_fail(L, problem, "io");
    store->is_open = true;
    unit = cf_units_new(&store->units, work);
    if (!unit)
        return luaL_error(L, "not enough memory");
    store->draft = NULL;
    store->io->submit(store, work);
    lua_pushinteger(L, (lua_Integer)unit->id);
    return 1;
}

static int store_push_counts(lua_State *L, const struct cf_store *store)
{
    lua_pushinteger(L, (lua_Integer)store->units.running.count);
    lua_pushinteger(L, (lua_Integer)store->units.ended.count);
    return 2;
}

static void store_turn(struct cf_store *store, int64_t timeout)
{
    struct cf_poller_event events[CF_POLLER_BATCH];
    int count;

    if (!store->has_poller)
        return;
    cf_poller_ring(&store->poller, false);
    count = cf_poller_wait(&store->poller, events, store->units.ended.count > 0 ? 0 : timeout);
    if (store->is_open)
        store->io->step(store, events, count);
    /* Who steps may leave some for the next time. */
    cf_poller_ring(&store->poller, store->units.ended.count > 0);
}

/* step(timeout) -> in flight, ended. */
static int store_step(lua_State *L)
{
    struct cf_store *store = store_check(L);
    lua_Number seconds = luaL_optnumber(L, 2, HUGE_VAL);

    store_turn(store, seconds > 1e9 ? CF_POLLER_NEVER : seconds > 0 ? (int64_t)(seconds * 1e6) : 0);
    return store_push_counts(L, store);
}

/* Of the unit at the address, with `make`: what take returns. */
static int store_push_ending(lua_State *L)
{
    const struct cf_unit *unit = cf_to_address(L, 1);

    lua_pushinteger(L, (lua_Integer)unit->id);
    if (!unit->reason && unit->work) {
        cf_values_push(L, &unit->work->results);
        return 2;
    }
    lua_pushnil(L);
    lua_pushvalue(L, 2);
    lua_pushstring(L, unit->work && unit->work->problem[0] ? unit->work->problem : unit->reason);
    lua_pushstring(L, unit->reason);
    if (lua_isnil(L, 2))
        lua_remove(L, -3);
    else
        lua_call(L, 2, 1);
    return lua_gettop(L) - 2;
}

/* take(id, make) -> the id and the results, or the id, nil, a sentence and a reason; with `make` what it makes of these
 * two. Nothing where nothing has ended. Where it raises, nothing has been taken. Making them may run a finalizer that
 * comes back to the store: the unit is hidden from it. */
static int store_take(lua_State *L)
{
    struct cf_store *store = store_check(L);
    struct cf_unit *unit;

    lua_settop(L, 3);
    lua_pushcfunction(L, store_push_ending);
    unit = lua_isnil(L, 2) ? store->units.ended.first : cf_units_find(&store->units, (uint64_t)luaL_checknumber(L, 2));
    if (!unit || !unit->has_ended)
        return 0;
    cf_push_address(L, unit);
    lua_pushvalue(L, 3);
    cf_units_hide(&store->units, unit);
    if (lua_pcall(L, 2, LUA_MULTRET, 0) != LUA_OK) {
        cf_units_show(&store->units, unit);
        return lua_error(L);
    }
    cf_units_drop(&store->units, unit);
    return lua_gettop(L) - 3;
}

/* cancel(id) -> true: it ends as cancelled. The store may carry it out all the same. */
static int store_cancel(lua_State *L)
{
    struct cf_store *store = store_check(L);
    struct cf_unit *unit = cf_units_find(&store->units, (uint64_t)luaL_checknumber(L, 2));
    bool is_running = unit && !unit->has_ended;

    if (is_running)
        cf_units_end(&store->units, unit, NULL, "cancelled");
    lua_pushboolean(L, is_running);
    return 1;
}

/* watch(fd): it makes our own descriptor readable, and ends a wait. nil: no more. */
static int store_watch(lua_State *L)
{
    struct cf_store *store = store_check(L);
    int fd = lua_isnoneornil(L, 2) ? -1 : (int)luaL_checkinteger(L, 2);

    if (fd != store->watched) {
        if (store->watched >= 0 && store->has_poller)
            cf_poller_watch(&store->poller, store->watched, 0, 0);
        store->watched = fd;
        if (fd >= 0 && store->has_poller)
            cf_poller_watch(&store->poller, fd, CF_POLLER_READ, 0);
    }
    return 0;
}

static int store_file_number(lua_State *L)
{
    struct cf_store *store = store_check(L);
    int fd = store_need_poller(store) ? cf_poller_show(&store->poller) : -1;

    if (fd < 0)
        lua_pushnil(L);
    else
        lua_pushinteger(L, fd);
    return 1;
}

/* deadline(seconds): the descriptor becomes readable then; nil for no such time. */
static int store_set_deadline(lua_State *L)
{
    struct cf_store *store = store_check(L);
    lua_Number seconds = luaL_optnumber(L, 2, HUGE_VAL);

    store->deadline = seconds > 1e9 ? CF_POLLER_NEVER : cf_clock_now() + (int64_t)(seconds * 1e6);
    store_need_poller(store);
    store_arm(store);
    return 0;
}

static int store_wake(lua_State *L)
{
    struct cf_store *store = store_check(L);
    if (store_need_poller(store))
        cf_poller_ring(&store->poller, true);
    return 0;
}

static int store_stats(lua_State *L)
{
    struct cf_store *store = store_check(L);
    const struct {
        const char *name;
        uint64_t value;
    } fields[] = {{"submitted", store->units.last_id},
                  {"finished", store->units.finished},
                  {"in_flight", store->units.running.count},
                  {"done", store->units.ended.count}};
    size_t i;

    lua_createtable(L, 0, (int)(sizeof fields / sizeof *fields));
    for (i = 0; i < sizeof fields / sizeof *fields; i++) {
        lua_pushinteger(L, (lua_Integer)fields[i].value);
        lua_setfield(L, -2, fields[i].name);
    }
    return 1;
}

static int store_close(lua_State *L)
{
    struct cf_store *store = store_check(L);
    store_free(store);
    return 0;
}

static int store_collect(lua_State *L)
{
    struct cf_store *store = store_check(L);

    store_free(store);
    if (store->is_busy)
        return 0;
    /* Nobody comes back to a finalizer: what has ended is told of now. */
    store->is_busy = true;
    cf_get_uservalue(L, 1);
    cf_rawgetfield(L, -1, "settle");
    if (lua_isfunction(L, -1))
        lua_pcall(L, 0, 0, 0);
    store->is_busy = false;
    cf_units_free(&store->units);
    cf_wipe_free(store->target);
    store->target = NULL;
    return 0;
}

/* settle(function): it is called when the handle is collected, all that was in flight having ended. */
static int store_settle(lua_State *L)
{
    store_check(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    cf_get_uservalue(L, 1);
    lua_insert(L, 2);
    lua_setfield(L, 2, "settle");
    return 0;
}

static int store_to_string(lua_State *L)
{
    struct cf_store *store = store_check(L);
    lua_pushfstring(L, "%s (%s): %p", store->io->type, store->is_closed ? "closed" : "open", (void *)store);
    return 1;
}

/* ---- making one ---- */

int cf_store_push_new(lua_State *L, const struct cf_store_io *io, const char *name, double otherwise)
{
    size_t len;
    const char *target = luaL_checklstring(L, 1, &len);
    lua_Number seconds = otherwise;
    struct cf_store *store;

    luaL_argcheck(L, strlen(target) == len && len > 0, 1, "is empty or has a NUL");
    if (!lua_isnoneornil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
        cf_rawgetfield(L, 2, name);
        if (!lua_isnil(L, -1))
            seconds = luaL_checknumber(L, -1);
    }
    luaL_argcheck(L, seconds >= 0 && seconds <= 1e6, 2, name);
    lua_settop(L, 1);
    store = lua_newuserdata(L, sizeof *store);
    memset(store, 0, sizeof *store);
    store->io = io;
    store->watched = -1;
    store->deadline = store->due = CF_POLLER_NEVER;
    store->seconds = (double)seconds;
    /* Before it has a finalizer, which looks into the table: memory may be short for that. */
    lua_newtable(L);
    cf_set_uservalue(L, -2);
    luaL_getmetatable(L, io->type);
    lua_setmetatable(L, -2);
    store->generation = cf_generation();
    store->target = cf_strndup(target, len);
    return store->target ? 1 : luaL_error(L, "not enough memory");
}

void cf_store_register(lua_State *L, const struct cf_store_io *io, lua_CFunction open_function)
{
    static const luaL_Reg methods[] = {{"submit", store_submit},
                                       {"step", store_step},
                                       {"take", store_take},
                                       {"cancel", store_cancel},
                                       {"watch", store_watch},
                                       {"fileno", store_file_number},
                                       {"deadline", store_set_deadline},
                                       {"wake", store_wake},
                                       {"stats", store_stats},
                                       {"settle", store_settle},
                                       {"close", store_close},
                                       {"__close", store_close},
                                       {"__gc", store_collect},
                                       {"__tostring", store_to_string},
                                       {NULL, NULL}};
    const luaL_Reg *method;

    luaL_newmetatable(L, io->type);
    for (method = methods; method->name; method++) {
        cf_push_address(L, io);
        lua_pushcclosure(L, method->func, 1);
        lua_setfield(L, -2, method->name);
    }
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushcfunction(L, open_function);
    lua_setfield(L, -2, "open");
}
