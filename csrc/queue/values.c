/* Commands and results as bytes: what Lua gave is read once into a buffer, which a thread may work on without Lua. */
#include "queue/values.h"

#include <string.h>

/* Integers that a Lua number of 53 bits holds. */
#define EXACT 9007199254740992.0

bool cf_values_add(struct cf_buffer *buffer, const struct cf_value *value)
{
    unsigned char tag = (unsigned char)value->tag;
    size_t text = value->tag == CF_VALUE_TEXT ? value->size : 0;
    bool has_size = value->tag == CF_VALUE_TEXT || value->tag == CF_VALUE_LIST || value->tag == CF_VALUE_ROWS;
    bool has_integer = value->tag == CF_VALUE_INTEGER || value->tag == CF_VALUE_ROWS;

    if (cf_buffer_reserve(buffer, 1 + sizeof value->size + sizeof value->integer + text) != CF_BUFFER_OK)
        return false;
    cf_buffer_add(buffer, &tag, 1);
    if (has_integer)
        cf_buffer_add(buffer, &value->integer, sizeof value->integer);
    if (value->tag == CF_VALUE_NUMBER)
        cf_buffer_add(buffer, &value->number, sizeof value->number);
    if (has_size)
        cf_buffer_add(buffer, &value->size, sizeof value->size);
    cf_buffer_add(buffer, value->text, text);
    return true;
}

bool cf_values_add_text(struct cf_buffer *buffer, const char *text, size_t len)
{
    return cf_values_add(buffer, &(struct cf_value){.tag = CF_VALUE_TEXT, .text = text, .size = len});
}

static void values_get(const struct cf_buffer *buffer, size_t *at, void *to, size_t size)
{
    memcpy(to, buffer->data + *at, size);
    *at += size;
}

bool cf_values_next(const struct cf_buffer *buffer, size_t *at, struct cf_value *value)
{
    if (*at >= buffer->len)
        return false;
    memset(value, 0, sizeof *value);
    value->tag = (enum cf_value_tag)buffer->data[(*at)++];
    if (value->tag == CF_VALUE_INTEGER || value->tag == CF_VALUE_ROWS)
        values_get(buffer, at, &value->integer, sizeof value->integer);
    if (value->tag == CF_VALUE_NUMBER)
        values_get(buffer, at, &value->number, sizeof value->number);
    if (value->tag == CF_VALUE_TEXT || value->tag == CF_VALUE_LIST || value->tag == CF_VALUE_ROWS)
        values_get(buffer, at, &value->size, sizeof value->size);
    if (value->tag == CF_VALUE_TEXT) {
        value->text = buffer->data + *at;
        *at += value->size;
    }
    return true;
}

/* ---- from Lua ---- */

static void values_read_one(lua_State *L, int arg, struct cf_buffer *buffer)
{
    struct cf_value value = {.tag = CF_VALUE_FALSE};

    switch (lua_type(L, -1)) {
    case LUA_TBOOLEAN:
        value.tag = lua_toboolean(L, -1) ? CF_VALUE_TRUE : CF_VALUE_FALSE;
        break;
    case LUA_TNUMBER:
        value.number = (double)lua_tonumber(L, -1);
        value.tag = CF_VALUE_NUMBER;
        if (value.number >= -EXACT && value.number <= EXACT && (double)(int64_t)value.number == value.number) {
            value.integer = (int64_t)value.number;
            value.tag = CF_VALUE_INTEGER;
        }
        break;
    case LUA_TSTRING:
        value.text = lua_tolstring(L, -1, &value.size);
        value.tag = CF_VALUE_TEXT;
        break;
    default:
        luaL_argerror(L, arg, "a command is a list of texts, numbers and booleans");
    }
    if (!cf_values_add(buffer, &value))
        luaL_error(L, "not enough memory");
    lua_pop(L, 1);
}

void cf_values_read(lua_State *L, int index, int arg, struct cf_buffer *buffer)
{
    size_t i, j, commands = (size_t)lua_rawlen(L, index);

    for (i = 1; i <= commands; i++) {
        struct cf_value list = {.tag = CF_VALUE_LIST};
        lua_rawgeti(L, index, (int)i);
        luaL_argcheck(L, lua_istable(L, -1) && lua_rawlen(L, -1) > 0, arg, "a command is a list");
        list.size = (size_t)lua_rawlen(L, -1);
        if (!cf_values_add(buffer, &list))
            luaL_error(L, "not enough memory");
        for (j = 1; j <= list.size; j++) {
            lua_rawgeti(L, -1, (int)j);
            values_read_one(L, arg, buffer);
        }
        lua_pop(L, 1);
    }
}

/* ---- to Lua ---- */

/* Pushes the next value. What came from elsewhere may be nested deeper than any stack; ours are not. */
static bool values_push_next(lua_State *L, const struct cf_buffer *buffer, size_t *at)
{
    struct cf_value value;
    size_t i;

    if (!cf_values_next(buffer, at, &value))
        return false;
    luaL_checkstack(L, 4, "results");
    switch (value.tag) {
    case CF_VALUE_FALSE:
    case CF_VALUE_TRUE:
        lua_pushboolean(L, value.tag == CF_VALUE_TRUE);
        break;
    case CF_VALUE_INTEGER:
        if (value.integer >= -(int64_t)EXACT && value.integer <= (int64_t)EXACT && sizeof(lua_Integer) >= 8)
            lua_pushinteger(L, (lua_Integer)value.integer);
        else
            lua_pushnumber(L, (lua_Number)value.integer);
        break;
    case CF_VALUE_NUMBER:
        lua_pushnumber(L, value.number);
        break;
    case CF_VALUE_TEXT:
        lua_pushlstring(L, value.text, value.size);
        break;
    case CF_VALUE_ROWS:
    case CF_VALUE_LIST:
        lua_createtable(L, (int)value.size, 0);
        for (i = 1; i <= value.size && values_push_next(L, buffer, at); i++)
            lua_rawseti(L, -2, (int)i);
        if (value.tag == CF_VALUE_ROWS) {
            lua_createtable(L, 0, 2);
            lua_insert(L, -2);
            lua_setfield(L, -2, "rows");
            lua_pushinteger(L, (lua_Integer)value.integer);
            lua_setfield(L, -2, "changes");
        }
        break;
    }
    return true;
}

void cf_values_push(lua_State *L, const struct cf_buffer *buffer)
{
    size_t at = 0;
    int i;

    lua_newtable(L);
    for (i = 1; values_push_next(L, buffer, &at); i++)
        lua_rawseti(L, -2, i);
}
