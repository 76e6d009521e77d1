/* How a request ended -> result or error table. */
#define _GNU_SOURCE 1
#include "binding/result.h"

#include <string.h>

#include "binding/decoder.h"
#include "binding/error.h"

/* ---- pieces ---- */

static void result_set_string(lua_State *L, const char *name, const char *text)
{
    if (text && *text) {
        lua_pushstring(L, text);
        lua_setfield(L, -2, name);
    }
}

static void result_set_integer(lua_State *L, const char *name, lua_Integer value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

static void result_set_seconds(lua_State *L, const char *name, int64_t microseconds)
{
    lua_pushnumber(L, (lua_Number)microseconds / 1e6);
    lua_setfield(L, -2, name);
}

/* A server may repeat the credential, and errors are logged: each place where the string on the top has it becomes
 * "***". */
static void result_mask(lua_State *L, const char *secret)
{
    size_t size = secret ? strlen(secret) : 0, len;
    const char *text = lua_tolstring(L, -1, &len), *found = size ? memmem(text, len, secret, size) : NULL;
    luaL_Buffer masked;

    if (!found)
        return;
    luaL_buffinit(L, &masked);
    for (; found; found = memmem(text, len, secret, size)) {
        luaL_addlstring(&masked, text, (size_t)(found - text));
        luaL_addstring(&masked, "***");
        len -= (size_t)(found - text) + size;
        text = found + size;
    }
    luaL_addlstring(&masked, text, len);
    luaL_pushresult(&masked);
    lua_replace(L, -2);
}

/* Copies a string member of the table at `from` to the table on the top. */
static void result_copy_string(lua_State *L, const struct cf_ending *ending, int from, const char *name)
{
    cf_rawgetfield(L, from, name);
    if (lua_type(L, -1) == LUA_TSTRING) {
        result_mask(L, ending->secrets[0]);
        result_mask(L, ending->secrets[1]);
        lua_setfield(L, -2, name);
    } else {
        lua_pop(L, 1);
    }
}

/* A request has 500 items at most. A body of a megabyte may have 500,000 of these, which would hold up the host. */
#define MOST_INFOS 1000
/* So many errors of an error_chain are kept, and of a chain within it half of that. */
#define MOST_LINKS 8

static void result_push_infos(lua_State *L, const struct cf_ending *ending, int most, int links);

/* Pushes { code, message, documentation_url, source = { pointer }, error_chain } made of the value on the top, a member
 * of errors or messages, or of another's error_chain. */
static void result_push_info(lua_State *L, const struct cf_ending *ending, int links)
{
    int from = lua_gettop(L), info = from + 1;

    lua_createtable(L, 0, 2);
    if (lua_type(L, from) == LUA_TSTRING) {
        lua_pushvalue(L, from);
        result_mask(L, ending->secrets[0]);
        result_mask(L, ending->secrets[1]);
        lua_setfield(L, info, "message");
    }
    if (!lua_istable(L, from))
        return;
    cf_rawgetfield(L, from, "code");
    if (lua_type(L, -1) == LUA_TNUMBER) {
        lua_Number code = lua_tonumber(L, -1);
        lua_settop(L, info);
        /* lua-cjson reads every number as a float, which 5.3 and 5.4 would show as 5.0. */
        if (code > -1e15 && code < 1e15 && (lua_Number)(int64_t)code == code)
            result_set_integer(L, "code", (lua_Integer)code);
    }
    lua_settop(L, info);
    result_copy_string(L, ending, from, "message");
    result_copy_string(L, ending, from, "documentation_url");
    cf_rawgetfield(L, from, "source");
    if (lua_istable(L, -1)) {
        lua_newtable(L);
        result_copy_string(L, ending, -2, "pointer");
        lua_setfield(L, info, "source");
    }
    lua_settop(L, info);
    cf_rawgetfield(L, from, "error_chain");
    if (lua_istable(L, -1) && lua_rawlen(L, -1) > 0 && links > 0) {
        result_push_infos(L, ending, links, links / 2);
        lua_setfield(L, info, "error_chain");
    }
    lua_settop(L, info);
}

/* Pushes a list of at most `most` infos, made of the list on the top; an empty one where that is none. */
static void result_push_infos(lua_State *L, const struct cf_ending *ending, int most, int links)
{
    int from = lua_gettop(L), i, count = lua_istable(L, from) ? (int)lua_rawlen(L, from) : 0;

    luaL_checkstack(L, 10, "result");
    lua_newtable(L);
    for (i = 1; i <= count && i <= most; i++) {
        lua_rawgeti(L, from, i);
        result_push_info(L, ending, links);
        lua_rawseti(L, from + 1, i);
        lua_settop(L, from + 1);
    }
}

/* Sets field `name` of the table at `to` to the list that the envelope has under it; an empty one where it has none. */
static void result_set_infos(lua_State *L, const struct cf_ending *ending, int envelope, int to, const char *name)
{
    int top = lua_gettop(L);

    if (envelope)
        cf_rawgetfield(L, envelope, name);
    else
        lua_pushnil(L);
    result_push_infos(L, ending, MOST_INFOS, MOST_LINKS);
    lua_setfield(L, to, name);
    lua_settop(L, top);
}

/* ---- results ---- */

/* An answer that accepts may have errors all the same: they stand behind the messages of the result. */
static void result_add_errors(lua_State *L, const struct cf_ending *ending, int envelope, int result)
{
    int top = lua_gettop(L), i, count;

    cf_rawgetfield(L, result, "messages");
    cf_rawgetfield(L, envelope, "errors");
    result_push_infos(L, ending, MOST_INFOS, MOST_LINKS);
    count = (int)lua_rawlen(L, top + 3);
    for (i = 1; i <= count; i++) {
        lua_rawgeti(L, top + 3, i);
        lua_rawseti(L, top + 1, (int)lua_rawlen(L, top + 1) + 1);
    }
    lua_settop(L, top);
}

/* The id on the top; the list of ids stands behind the result. */
static void result_set_id(lua_State *L, const struct cf_ending *ending, int result)
{
    result_mask(L, ending->secrets[0]);
    result_mask(L, ending->secrets[1]);
    lua_pushvalue(L, -1);
    lua_setfield(L, result, "id");
    lua_rawseti(L, result + 1, 1);
}

/* `envelope` is 0 where the id was read without a decoder. */
static void result_push_result(lua_State *L, const struct cf_ending *ending, int envelope, const char *id,
                               size_t id_len)
{
    int result;

    lua_createtable(L, 0, 8);
    result = lua_gettop(L);
    lua_createtable(L, 1, 0);
    if (envelope)
        cf_rawgetfield(L, envelope, "result");
    if (!envelope) {
        lua_pushlstring(L, id, id_len);
        result_set_id(L, ending, result);
    } else if (lua_istable(L, -1) && ending->body_len == 0) {
        /* A fetch returns the result as it came, and the count of its pages. */
        lua_setfield(L, result, "result");
        cf_rawgetfield(L, envelope, "result_info");
        lua_setfield(L, result, "result_info");
    } else if (lua_istable(L, -1)) {
        cf_rawgetfield(L, -1, "id");
        if (lua_type(L, -1) == LUA_TSTRING)
            result_set_id(L, ending, result);
    }
    lua_settop(L, result + 1);
    lua_setfield(L, result, "ids");
    result_set_integer(L, "accepted", (lua_Integer)ending->asked);
    result_set_integer(L, "requests", 1);
    result_set_integer(L, "attempts", ending->attempts);
    result_set_seconds(L, "elapsed", ending->elapsed);
    result_set_string(L, "ray_id", ending->response->ray_id);
    result_set_infos(L, ending, envelope, result, "messages");
    if (envelope)
        result_add_errors(L, ending, envelope, result);
}

/* ---- errors ---- */

static bool result_is_success(int status)
{
    return status >= 200 && status < 300;
}

/* The id behind `marker` in the path, pushed; false where there is none. */
static bool result_push_id(lua_State *L, const char *path, const char *marker)
{
    const char *id = strstr(path, marker);
    if (!id)
        return false;
    id += strlen(marker);
    lua_pushlstring(L, id, strcspn(id, "/"));
    return true;
}

/* The items are read back from the body that was sent: that costs nothing unless it is needed. */
static void result_set_remaining(lua_State *L, const struct cf_ending *ending, const char *zone_id)
{
    int top = lua_gettop(L);

    if (!cf_decoder_push(L, ending->body, ending->body_len))
        return;
    if (result_push_id(L, ending->path, "/zones/")) {
        if (zone_id && strcmp(zone_id, lua_tostring(L, -1)) == 0)
            lua_pop(L, 1);
        else
            lua_setfield(L, -2, "zone_id");
    }
    if (result_push_id(L, ending->path, "/environments/"))
        lua_setfield(L, -2, "environment_id");
    lua_setfield(L, top, "remaining");
}

/* JSON that is no envelope has words of its own: they become the one error. */
static void result_set_words(lua_State *L, const struct cf_ending *ending, int envelope, int error)
{
    static const char *const names[] = {"error", "message", "detail", "title"};
    size_t i;

    if (!envelope)
        return;
    cf_rawgetfield(L, envelope, "errors");
    cf_rawgetfield(L, envelope, "error");
    if (!lua_istable(L, -1)) {
        lua_settop(L, error + 1);
        lua_createtable(L, 0, 2);
        cf_rawgetfield(L, envelope, "code");
        lua_setfield(L, -2, "code");
        for (i = sizeof names / sizeof *names; i-- > 0;) {
            cf_rawgetfield(L, envelope, names[i]);
            if (lua_type(L, -1) == LUA_TSTRING)
                lua_setfield(L, -2, "message");
            else
                lua_pop(L, 1);
        }
    }
    if (!lua_istable(L, error + 1)) {
        result_push_info(L, ending, MOST_LINKS);
        lua_pushnil(L);
        if (lua_next(L, -2)) {
            lua_pop(L, 2);
            cf_rawgetfield(L, error, "errors");
            lua_insert(L, -2);
            lua_rawseti(L, -2, 1);
        }
    }
    lua_settop(L, error);
}

/* Pushes the words of the info on the top, and behind them those of its chain; an empty string for none. */
static void result_push_message(lua_State *L)
{
    int info = lua_gettop(L), i, count;

    luaL_checkstack(L, 10, "result");
    cf_rawgetfield(L, info, "message");
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushliteral(L, "");
    }
    cf_rawgetfield(L, info, "error_chain");
    count = lua_istable(L, -1) ? (int)lua_rawlen(L, -1) : 0;
    for (i = 1; i <= count; i++) {
        lua_settop(L, info + 2);
        lua_rawgeti(L, info + 2, i);
        result_push_message(L);
        if (lua_rawlen(L, -1) == 0)
            continue;
        lua_pushfstring(L, "%s%s%s", lua_tostring(L, info + 1), lua_rawlen(L, info + 1) ? ": " : "",
                        lua_tostring(L, -1));
        lua_replace(L, info + 1);
    }
    lua_settop(L, info + 1);
}

