/* Purge table -> body, validated and written as JSON in one pass. The rules are those of the API's pages on purging by
 * URL, tag, host and prefix; what they do not forbid is not forbidden here. */
#include "binding/params.h"

#include <math.h>
#include <string.h>

#include "base/ascii.h"
#include "base/distinct.h"
#include "binding/error.h"
#include "base/json.h"
#include "binding/options.h"

#define MAX_TAG 1024
#define MAX_SEPARATORS 31
#define SORTED_HEADERS 16

/* Where in the table we are, for the messages: files[3].headers.Origin. */
struct place {
    lua_State *L;
    int arg;
    struct cf_buffer *body, *slots;
    const char *list;
    size_t item;               /* 0: the list itself */
    const char *part, *header; /* NULL: the item itself */
};

static const char *params_field_of(const struct place *place)
{
    lua_State *L = place->L;

    if (place->item == 0)
        return lua_pushstring(L, place->list), lua_tostring(L, -1);
    if (!place->part)
        return lua_pushfstring(L, "%s[%d]", place->list, (int)place->item);
    if (!place->header)
        return lua_pushfstring(L, "%s[%d].%s", place->list, (int)place->item, place->part);
    return lua_pushfstring(L, "%s[%d].%s.%s", place->list, (int)place->item, place->part, place->header);
}

static bool params_refuse(const struct place *place, const char *problem)
{
    const char *field = params_field_of(place);
    cf_error_push(place->L, "invalid_request", field, "%s: %s", field, problem);
    return false;
}

/* The value on the top of the stack. */
static int params_wrong_type(const struct place *place, const char *expected)
{
    const char *got = luaL_typename(place->L, -1);
    return luaL_argerror(place->L, place->arg,
                         lua_pushfstring(place->L, "%s: %s expected, got %s", params_field_of(place), expected, got));
}

/* ---- text ---- */

static bool params_write_raw(const struct place *place, const char *json, size_t len)
{
    return cf_buffer_add(place->body, json, len) == CF_BUFFER_OK ||
           params_refuse(place, "the body does not fit into memory");
}

static bool params_write_text(const struct place *place, const char *text, size_t len)
{
    switch (cf_json_string(place->body, text, len)) {
    case CF_JSON_OK:
        return true;
    case CF_JSON_CONTROL:
        return params_refuse(place, "must not hold control characters");
    case CF_JSON_NOT_UTF8:
        return params_refuse(place, "is not valid UTF-8");
    case CF_JSON_NO_MEMORY:
        break;
    }
    return params_refuse(place, "the body does not fit into memory");
}

/* ---- the rules, one function a kind of item: NULL, or what it breaks ---- */

static const char *params_url_problem(const char *url, size_t len)
{
    size_t scheme = len > 8 && cf_ascii_same(url, "https://", 8)  ? 8
                    : len > 7 && cf_ascii_same(url, "http://", 7) ? 7
                                                                  : 0;
    char next = url[scheme];
    return scheme && next != '/' && next != '?' && next != '#' && next != ':' && next
               ? NULL
               : "must be an absolute http(s) URL";
}

static const char *params_tag_problem(const char *tag, size_t len)
{
    size_t i;
    if (len < 1 || len > MAX_TAG)
        return "must have 1 to 1024 characters";
    for (i = 0; i < len; i++)
        if (tag[i] <= 0x20 || tag[i] >= 0x7f)
            return "must be printable ASCII without spaces";
    return NULL;
}

static const char *params_host_problem(const char *host, size_t len)
{
    if (len == 0)
        return "must not be empty";
    if (memchr(host, '/', len))
        return "must be a host name, without scheme and path";
    return memchr(host, ' ', len) ? "must be a host name, without spaces" : NULL;
}

static const char *params_prefix_problem(const char *prefix, size_t len)
{
    size_t i, separators = 0;

    if (len == 0 || prefix[0] == '/')
        return "must begin with a host name";
    for (i = 0; i < len; i++) {
        if (prefix[i] == '?' || prefix[i] == '#')
            return "must not have a query or fragment";
        if (separators == 0 && prefix[i] == '/' && prefix[i - 1] == ':' && i + 1 < len && prefix[i + 1] == '/')
            return "must not have a scheme";
        separators += prefix[i] == '/';
    }
    return separators > MAX_SEPARATORS ? "must not have more than 31 path separators" : NULL;
}

