/* The options as a caller gives them: read, checked, and completed from the environment. */
#include "binding/options.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "engine/address.h"
#include "binding/error.h"
#include "binding/headers.h"
#include "base/memory.h"
#include "binding/rates.h"
#include "binding/schema.h"

const char *cf_options_id_problem(const char *id, size_t len)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    if (len >= 1 && len <= 32 && strspn(id, allowed) == len)
        return NULL;
    return memchr(id, '.', len) ? "must be 1 to 32 letters, digits, '_' or '-': a name is given as zone or environment"
                                : "must be 1 to 32 letters, digits, '_' or '-'";
}

static bool options_refuse(lua_State *L, const char *field, const char *problem)
{
    cf_error_push(L, "invalid_request", field, "%s: %s", field, problem);
    return false;
}

static int options_wrong_type(lua_State *L, int arg, const char *name, const char *expected, int value)
{
    return luaL_argerror(L, arg,
                         lua_pushfstring(L, "%s: %s expected, got %s", name, expected, luaL_typename(L, value)));
}

const char *cf_options_text_problem(const char *text, size_t len)
{
    size_t i;
    for (i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return "must not hold control characters";
    return NULL;
}

/* What is pasted with a credential by mistake: the API would refuse it without saying why. */
static const char *options_secret_problem(const char *secret)
{
    const unsigned char *byte;

    if (strncmp(secret, "Bearer ", 7) == 0)
        return "must not begin with \"Bearer \", which is ours to add";
    for (byte = (const unsigned char *)secret; *byte; byte++)
        if (*byte == '"' || *byte == '\'' || *byte == ' ')
            return *byte == ' ' ? "must not hold spaces" : "must not hold quotes";
        else if (*byte >= 0x80)
            return "must be ASCII";
    return NULL;
}

/* The value on the top of the stack. */
static bool options_read_text(lua_State *L, int arg, const struct cf_option *option, struct cf_options *options)
{
    size_t len;
    const char *text, *problem;

    if (lua_type(L, -1) != LUA_TSTRING)
        options_wrong_type(L, arg, option->name, "string", -1);
    text = lua_tolstring(L, -1, &len);
    problem = cf_options_text_problem(text, len);
    /* An empty proxy is an order: use none, not even the environment's. */
    if (!problem && len == 0 && strcmp(option->name, "proxy") != 0 && strcmp(option->name, "user_agent") != 0)
        problem = "must not be empty";
    if (problem)
        return options_refuse(L, option->name, problem);
    *cf_schema_text(options, option) = text;
    return true;
}

static bool options_read_number(lua_State *L, int arg, const struct cf_option *option, struct cf_options *options)
{
    double number;

    if (lua_type(L, -1) != LUA_TNUMBER)
        options_wrong_type(L, arg, option->name, "number", -1);
    number = lua_tonumber(L, -1);
    if (!(number >= option->least))
        return options_refuse(L, option->name,
                              lua_pushfstring(L,
                                              option->least < 1 && option->least > 0 ? "must be at least a millisecond"
                                                                                     : "must be at least %d",
                                              (int)option->least));
    if (option->type == CF_OPTION_SECONDS) {
        int64_t duration = cf_schema_microseconds(number);
        /* Of a wait, 0 means that none is allowed: for ever is the largest number. */
        if (option->least <= 0 && number > 1e9)
            duration = INT64_MAX / 2;
        *(int64_t *)cf_schema_member(options, option) = duration;
    } else {
        if (number > 1e6 || (double)(int64_t)number < number)
            return options_refuse(L, option->name, "must be a whole number, at most 1000000");
        *(int64_t *)cf_schema_member(options, option) = (int64_t)number;
    }
    return true;
}

static bool options_read_one(lua_State *L, int arg, const struct cf_option *option, struct cf_buffer *lines,
                             struct cf_options *options)
{
    int type = lua_type(L, -1);

    switch (option->type) {
    case CF_OPTION_TEXT:
        return options_read_text(L, arg, option, options);
    case CF_OPTION_SECONDS:
    case CF_OPTION_COUNT:
        return options_read_number(L, arg, option, options);
    case CF_OPTION_HEADERS:
        options->headers = lines;
        return cf_headers_read(L, arg, option->name, lines);
    case CF_OPTION_FLAG:
        if (type != LUA_TBOOLEAN)
            options_wrong_type(L, arg, option->name, "boolean", -1);
        *(bool *)cf_schema_member(options, option) = lua_toboolean(L, -1);
        return true;
    case CF_OPTION_RATES:
        return cf_rates_read(L, arg, option->name, &options->rates);
    case CF_OPTION_FUNCTION:
        if (type != LUA_TFUNCTION)
            options_wrong_type(L, arg, option->name, "function", -1);
        if (option->at)
            *(bool *)cf_schema_member(options, option) = true;
        return true;
    case CF_OPTION_LOOP:
        if (type != LUA_TSTRING && type != LUA_TTABLE)
            options_wrong_type(L, arg, option->name, "string or table", -1);
        return true;
    }
    return true;
}

static const struct cf_option *options_find(const char *name, size_t len, int scopes)
{
    const struct cf_option *option;
    for (option = cf_schema; option < cf_schema_end; option++)
        if ((option->scope & scopes) && strlen(option->name) == len && strcmp(option->name, name) == 0)
            return option;
    return NULL;
}

static const char *options_environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* A credential in the table beats any that stood before, of either scheme; a token beats a key. `given` has those of
 * the table alone. */
static void options_choose_credential(struct cf_options *options, const struct cf_options *given,
                                      const struct cf_options *before)
{
    options->api_token = options->api_email = options->api_key = NULL;
    if (given->api_token) {
        options->api_token = given->api_token;
    } else if (given->api_email || given->api_key) {
        options->api_email = given->api_email ? given->api_email : before->api_email;
        options->api_key = given->api_key ? given->api_key : before->api_key;
    } else if (before->api_token) {
        options->api_token = before->api_token;
    } else {
        options->api_email = before->api_email;
        options->api_key = before->api_key;
    }
}

/* One of the two in the table replaces whichever stood before. `options` has what the table has, and -1 for the rest.
 */
static bool options_choose_retries(lua_State *L, struct cf_options *options, const struct cf_options *before)
{
    if (options->max_retries >= 0 && options->retry_for >= 0)
        return options_refuse(L, "retry_for", "stands in place of max_retries: give one of them");
    if (options->max_retries < 0) {
        options->max_retries = before->max_retries;
        options->retry_for = options->retry_for < 0 ? before->retry_for : options->retry_for;
    }
    return true;
}

static bool options_check_environment(lua_State *L, const struct cf_options *options)
{
    const struct cf_option *option;
    const char *problem;

    for (option = cf_schema; option < cf_schema_end; option++) {
        const char *text = option->env ? *(const char *const *)((const char *)options + option->at) : NULL;
        if (text && (problem = cf_options_text_problem(text, strlen(text)))) {
            cf_error_push(L, "invalid_request", option->name, "%s (or %s): %s", option->name, option->env, problem);
            return false;
        }
    }
    return true;
}

static bool options_check_address(lua_State *L, struct cf_options *options)
{
    const char *problem = cf_address_base_problem(options->base_url);

    if (problem)
        return options_refuse(L, "base_url", problem);
    if (options->proxy && *options->proxy && (problem = cf_address_proxy_problem(options->proxy)))
        return options_refuse(L, "proxy", problem);
    problem = cf_address_clear_text_problem(options->base_url, options->proxy, &options->direct);
    if (problem && !options->allow_http)
        return options_refuse(L, "base_url", problem);
    if (options->allow_http)
        options->direct = false;
    return true;
}

bool cf_options_check(lua_State *L, struct cf_options *options, const struct cf_options *checked)
{
    const char *problem;

    if (options->is_unchecked && !options_check_environment(L, options))
        return false;
    if (options->api_token && (problem = options_secret_problem(options->api_token)))
        return options_refuse(L, "api_token", problem);
    if (options->api_key && (problem = options_secret_problem(options->api_key)))
        return options_refuse(L, "api_key", problem);
    if (options->zone_id && (problem = cf_options_id_problem(options->zone_id, strlen(options->zone_id))))
        return options_refuse(L, "zone_id", problem);
    if (options->environment_id &&
        (problem = cf_options_id_problem(options->environment_id, strlen(options->environment_id))))
        return options_refuse(L, "environment_id", problem);
    /* Texts of `checked` stay where they are: another address is another text. To parse it costs more than the rest. */
    if (!(checked && checked->base_url == options->base_url && checked->proxy == options->proxy &&
          checked->allow_http == options->allow_http) &&
        !options_check_address(L, options))
        return false;
    if (checked)
        return true;
    options->given = options->rates;
    return cf_rates_settle(&options->rates, options->plan, options->share) ||
           options_refuse(L, "plan", "must be free, pro, business, enterprise or auto");
}

static void options_read_environment(struct cf_options *options)
{
    const struct cf_option *option;

    for (option = cf_schema; option < cf_schema_end; option++)
        if (option->env && options_environment(option->env))
            *cf_schema_text(options, option) = options_environment(option->env);
    options->is_unchecked = true;
}

void cf_options_read_environment(struct cf_options *options)
{
    struct cf_options before;

    options_read_environment(options);
    before = *options;
    options_choose_credential(options, &(struct cf_options){0}, &before);
    (void)cf_rates_settle(&options->rates, NULL, 1);
}

bool cf_options_read(lua_State *L, int index, int arg, int scopes, bool from_environment, struct cf_buffer *lines,
                     struct cf_options *options)
{
    struct cf_options before = *options;
    const struct cf_option *option;

    if (from_environment) {
        options_read_environment(options);
        before = *options;
    }
    if (!lua_isnoneornil(L, index)) {
        if (!lua_istable(L, index))
            luaL_argerror(L, arg, lua_pushfstring(L, "table expected, got %s", luaL_typename(L, index)));
        index = lua_absindex(L, index);
        options->api_token = options->api_email = options->api_key = NULL;
        options->max_retries = options->retry_for = -1;
        for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
            if (lua_type(L, -2) != LUA_TSTRING) {
                cf_error_push(L, "invalid_request", NULL, "options: a key is a %s, not a name", luaL_typename(L, -2));
                return false;
            }
            option = options_find(lua_tostring(L, -2), (size_t)lua_rawlen(L, -2), scopes);
            if (!option)
                return options_refuse(L, lua_tostring(L, -2), "no such option here");
            if (!options_read_one(L, arg, option, lines, options))
                return false;
        }
        struct cf_options given = *options;
        options_choose_credential(options, &given, &before);
        if (!options_choose_retries(L, options, &before))
            return false;
    } else {
        options_choose_credential(options, &(struct cf_options){0}, &before);
    }
    if (!cf_options_check(L, options, from_environment || before.is_unchecked ? NULL : &before))
        return false;
    options->is_unchecked = false;
    return true;
}

bool cf_options_are_for_core(lua_State *L, const struct cf_options *options)
{
    const char *field = options->dry_run                    ? "dry_run"
                        : options->zone                     ? "zone"
                        : options->environment              ? "environment"
                        : options->on_progress              ? "on_progress"
                        : cf_options_has_auto_plan(options) ? "plan"
                                                            : NULL;
    return !field || options->has_lua_layer || options_refuse(L, field, "needs the Lua layer: require \"cfpurge\"");
}

bool cf_options_need_credential(lua_State *L, const struct cf_options *options)
{
    if (options->api_token || (options->api_email && options->api_key))
        return true;
    if (options->api_email || options->api_key)
        return options_refuse(L, options->api_key ? "api_email" : "api_key",
                              "missing: api_email and api_key go together");
    return options_refuse(L, "api_token", "no credential: set CLOUDFLARE_API_TOKEN, or give api_token");
}