/* Pushes the error that the others stand beside: the first one that says what was refused, or else the first; nil for
 * none. */
static void result_push_main_error(lua_State *L, int error)
{
    int list, i, count;
    bool says;

    cf_rawgetfield(L, error, "errors");
    list = lua_gettop(L);
    count = (int)lua_rawlen(L, list);
    for (i = 1; i <= count; i++) {
        lua_rawgeti(L, list, i);
        cf_rawgetfield(L, -1, "code");
        says = lua_isnil(L, -1) || !cf_verdict_is_vague((long)lua_tointeger(L, -1));
        lua_settop(L, list + 1);
        if (says)
            return;
        lua_settop(L, list);
    }
    lua_rawgeti(L, list, 1);
}

static void result_set_message(lua_State *L, const struct cf_ending *ending, int envelope, int error)
{
    int status = ending->response->status;
    const char *text = NULL;

    result_push_main_error(L, error);
    if (lua_istable(L, -1)) {
        cf_rawgetfield(L, -1, "code");
        lua_setfield(L, error, "code");
        result_push_message(L);
        text = lua_rawlen(L, -1) > 0 ? lua_tostring(L, -1) : NULL;
    }
    if (ending->failure == CF_TOO_BIG)
        lua_pushliteral(L, "the answer is larger than 1 MiB, or its headers than 256 KiB");
    else if (ending->failure == CF_CUT_SHORT)
        lua_pushfstring(L, "the answer was cut short: %s", ending->error);
    else if (ending->failure != CF_OK)
        lua_pushstring(L, ending->error);
    else if (text)
        lua_pushstring(L, text);
    else if (!envelope)
        lua_pushfstring(L, "HTTP %d with a body that is no JSON envelope", status);
    else if (result_is_success(status))
        lua_pushfstring(L, "HTTP %d, but success is not true", status);
    else
        lua_pushfstring(L, "HTTP %d", status);
    cf_error_set_message(L, error);
    lua_settop(L, error);
}

