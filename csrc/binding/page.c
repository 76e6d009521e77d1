/* Pages for the command: a userdata that fetches one after another. */
#include "binding/page.h"

#include <string.h>

#include "binding/cli.h"
#include "binding/options.h"
#include "engine/page.h"

#define TYPE "cfpurge.pages"
#define MOST_LINES 32
#define TIMEOUT 60

struct page_reader {
    struct cf_pages *pages;
    struct cf_page page; /* scratch: its buffers are ours */
};

static int page_collect(lua_State *L)
{
    struct page_reader *reader = luaL_checkudata(L, 1, TYPE);

    cf_pages_free(reader->pages);
    reader->pages = NULL;
    cf_buffer_free(&reader->page.headers);
    cf_buffer_free(&reader->page.body);
    return 0;
}

static bool page_flag(lua_State *L, const char *name)
{
    bool is_set;

    cf_rawgetfield(L, 3, name);
    is_set = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return is_set;
}

/* { name = value } of the headers, names in lower case; of equal ones the last. */
static void page_push_headers(lua_State *L, const struct cf_buffer *headers)
{
    const char *line = headers->data, *end = headers->data + headers->len, *stop, *colon, *value;
    luaL_Buffer name;

    lua_newtable(L);
    for (; headers->len && line < end; line = stop + 1) {
        stop = memchr(line, '\n', (size_t)(end - line));
        stop = stop ? stop : end;
        colon = memchr(line, ':', (size_t)(stop - line));
        if (!colon)
            continue;
        for (value = colon + 1; value < stop && (*value == ' ' || *value == '\t'); value++)
            ;
        luaL_buffinit(L, &name);
        for (; line < colon; line++)
            luaL_addchar(&name, *line >= 'A' && *line <= 'Z' ? (char)(*line + 32) : *line);
        luaL_pushresult(&name);
        lua_pushlstring(L, value, value < stop ? (size_t)(stop - value) - (stop > value && stop[-1] == '\r') : 0);
        lua_rawset(L, -3);
    }
}

/* get(url, { head, follow, max, timeout, ca_file, headers = { "Name: value", ... } }): the strings stay on the stack
 * meanwhile.
 */
static int page_get(lua_State *L)
{
    struct page_reader *reader = luaL_checkudata(L, 1, TYPE);
    const char *lines[MOST_LINES + 1] = {NULL}, *problem;
    struct cf_page_request request = {.timeout = TIMEOUT, .is_over = cf_cli_has_signal, .lines = lines};
    int i;

    luaL_argcheck(L, reader->pages, 1, "it is closed");
    request.url = luaL_checkstring(L, 2);
    luaL_checktype(L, 3, LUA_TTABLE);
    lua_settop(L, 3);
    luaL_checkstack(L, MOST_LINES + 10, "page");
    request.head = page_flag(L, "head");
    request.follow = page_flag(L, "follow");
    cf_rawgetfield(L, 3, "max");
    request.max = (size_t)luaL_optnumber(L, -1, 1 << 20);
    cf_rawgetfield(L, 3, "ca_file");
    request.ca_file = lua_tostring(L, -1);
    cf_rawgetfield(L, 3, "timeout");
    if (lua_isnumber(L, -1) && lua_tonumber(L, -1) > 0 && lua_tonumber(L, -1) < TIMEOUT)
        request.timeout = lua_tonumber(L, -1);
    cf_rawgetfield(L, 3, "headers");
    for (i = 0; lua_istable(L, 7) && i < MOST_LINES; i++) {
        lua_rawgeti(L, 7, i + 1);
        lines[i] = lua_tostring(L, -1);
        if (!lines[i])
            break;
    }
    problem = cf_pages_get(reader->pages, &request, &reader->page);
    if (problem) {
        lua_pushnil(L);
        lua_pushstring(L, problem);
        return 2;
    }
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, reader->page.status);
    lua_setfield(L, -2, "status");
    page_push_headers(L, &reader->page.headers);
    lua_setfield(L, -2, "headers");
    lua_pushlstring(L, reader->page.body.data ? reader->page.body.data : "", reader->page.body.len);
    lua_setfield(L, -2, "body");
    cf_buffer_free(&reader->page.body);
    return 1;
}

int cf_page_new(lua_State *L)
{
    static const luaL_Reg methods[] = {{"get", page_get}, {"__gc", page_collect}, {NULL, NULL}};
    struct page_reader *reader = lua_newuserdata(L, sizeof *reader);

    memset(reader, 0, sizeof *reader);
    if (luaL_newmetatable(L, TYPE)) {
        cf_register(L, methods);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_setmetatable(L, -2);
    reader->pages = cf_pages_new("cfpurge-cli/" CF_VERSION);
    return reader->pages ? 1 : luaL_error(L, "not enough memory");
}