/* ---- items ---- */

/* The string on the top of the stack. */
static bool params_write_checked(const struct place *place, const char *(*problem_of)(const char *, size_t))
{
    size_t len;
    const char *text = lua_tolstring(place->L, -1, &len), *problem = problem_of(text, len);
    return problem ? params_refuse(place, problem) : params_write_text(place, text, len);
}

static bool params_write_string(struct place *place, const char *(*problem_of)(const char *, size_t))
{
    if (lua_type(place->L, -1) != LUA_TSTRING)
        params_wrong_type(place, "string");
    return params_write_checked(place, problem_of);
}

static bool params_write_tag(struct place *place)
{
    return params_write_string(place, params_tag_problem);
}

static bool params_write_host(struct place *place)
{
    return params_write_string(place, params_host_problem);
}

static bool params_write_prefix(struct place *place)
{
    return params_write_string(place, params_prefix_problem);
}

struct header {
    const char *name, *value; /* kept alive by the caller's table */
    size_t name_len, value_len;
};

static bool params_is_before(const struct header *a, const struct header *b)
{
    int order = memcmp(a->name, b->name, a->name_len < b->name_len ? a->name_len : b->name_len);
    return order < 0 || (order == 0 && a->name_len < b->name_len);
}

static bool params_write_header(struct place *place, const struct header *header, bool first)
{
    place->header = header->name;
    return (first || params_write_raw(place, ",", 1)) && params_write_text(place, header->name, header->name_len) &&
           params_write_raw(place, ":", 1) && params_write_text(place, header->value, header->value_len);
}

/* The table of headers on the top of the stack. They are written in the order of their names, so that equal tables are
 * equal bytes; a number of them that no cache key has is left in the table's own order. */
static bool params_write_headers(struct place *place)
{
    lua_State *L = place->L;
    struct header sorted[SORTED_HEADERS], header;
    size_t count = 0, i;

    place->part = "headers";
    if (!lua_istable(L, -1))
        params_wrong_type(place, "table");
    if (!params_write_raw(place, ",\"headers\":{", 12))
        return false;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            place->header = "(key)";
            lua_pop(L, 1);
            params_wrong_type(place, "string");
        }
        header.name = place->header = lua_tolstring(L, -2, &header.name_len);
        if (lua_type(L, -1) != LUA_TSTRING)
            params_wrong_type(place, "string");
        header.value = lua_tolstring(L, -1, &header.value_len);
        if (header.name_len == 0)
            return params_refuse(place, "a header's name must not be empty");
        for (i = count++; i > 0 && i < SORTED_HEADERS && params_is_before(&header, &sorted[i - 1]); i--)
            sorted[i] = sorted[i - 1];
        if (i < SORTED_HEADERS)
            sorted[i] = header;
    }
    if (count <= SORTED_HEADERS) {
        for (i = 0; i < count; i++)
            if (!params_write_header(place, &sorted[i], i == 0))
                return false;
    } else {
        for (i = 0, lua_pushnil(L); lua_next(L, -2); i++, lua_pop(L, 1)) {
            header.name = lua_tolstring(L, -2, &header.name_len);
            header.value = lua_tolstring(L, -1, &header.value_len);
            if (!params_write_header(place, &header, i == 0))
                return false;
        }
    }
    place->part = place->header = NULL;
    return params_write_raw(place, "}", 1);
}

/* lua_tostring ends at a NUL, and "files\0x" is not files. */
static bool params_is_key(lua_State *L, int index, const char *name)
{
    return lua_type(L, index) == LUA_TSTRING && lua_rawlen(L, index) == strlen(name) &&
           strcmp(lua_tostring(L, index), name) == 0;
}

