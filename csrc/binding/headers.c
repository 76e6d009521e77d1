/* default_headers -> header lines. */
#include "binding/headers.h"

#include <string.h>

#include "base/ascii.h"
#include "binding/error.h"
#include "binding/options.h"

#define MAX_HEADERS ((size_t)64 << 10)

static bool headers_is_token(const char *name, size_t len)
{
    size_t i;
    for (i = 0; i < len; i++)
        if ((unsigned char)name[i] <= 0x20 || (unsigned char)name[i] >= 0x7f || strchr("()<>@,;:\\\"/[]?={}", name[i]))
            return false;
    return len > 0;
}

/* The request itself sets these. With the same header twice the server would choose which one counts. */
static bool headers_is_ours(const char *name, size_t len)
{
    static const char *const ours[] = {"Authorization",  "X-Auth-Email",      "X-Auth-Key", "Host",
                                       "Accept",         "Accept-Encoding",   "User-Agent", "Content-Type",
                                       "Content-Length", "Transfer-Encoding", "Connection", "Expect"};
    size_t i;
    for (i = 0; i < sizeof ours / sizeof *ours; i++)
        if (cf_ascii_is(name, len, ours[i]))
            return true;
    return false;
}

static bool headers_add_line(struct cf_buffer *lines, const char *name, size_t name_len, const char *value,
                             size_t value_len)
{
    for (; value_len > 0 && *value == ' '; value_len--)
        value++;
    while (value_len > 0 && value[value_len - 1] == ' ')
        value_len--;
    /* "Name;" tells libcurl to send a header that has no value. */
    return cf_buffer_add(lines, name, name_len) == CF_BUFFER_OK &&
           cf_buffer_add(lines, value_len ? ": " : ";", value_len ? 2 : 1) == CF_BUFFER_OK &&
           cf_buffer_add(lines, value, value_len) == CF_BUFFER_OK && cf_buffer_add(lines, "", 1) == CF_BUFFER_OK;
}

static void headers_check_type(lua_State *L, int arg, const char *name, int type, int value)
{
    if (lua_type(L, value) != type)
        luaL_argerror(
            L, arg,
            lua_pushfstring(L, "%s: %s expected, got %s", name, lua_typename(L, type), luaL_typename(L, value)));
}

bool cf_headers_read(lua_State *L, int arg, const char *option, struct cf_buffer *lines)
{
    size_t name_len, value_len;
    const char *name, *value, *field, *problem;

    headers_check_type(L, arg, option, LUA_TTABLE, -1);
    lines->len = 0;
    lines->max = MAX_HEADERS;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        headers_check_type(L, arg, "a key of default_headers", LUA_TSTRING, -2);
        name = lua_tolstring(L, -2, &name_len);
        if (lua_type(L, -1) != LUA_TSTRING)
            headers_check_type(L, arg, lua_pushfstring(L, "%s.%s", option, name), LUA_TSTRING, -2);
        value = lua_tolstring(L, -1, &value_len);
        problem = !headers_is_token(name, name_len) ? "is not a header's name"
                  : headers_is_ours(name, name_len) ? "is set by the request itself"
                                                    : cf_options_text_problem(value, value_len);
        if (problem) {
            field = lua_pushfstring(L, "%s.%s", option, name);
            cf_error_push(L, "invalid_request", field, "%s: %s", field, problem);
            return false;
        }
        if (!headers_add_line(lines, name, name_len, value, value_len)) {
            cf_error_push(L, "invalid_request", option, "%s: are too large", option);
            return false;
        }
    }
    return true;
}
