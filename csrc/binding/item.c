/* One item of a purge table -> JSON, checked and written in one pass. */
#include "binding/item.h"

#include <string.h>

#include "base/json.h"
#include "base/rules.h"
#include "binding/error.h"

/* More headers than any cache key has. */
#define SORTED_HEADERS 16
#define LONGEST_NAME 100

/* A name that the caller chose; a long one would bury the message. */
static const char *item_cut(lua_State *L, const char *name)
{
    size_t len = strlen(name);

    if (len <= LONGEST_NAME)
        return name;
    for (len = LONGEST_NAME; len > 0 && (name[len] & 0xc0) == 0x80; len--)
        continue;
    lua_pushlstring(L, name, len);
    return lua_pushfstring(L, "%s...", lua_tostring(L, -1));
}

static const char *item_field_of(const struct cf_place *place)
{
    lua_State *L = place->L;
    const char *item = place->item ? lua_pushfstring(L, "%s[%d]", place->list, (int)place->item)
                                   : (lua_pushstring(L, place->list), lua_tostring(L, -1));

    if (!place->part)
        return item;
    if (!place->header)
        return lua_pushfstring(L, "%s.%s", item, item_cut(L, place->part));
    return lua_pushfstring(L, "%s.%s.%s", item, place->part, item_cut(L, place->header));
}

bool cf_place_refuse(const struct cf_place *place, const char *problem)
{
    const char *field = item_field_of(place);
    cf_error_push(place->L, "invalid_request", field, "%s: %s", field, problem);
    return false;
}

void cf_place_wrong_type(const struct cf_place *place, const char *expected, const char *got)
{
    luaL_argerror(place->L, place->arg,
                  lua_pushfstring(place->L, "%s: %s expected, got %s", item_field_of(place), expected, got));
}

bool cf_place_no_memory(const struct cf_place *place)
{
    return cf_place_refuse(place, "the body does not fit into memory");
}

static bool item_write_text(const struct cf_place *place, const char *text, size_t len)
{
    switch (cf_json_string(place->body, text, len)) {
    case CF_JSON_OK:
        return true;
    case CF_JSON_CONTROL:
        return cf_place_refuse(place, "must not hold control characters");
    case CF_JSON_NOT_UTF8:
        return cf_place_refuse(place, "is not valid UTF-8");
    case CF_JSON_NO_MEMORY:
        break;
    }
    return cf_place_no_memory(place);
}

static bool item_write_checked(const struct cf_place *place, const char *text, size_t len, cf_rule *rule)
{
    uint32_t found;
    char name[CF_RULE_NAME];
    const char *problem = rule(text, len, &found);

    if (!problem)
        return item_write_text(place, text, len);
    if (found != CF_RULE_NONE) {
        cf_rule_name(found, name);
        problem = lua_pushfstring(place->L, "%s: it has %s", problem, name);
    }
    return cf_place_refuse(place, problem);
}

static bool item_write_string(const struct cf_place *place, cf_rule *rule)
{
    size_t len;
    const char *text;

    if (lua_type(place->L, -1) != LUA_TSTRING)
        cf_place_wrong_type(place, "string", luaL_typename(place->L, -1));
    text = lua_tolstring(place->L, -1, &len);
    return item_write_checked(place, text, len, rule);
}

bool cf_item_tag(struct cf_place *place)
{
    return item_write_string(place, cf_rule_tag);
}

bool cf_item_host(struct cf_place *place)
{
    return item_write_string(place, cf_rule_host);
}

bool cf_item_prefix(struct cf_place *place)
{
    return item_write_string(place, cf_rule_prefix);
}

struct item_header {
    const char *name, *value; /* the caller's table keeps them alive */
    size_t name_len, value_len;
};

static bool item_is_before(const struct item_header *a, const struct item_header *b)
{
    int order = memcmp(a->name, b->name, a->name_len < b->name_len ? a->name_len : b->name_len);
    return order < 0 || (order == 0 && a->name_len < b->name_len);
}

