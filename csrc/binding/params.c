/* Purge table -> body, checked and written as JSON in one pass. */
#include "binding/params.h"

#include <stdint.h>
#include <string.h>

#include "base/ascii.h"
#include "base/distinct.h"
#include "binding/error.h"
#include "binding/item.h"
#include "binding/options.h"

/* The one table of the kinds: the Lua side has its names by cf_params_push_kinds. */
static const struct params_kind {
    const char *name;
    cf_item_write *write_item; /* NULL: it has no list */
    cf_distinct_folded *folded;
} params_kinds[] = {{"purge_everything", NULL, NULL},
                    {"files", cf_item_file, cf_distinct_url},
                    {"tags", cf_item_tag, cf_distinct_whole},
                    {"hosts", cf_item_host, cf_distinct_whole},
                    {"prefixes", cf_item_prefix, cf_distinct_prefix}};

/* lua_tostring ends at a NUL, and "files\0x" is not files. */
static bool params_is_key(lua_State *L, int index, const char *name)
{
    return lua_type(L, index) == LUA_TSTRING && lua_rawlen(L, index) == strlen(name) &&
           strcmp(lua_tostring(L, index), name) == 0;
}

void cf_params_push_field(lua_State *L, int index, const char *name)
{
    index = lua_absindex(L, index);
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
        if (params_is_key(L, -2, name)) {
            lua_replace(L, -2);
            return;
        }
    lua_pushnil(L);
}

static const struct params_kind *params_kind_at(lua_State *L, int index)
{
    size_t i;
    for (i = 0; i < sizeof params_kinds / sizeof *params_kinds; i++)
        if (params_is_key(L, index, params_kinds[i].name))
            return &params_kinds[i];
    return NULL;
}

void cf_params_push_kinds(lua_State *L)
{
    size_t i;
    int count = 0;

    lua_newtable(L);
    for (i = 0; i < sizeof params_kinds / sizeof *params_kinds; i++)
        if (params_kinds[i].write_item) {
            lua_pushstring(L, params_kinds[i].name);
            lua_rawseti(L, -2, ++count);
        }
}

/* Leaves "files, tags, ...", and returns it; with those that have no list where `is_all`. */
static const char *params_push_names(lua_State *L, bool is_all)
{
    size_t i;

    lua_pushliteral(L, "");
    for (i = 0; i < sizeof params_kinds / sizeof *params_kinds; i++)
        if (is_all || params_kinds[i].write_item) {
            lua_pushfstring(L, "%s%s%s", lua_tostring(L, -1), *lua_tostring(L, -1) ? ", " : "", params_kinds[i].name);
            lua_remove(L, -2);
        }
    return lua_tostring(L, -1);
}

/* The number at `index` as text. lua_tostring would turn the key itself into a string, and lua_next be lost. */
static const char *params_key_text(lua_State *L, int index)
{
    lua_pushvalue(L, index);
    return lua_tostring(L, -1);
}

/* Is it a key that a list may have? Beyond 2^53 every number is whole. */
static bool params_is_index(lua_Number key)
{
    return key >= 1 && (key > 9007199254740992.0 || (lua_Number)(int64_t)key >= key);
}

/* Refuses the list on the top of the stack for a key that is not one of 1 to `count`. False: it has none. */
static bool params_refuse_extra(struct cf_place *place, size_t count)
{
    lua_State *L = place->L;
    size_t keys = 0;

    /* With as many keys as items, a wrong key leaves a hole, which is found when the items are read. */
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
        keys++;
    if (keys <= count)
        return false;
    place->item = 0;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TNUMBER) {
            if (lua_type(L, -2) == LUA_TSTRING)
                lua_pushfstring(L, "is not a list: it has the key \"%s\"", lua_tostring(L, -2));
            else
                lua_pushfstring(L, "is not a list: it has a key that is a %s", luaL_typename(L, -2));
        } else if (!params_is_index(lua_tonumber(L, -2))) {
            lua_pushfstring(L, "is not a list: it has the key %s", params_key_text(L, -2));
        } else if (lua_tonumber(L, -2) > (double)count) {
            lua_pushfstring(L, "has a hole: item %d is nil", (int)count + 1);
        } else {
            continue;
        }
        cf_place_refuse(place, lua_tostring(L, -1));
        return true;
    }
    return false;
}

/* The parts that writing a list needs. */
struct params_writing {
    struct cf_place place;
    const struct params_kind *kind;
    struct cf_buffer *slots;
    struct cf_purge *purge;
};

/* The item on the top of the stack, unless an equal one was written before. */
static bool params_write_item(struct params_writing *writing)
{
    struct cf_buffer *body = writing->place.body;
    size_t start = body->len;

    writing->purge->asked++;
    if (!writing->kind->write_item(&writing->place))
        return false;
    if (!cf_distinct_add(writing->slots, body, start, writing->kind->folded)) {
        body->len = start;
        return true;
    }
    writing->purge->items++;
    return cf_place_write(&writing->place, ",", 1);
}

/* Writes the items of the list on the top of the stack, as long as lua_next gives them in their order, as it does where
 * they stand in the table's array. place.item is the last one then; `is_all`: the table has no other key. */
static bool params_write_in_order(struct params_writing *writing, bool *is_all)
{
    lua_State *L = writing->place.L;
    int list = lua_gettop(L);

    *is_all = true;
    for (lua_pushnil(L); *is_all && lua_next(L, list); lua_settop(L, list + 1)) {
        *is_all = lua_type(L, -2) == LUA_TNUMBER && lua_tonumber(L, -2) == (lua_Number)(writing->place.item + 1);
        if (!*is_all)
            continue;
        writing->place.item++;
        if (!params_write_item(writing))
            return false;
    }
    lua_settop(L, list);
    return true;
}