/* The { url, headers } on the top of the stack. Its headers come last whatever the table's order. */
static bool params_write_pair(struct place *place)
{
    lua_State *L = place->L;
    int item = lua_gettop(L);
    bool has_headers = false;

    lua_pushnil(L); /* item + 1: url */
    lua_pushnil(L); /* item + 2: headers */
    for (lua_pushnil(L); lua_next(L, item);) {
        if (params_is_key(L, -2, "url")) {
            lua_replace(L, item + 1);
        } else if (params_is_key(L, -2, "headers")) {
            lua_replace(L, item + 2);
            has_headers = true;
        } else {
            place->part = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "(key)";
            return params_refuse(place, "unknown: a file is { url, headers }");
        }
    }
    lua_pushvalue(L, item + 1);
    place->part = "url";
    if (lua_isnil(L, -1))
        return params_refuse(place, "missing");
    if (lua_type(L, -1) != LUA_TSTRING)
        params_wrong_type(place, "string");
    if (!params_write_raw(place, "{\"url\":", 7) || !params_write_checked(place, params_url_problem))
        return false;
    place->part = NULL;
    lua_settop(L, item + 2);
    if (has_headers && !params_write_headers(place))
        return false;
    lua_settop(L, item);
    return params_write_raw(place, "}", 1);
}

static bool params_write_file(struct place *place)
{
    switch (lua_type(place->L, -1)) {
    case LUA_TSTRING:
        return params_write_checked(place, params_url_problem);
    case LUA_TTABLE:
        return params_write_pair(place);
    default:
        params_wrong_type(place, "string or table");
        return false;
    }
}

/* ---- the whole ---- */

static const struct kind {
    const char *name;
    bool (*write_item)(struct place *);
    cf_distinct_folded *folded;
} kinds[] = {{"purge_everything", NULL, NULL},
             {"files", params_write_file, cf_distinct_url},
             {"tags", params_write_tag, cf_distinct_whole},
             {"hosts", params_write_host, cf_distinct_whole},
             {"prefixes", params_write_prefix, cf_distinct_prefix}};

/* The number at `index` as text; lua_tostring would turn the key itself into a string, and lua_next be lost. */
static const char *params_key_text(lua_State *L, int index)
{
    lua_pushvalue(L, index);
    return lua_tostring(L, -1);
}

/* Which key of the list on the top of the stack is not one of 1 to `count`? False where there is none. */
static bool params_refuse_extra(struct place *place, size_t count)
{
    lua_State *L = place->L;
    size_t keys = 0;

    /* As many keys as items: one that is too many then leaves a hole, which is found when the items are read. */
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
        keys++;
    if (keys <= count)
        return false;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TNUMBER) {
            if (lua_type(L, -2) == LUA_TSTRING)
                lua_pushfstring(L, "is not a list: it has the key \"%s\"", lua_tostring(L, -2));
            else
                lua_pushfstring(L, "is not a list: it has a key that is a %s", luaL_typename(L, -2));
        } else if (lua_tonumber(L, -2) < 1 || floor(lua_tonumber(L, -2)) < lua_tonumber(L, -2)) {
            lua_pushfstring(L, "is not a list: it has the key %s", params_key_text(L, -2));
        } else if (lua_tonumber(L, -2) > (double)count) {
            lua_pushfstring(L, "has a hole: item %d is nil", (int)count + 1);
        } else {
            continue;
        }
        params_refuse(place, lua_tostring(L, -1));
        return true;
    }
    return false;
}

/* The list on the top of the stack. */
static bool params_write_list(struct place *place, const struct kind *kind, size_t most, struct cf_purge *purge)
{
    lua_State *L = place->L;
    int list = lua_gettop(L);
    size_t i, count;

    if (!lua_istable(L, -1))
        params_wrong_type(place, "table");
    count = lua_rawlen(L, -1);
    if (count > most) {
        params_refuse(place, lua_pushfstring(L, "has %d items, and one request holds %d", (int)count, (int)most));
        /* Whoever can split it needs to know. */
        lua_pushinteger(L, (lua_Integer)most);
        lua_setfield(L, -2, "limit");
        return false;
    }
    if (params_refuse_extra(place, count))
        return false;
    lua_settop(L, list);
    if (count == 0)
        return params_refuse(place, "must not be empty");
    if (!params_write_raw(place, "[", 1))
        return false;
    if (!cf_distinct_begin(place->slots, count))
        return params_refuse(place, "the body does not fit into memory");
    for (i = 1; i <= count; i++) {
        size_t start = place->body->len;

        place->item = i;
        lua_rawgeti(L, list, (int)i);
        if (lua_isnil(L, -1))
            return params_refuse(place, "the list has a hole here");
        if (!kind->write_item(place))
            return false;
        lua_settop(L, list);
        if (!cf_distinct_add(place->slots, place->body, start, kind->folded))
            place->body->len = start;
        else if (purge->items++, !params_write_raw(place, ",", 1))
            return false;
    }
    place->item = 0;
    place->body->data[place->body->len - 1] = ']';
    return true;
}