static void result_push_error(lua_State *L, const struct cf_ending *ending, int envelope, const char *zone_id)
{
    const struct cf_response *response = ending->response;
    const char *kind = cf_verdict_kind(ending->failure, ending->verdict);
    bool is_none = ending->failure == CF_OK && result_is_success(response->status) && !envelope;
    int error;

    /* The decoder has the last word where it and the verdict do not agree on what is JSON. */
    cf_error_push(L, is_none ? "bad_response" : kind ? kind : "api", NULL, "%s", "");
    error = lua_gettop(L);
    if (!is_none && (ending->failure == CF_OK || ending->failure == CF_HELD_BACK))
        result_set_string(L, "about", cf_verdict_about(ending->verdict->about));
    result_set_infos(L, ending, envelope, error, "errors");
    result_set_words(L, ending, envelope, error);
    result_set_infos(L, ending, envelope, error, "messages");
    result_set_message(L, ending, envelope, error);
    if (response->status)
        result_set_integer(L, "status", response->status);
    result_set_string(L, "ray_id", response->ray_id);
    result_set_integer(L, "attempts", ending->attempts);
    result_set_seconds(L, "elapsed", ending->elapsed);
    if (ending->retry_after >= 0)
        result_set_seconds(L, "retry_after", ending->retry_after);
    lua_pushboolean(L, ending->retryable);
    lua_setfield(L, error, "retryable");
    result_set_remaining(L, ending, zone_id);
}