/* The header of lua_next on the top of the stack. */
static void item_read_header(struct cf_place *place, struct item_header *header)
{
    lua_State *L = place->L;

    if (lua_type(L, -2) != LUA_TSTRING) {
        place->header = "(key)";
        cf_place_wrong_type(place, "string", luaL_typename(L, -2));
    }
    header->name = place->header = lua_tolstring(L, -2, &header->name_len);
    if (lua_type(L, -1) != LUA_TSTRING)
        cf_place_wrong_type(place, "string", luaL_typename(L, -1));
    header->value = lua_tolstring(L, -1, &header->value_len);
}

static bool item_write_header(struct cf_place *place, const struct item_header *header)
{
    place->header = header->name;
    return item_write_text(place, header->name, header->name_len) && cf_place_write(place, ":", 1) &&
           item_write_text(place, header->value, header->value_len) && cf_place_write(place, ",", 1);
}

/* The table of headers on the top of the stack. They are written in the order of their names, so that equal tables are
 * equal bytes. More than SORTED_HEADERS stay in the table's own order. */
static bool item_write_headers(struct cf_place *place)
{
    lua_State *L = place->L;
    struct item_header sorted[SORTED_HEADERS], header;
    size_t count = 0, i;

    place->part = "headers";
    if (!lua_istable(L, -1))
        cf_place_wrong_type(place, "table", luaL_typename(L, -1));
    if (!cf_place_write(place, ",\"headers\":{", 12))
        return false;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        item_read_header(place, &header);
        if (header.name_len == 0)
            return cf_place_refuse(place, "a header's name must not be empty");
        for (i = count++; i > 0 && i < SORTED_HEADERS && item_is_before(&header, &sorted[i - 1]); i--)
            sorted[i] = sorted[i - 1];
        if (i < SORTED_HEADERS)
            sorted[i] = header;
    }
    for (i = 0; i < count && count <= SORTED_HEADERS; i++)
        if (!item_write_header(place, &sorted[i]))
            return false;
    if (count > SORTED_HEADERS)
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            item_read_header(place, &header);
            if (!item_write_header(place, &header))
                return false;
        }
    place->part = place->header = NULL;
    if (count == 0)
        return cf_place_write(place, "}", 1);
    place->body->data[place->body->len - 1] = '}';
    return true;
}

/* The { url, headers } on the top of the stack. Its headers come last whatever the table's order. */
static bool item_write_pair(struct cf_place *place)
{
    lua_State *L = place->L;
    int item = lua_gettop(L), url_type = LUA_TNIL;
    const char *url = NULL;
    size_t url_len = 0;

    lua_pushnil(L); /* item + 1: the headers */
    for (lua_pushnil(L); lua_next(L, item);) {
        size_t len = 0;
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tolstring(L, -2, &len) : "(key)";

        if (len == 3 && memcmp(key, "url", 3) == 0) {
            url_type = lua_type(L, -1);
            if (url_type == LUA_TSTRING)
                url = lua_tolstring(L, -1, &url_len);
            lua_pop(L, 1);
        } else if (len == 7 && memcmp(key, "headers", 7) == 0) {
            lua_replace(L, item + 1);
        } else {
            place->part = key;
            return cf_place_refuse(place, "unknown: a file is { url, headers }");
        }
    }
    place->part = "url";
    if (url_type == LUA_TNIL)
        return cf_place_refuse(place, "missing");
    if (!url)
        cf_place_wrong_type(place, "string", lua_typename(L, url_type));
    if (!cf_place_write(place, "{\"url\":", 7) || !item_write_checked(place, url, url_len, cf_rule_url))
        return false;
    place->part = NULL;
    return (lua_isnil(L, -1) || item_write_headers(place)) && cf_place_write(place, "}", 1);
}

bool cf_item_file(struct cf_place *place)
{
    const char *url;
    size_t len;

    switch (lua_type(place->L, -1)) {
    case LUA_TTABLE:
        return item_write_pair(place);
    case LUA_TSTRING:
        url = lua_tolstring(place->L, -1, &len);
        return item_write_checked(place, url, len, cf_rule_url);
    default:
        cf_place_wrong_type(place, "string or table", luaL_typename(place->L, -1));
        return false;
    }
}