static bool params_write_everything(struct place *place, struct cf_purge *purge)
{
    if (!lua_isboolean(place->L, -1))
        params_wrong_type(place, "boolean");
    purge->items = 1;
    return lua_toboolean(place->L, -1) ? params_write_raw(place, "true", 4)
                                       : params_refuse(place, "must be true where it is given");
}

static const struct kind *params_kind_at(lua_State *L, int index)
{
    size_t i;
    for (i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (params_is_key(L, index, kinds[i].name))
            return &kinds[i];
    return NULL;
}

static bool params_read_id(struct place *place, const char **id)
{
    size_t len;
    const char *problem;

    if (lua_type(place->L, -1) != LUA_TSTRING)
        params_wrong_type(place, "string");
    *id = lua_tolstring(place->L, -1, &len);
    problem = cf_options_id_problem(*id, len);
    return problem ? params_refuse(place, problem) : true;
}

bool cf_params_write(lua_State *L, int index, int arg, size_t max_files, size_t max_items, struct cf_buffer *body,
                     struct cf_buffer *slots, struct cf_purge *purge)
{
    struct place place = {L, arg, body, slots, NULL, 0, NULL, NULL};
    const struct kind *kind = NULL;
    int slot;

    if (!lua_istable(L, index))
        luaL_argerror(L, arg, lua_pushfstring(L, "table expected, got %s", luaL_typename(L, index)));
    luaL_checkstack(L, 20, "purge");
    memset(purge, 0, sizeof *purge);
    body->len = 0;
    lua_pushnil(L);
    slot = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, index);) {
        const struct kind *found;
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;

        place.list = name && *name ? name : "params";
        if (!name)
            return params_refuse(&place, "a key is not a name: params is { files = ... }, not a list");
        found = params_kind_at(L, -2);
        if (found && kind) {
            cf_error_push(L, "invalid_request", name, "one kind a request, not both %s and %s", kind->name, name);
            return false;
        } else if (found) {
            kind = found;
            lua_replace(L, slot);
        } else if (params_is_key(L, -2, "zone_id") || params_is_key(L, -2, "environment_id")) {
            if (!params_read_id(&place, name[0] == 'z' ? &purge->zone_id : &purge->environment_id))
                return false;
            lua_pop(L, 1);
        } else {
            return params_refuse(&place, "no such parameter");
        }
    }
    if (kind)
        purge->bucket = kind->write_item == params_write_file ? CF_BUCKET_URLS : CF_BUCKET_REQUESTS;
    place.list = kind ? kind->name : "params";
    if (!kind)
        return params_refuse(&place, "one of purge_everything, files, tags, hosts, prefixes is needed");
    return params_write_raw(&place, "{\"", 2) && params_write_raw(&place, kind->name, strlen(kind->name)) &&
           params_write_raw(&place, "\":", 2) &&
           (kind->write_item
                ? params_write_list(&place, kind, kind->write_item == params_write_file ? max_files : max_items, purge)
                : params_write_everything(&place, purge)) &&
           params_write_raw(&place, "}", 1);
}

bool cf_params_write_key(lua_State *L, int kind_index, struct cf_buffer *body)
{
    struct place place = {L, 2, body, NULL, "item", 0, NULL, NULL};
    const struct kind *kind = params_kind_at(L, kind_index);
    size_t i, folded;

    body->len = 0;
    if (!kind || !kind->write_item) {
        luaL_argerror(L, kind_index, "files, tags, hosts or prefixes expected");
        return false;
    }
    if (!kind->write_item(&place))
        return false;
    folded = kind->folded(body->data, body->len);
    for (i = 0; i < folded; i++)
        body->data[i] = cf_ascii_lower(body->data[i]);
    return true;
}