int cf_result_push(lua_State *L, const struct cf_ending *ending, const char *zone_id)
{
    static const char bom[] = "\xef\xbb\xbf";
    const struct cf_buffer *body = &ending->response->body;
    int envelope = 0, top = lua_gettop(L);
    size_t start = body->len >= 3 && memcmp(body->data, bom, 3) == 0 ? 3 : 0;
    const char *json = body->len ? body->data + start : "";

    luaL_checkstack(L, 20, "result");
    if (ending->failure == CF_OK && result_is_success(ending->response->status) && ending->body_len > 0 &&
        ending->verdict->id_at > 0) {
        result_push_result(L, ending, 0, body->data + ending->verdict->id_at, ending->verdict->id_len);
        return 1;
    }
    if (ending->failure == CF_OK && cf_decoder_push(L, json, body->len - start)) {
        envelope = lua_gettop(L);
        cf_rawgetfield(L, envelope, "success");
        if (result_is_success(ending->response->status) && lua_isboolean(L, -1) && lua_toboolean(L, -1)) {
            result_push_result(L, ending, envelope, NULL, 0);
            lua_replace(L, top + 1);
            lua_settop(L, top + 1);
            return 1;
        }
    }
    result_push_error(L, ending, envelope, zone_id);
    lua_insert(L, top + 1);
    lua_settop(L, top + 1);
    lua_pushnil(L);
    lua_insert(L, top + 1);
    return 2;
}