/* The value on the top of the stack. */
static bool params_is_list(lua_State *L)
{
    bool is_list = lua_istable(L, -1);

    if (is_list && lua_getmetatable(L, -1)) {
        cf_params_push_field(L, -1, "__call");
        is_list = lua_isnil(L, -1);
        lua_pop(L, 2);
    }
    return is_list;
}

/* The list on the top of the stack. */
static bool params_write_list(struct params_writing *writing, size_t most)
{
    struct cf_place *place = &writing->place;
    lua_State *L = place->L;
    int list = lua_gettop(L);
    size_t count;
    bool is_all;

    if (!params_is_list(L))
        cf_place_wrong_type(place, "table", lua_istable(L, list) ? "an iterator" : luaL_typename(L, list));
    count = (size_t)lua_rawlen(L, -1);
    if (count > most) {
        cf_place_refuse(place, lua_pushfstring(L, "has %d items, and one request holds %d", (int)count, (int)most));
        /* The Lua side splits the list by it. */
        lua_pushinteger(L, (lua_Integer)most);
        lua_setfield(L, -2, "limit");
        return false;
    }
    if (!cf_place_write(place, "[", 1))
        return false;
    if (!cf_distinct_begin(writing->slots, count))
        return cf_place_no_memory(place);
    if (!params_write_in_order(writing, &is_all) || (!is_all && params_refuse_extra(place, count)))
        return false;
    lua_settop(L, list);
    if (count == 0)
        return cf_place_refuse(place, "must not be empty");
    while (place->item < count) {
        lua_rawgeti(L, list, (int)++place->item);
        if (lua_isnil(L, -1))
            return cf_place_refuse(place, "the list has a hole here");
        if (!params_write_item(writing))
            return false;
        lua_settop(L, list);
    }
    place->item = 0;
    place->body->data[place->body->len - 1] = ']';
    return true;
}

static bool params_write_everything(struct cf_place *place, struct cf_purge *purge)
{
    if (!lua_isboolean(place->L, -1))
        cf_place_wrong_type(place, "boolean", luaL_typename(place->L, -1));
    purge->asked = purge->items = 1;
    return lua_toboolean(place->L, -1) ? cf_place_write(place, "true", 4)
                                       : cf_place_refuse(place, "must be true where it is given");
}

static bool params_read_id(struct cf_place *place, const char **id)
{
    size_t len;
    const char *problem;

    if (lua_type(place->L, -1) != LUA_TSTRING)
        cf_place_wrong_type(place, "string", luaL_typename(place->L, -1));
    *id = lua_tolstring(place->L, -1, &len);
    problem = cf_options_id_problem(*id, len);
    return problem ? cf_place_refuse(place, problem) : true;
}

bool cf_params_write(lua_State *L, int index, int arg, size_t max_files, size_t max_items, struct cf_buffer *body,
                     struct cf_buffer *slots, struct cf_purge *purge)
{
    struct cf_place place = {L, arg, body, NULL, 0, NULL, NULL};
    const struct params_kind *kind = NULL;
    bool of_files;
    int slot;

    if (!lua_istable(L, index))
        luaL_argerror(L, arg, lua_pushfstring(L, "table expected, got %s", luaL_typename(L, index)));
    luaL_checkstack(L, 20, "purge");
    memset(purge, 0, sizeof *purge);
    body->len = 0;
    lua_pushnil(L);
    slot = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, index);) {
        const struct params_kind *found;
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;

        place.list = name && *name ? name : "params";
        if (!name)
            return cf_place_refuse(&place, "a key is not a name: params is { files = ... }, not a list");
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
            return cf_place_refuse(&place, "no such parameter");
        }
    }
    place.list = kind ? kind->name : "params";
    if (!kind)
        return cf_place_refuse(&place, lua_pushfstring(L, "one of %s is needed", params_push_names(L, true)));
    of_files = kind->write_item == cf_item_file;
    purge->bucket = of_files ? CF_BUCKET_URLS : CF_BUCKET_REQUESTS;
    return cf_place_write(&place, "{\"", 2) && cf_place_write(&place, kind->name, strlen(kind->name)) &&
           cf_place_write(&place, "\":", 2) &&
           (kind->write_item ? params_write_list(&(struct params_writing){place, kind, slots, purge},
                                                 of_files ? max_files : max_items)
                             : params_write_everything(&place, purge)) &&
           cf_place_write(&place, "}", 1);
}

bool cf_params_write_item(lua_State *L, int kind_index, struct cf_buffer *body)
{
    struct cf_place place = {L, 4, body, "item", 0, NULL, NULL};
    const struct params_kind *kind = params_kind_at(L, kind_index);

    body->len = 0;
    if (!kind || !kind->write_item) {
        luaL_argerror(L, kind_index, lua_pushfstring(L, "one of %s expected", params_push_names(L, false)));
        return false;
    }
    return kind->write_item(&place);
}

void cf_params_fold(lua_State *L, int kind_index, char *json, size_t len)
{
    const struct params_kind *kind = params_kind_at(L, kind_index);
    size_t i, folded = kind ? kind->folded(json, len) : 0;

    for (i = 0; i < folded; i++)
        json[i] = cf_ascii_lower(json[i]);
}
