/* A purge table, from bytes to the body and back: a JSON parser must read what went in, by rules that params.lua states
 * anew. The input is a list of instructions, a line each, which params.lua turns into a table: see `build` there. */
#include "state.h"

#include "../../csrc/binding/params.h"

static lua_State *L;
static struct cf_buffer body = {NULL, 0, 0, 1 << 22}, slots = {NULL, 0, 0, 1 << 22};

/* write(params, max_files, max_items) -> body, items, bucket, zone_id, environment_id, or nil and the error. */
static int write(lua_State *state)
{
    struct cf_purge purge;
    size_t max_files = (size_t)luaL_checkinteger(state, 2), max_items = (size_t)luaL_checkinteger(state, 3);
    int kilobytes;

    lua_settop(state, 1);
    kilobytes = lua_gc(state, LUA_GCCOUNT) * 1024 + lua_gc(state, LUA_GCCOUNTB);
    lua_gc(state, LUA_GCSTOP);
    if (!cf_params_write(state, 1, 1, max_files, max_items, &body, &slots, &purge)) {
        lua_gc(state, LUA_GCRESTART);
        lua_pushnil(state);
        lua_insert(state, -2);
        return 2;
    }
    CHECK(lua_gc(state, LUA_GCCOUNT) * 1024 + lua_gc(state, LUA_GCCOUNTB) == kilobytes);
    lua_gc(state, LUA_GCRESTART);
    lua_pushlstring(state, body.data, body.len);
    lua_pushinteger(state, (lua_Integer)purge.items);
    lua_pushstring(state, purge.bucket == CF_BUCKET_URLS ? "urls" : "requests");
    lua_pushstring(state, purge.zone_id);
    lua_pushstring(state, purge.environment_id);
    return 5;
}

/* key(kind, item): as the client's method of that name. */
static int key(lua_State *state)
{
    lua_settop(state, 2);
    if (cf_params_write_item(state, 1, &body)) {
        cf_params_fold(state, 1, body.data, body.len);
        lua_pushlstring(state, body.data, body.len);
    } else {
        lua_pushnil(state);
    }
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!L) {
        L = open_lua("params");
        lua_register(L, "write", write);
        lua_register(L, "key", key);
    }
    lua_getglobal(L, "params");
    lua_pushlstring(L, (const char *)data, size);
    call_or_die(L, 1);
    return 0;
}
