/* The options' schema, and what goes through all of it. */
#include "binding/schema.h"

#include <string.h>

#include "base/memory.h"
#include "binding/rates.h"

const char *const cf_schema_types[] = {"string", "number",   "integer", "boolean",
                                       "table",  "function", "table",   "string or table"};

const struct cf_option cf_schema[] = {
#define AT(member) offsetof(struct cf_options, member)
    {"api_token", CF_OPTION_TEXT, AT(api_token), CF_SCOPE_REQUEST, 0, 0, NULL, "CLOUDFLARE_API_TOKEN"},
    {"api_email", CF_OPTION_TEXT, AT(api_email), CF_SCOPE_REQUEST, 0, 0, NULL, "CLOUDFLARE_EMAIL"},
    {"api_key", CF_OPTION_TEXT, AT(api_key), CF_SCOPE_REQUEST, 0, 0, NULL, "CLOUDFLARE_API_KEY"},
    {"zone_id", CF_OPTION_TEXT, AT(zone_id), CF_SCOPE_REQUEST, 0, 0, NULL, "CLOUDFLARE_ZONE_ID"},
    {"zone", CF_OPTION_TEXT, AT(zone), CF_SCOPE_REQUEST, 0, 0, NULL, NULL},
    {"environment_id", CF_OPTION_TEXT, AT(environment_id), CF_SCOPE_CALL, 0, 0, NULL, NULL},
    {"environment", CF_OPTION_TEXT, AT(environment), CF_SCOPE_CALL, 0, 0, NULL, NULL},
    {"base_url", CF_OPTION_TEXT, AT(base_url), CF_SCOPE_REQUEST, 0, 0, "https://api.cloudflare.com/client/v4",
     "CLOUDFLARE_BASE_URL"},
    {"timeout", CF_OPTION_SECONDS, AT(timeout), CF_SCOPE_REQUEST, 0.001, 60, NULL, NULL},
    {"connect_timeout", CF_OPTION_SECONDS, AT(connect_timeout), CF_SCOPE_REQUEST, 0.001, 10, NULL, NULL},
    {"max_retries", CF_OPTION_COUNT, AT(max_retries), CF_SCOPE_REQUEST, 0, 2, NULL, NULL},
    {"retry_for", CF_OPTION_SECONDS, AT(retry_for), CF_SCOPE_REQUEST, 0, -1, NULL, NULL},
    {"max_retry_wait", CF_OPTION_SECONDS, AT(max_retry_wait), CF_SCOPE_REQUEST, 0, 60, NULL, NULL},
    {"deadline", CF_OPTION_SECONDS, AT(deadline), CF_SCOPE_REQUEST, 0.001, 0, NULL, NULL},
    {"plan", CF_OPTION_TEXT, AT(plan), CF_SCOPE_CLIENT, 0, 0, NULL, NULL},
    {"rate", CF_OPTION_RATES, 0, CF_SCOPE_CLIENT, 0, 0, NULL, NULL},
    {"share", CF_OPTION_COUNT, AT(share), CF_SCOPE_CLIENT, 1, 1, NULL, NULL},
    {"max_items", CF_OPTION_COUNT, AT(max_items), CF_SCOPE_REQUEST, 1, 0, NULL, NULL},
    {"max_in_flight", CF_OPTION_COUNT, AT(max_in_flight), CF_SCOPE_REQUEST, 1, 8, NULL, NULL},
    {"isolate", CF_OPTION_FLAG, AT(isolate), CF_SCOPE_REQUEST, 0, 1, NULL, NULL},
    {"invalidate", CF_OPTION_FLAG, AT(invalidate), CF_SCOPE_CALL, 0, 0, NULL, NULL},
    {"dry_run", CF_OPTION_FLAG, AT(dry_run), CF_SCOPE_CALL, 0, 0, NULL, NULL},
    {"on_progress", CF_OPTION_FUNCTION, AT(on_progress), CF_SCOPE_CALL, 0, 0, NULL, NULL},
    {"budget", CF_OPTION_TEXT, AT(budget), CF_SCOPE_QUEUE, 0, 0, NULL, NULL},
    {"proxy", CF_OPTION_TEXT, AT(proxy), CF_SCOPE_REQUEST, 0, 0, NULL, NULL},
    {"ca_file", CF_OPTION_TEXT, AT(ca_file), CF_SCOPE_REQUEST, 0, 0, NULL, NULL},
    {"default_headers", CF_OPTION_HEADERS, 0, CF_SCOPE_REQUEST, 0, 0, NULL, NULL},
    {"user_agent", CF_OPTION_TEXT, AT(user_agent), CF_SCOPE_REQUEST, 0, 0, "cfpurge/" CF_VERSION, NULL},
    {"allow_http", CF_OPTION_FLAG, AT(allow_http), CF_SCOPE_REQUEST, 0, 0, NULL, NULL},
    {"max_connections", CF_OPTION_COUNT, AT(max_connections), CF_SCOPE_CLIENT, 1, 64, NULL, NULL},
    {"max_queued", CF_OPTION_COUNT, AT(max_queued), CF_SCOPE_CLIENT, 1, 100000, NULL, NULL},
    {"exit_grace", CF_OPTION_SECONDS, AT(exit_grace), CF_SCOPE_CLIENT, 0, 2, NULL, NULL},
    {"loop", CF_OPTION_LOOP, 0, CF_SCOPE_CLIENT, 0, 0, "auto", NULL},
    {"on_event", CF_OPTION_FUNCTION, 0, CF_SCOPE_CLIENT, 0, 0, NULL, NULL},
#undef AT
};

const struct cf_option *const cf_schema_end = cf_schema + sizeof cf_schema / sizeof *cf_schema;

void *cf_schema_member(struct cf_options *options, const struct cf_option *option)
{
    return (char *)options + option->at;
}

const char **cf_schema_text(struct cf_options *options, const struct cf_option *option)
{
    return cf_schema_member(options, option);
}

int64_t cf_schema_microseconds(double seconds)
{
    /* More than 30 years, and infinity, is for ever. */
    return seconds > 1e9 ? 0 : (int64_t)(seconds * 1e6);
}

void cf_options_default(struct cf_options *options)
{
    const struct cf_option *option;

    memset(options, 0, sizeof *options);
    for (option = cf_schema; option < cf_schema_end; option++) {
        if (option->type == CF_OPTION_TEXT)
            *cf_schema_text(options, option) = option->text;
        else if (option->type == CF_OPTION_SECONDS)
            *(int64_t *)cf_schema_member(options, option) = cf_schema_microseconds(option->initial);
        else if (option->type == CF_OPTION_COUNT)
            *(int64_t *)cf_schema_member(options, option) = (int64_t)option->initial;
        else if (option->type == CF_OPTION_FLAG)
            *(bool *)cf_schema_member(options, option) = option->initial > 0;
    }
    cf_rates_open(&options->rates);
}

bool cf_options_own(struct cf_options *to, const struct cf_options *from)
{
    const struct cf_option *option;
    struct cf_options copy = *from;

    for (option = cf_schema; option < cf_schema_end; option++)
        if (option->type == CF_OPTION_TEXT)
            *cf_schema_text(&copy, option) = NULL;
    for (option = cf_schema; option < cf_schema_end; option++) {
        const char *text =
            option->type == CF_OPTION_TEXT ? *(const char *const *)((const char *)from + option->at) : NULL;
        if (text && !(*cf_schema_text(&copy, option) = cf_strndup(text, strlen(text)))) {
            cf_options_wipe(&copy);
            return false;
        }
    }
    *to = copy;
    return true;
}

void cf_options_wipe(struct cf_options *options)
{
    const struct cf_option *option;

    for (option = cf_schema; option < cf_schema_end; option++)
        if (option->type == CF_OPTION_TEXT) {
            cf_wipe_free((char *)(size_t)*cf_schema_text(options, option));
            *cf_schema_text(options, option) = NULL;
        }
}

void cf_options_push_schema(lua_State *L)
{
    const struct cf_option *option;
    int i = 0;

    lua_newtable(L);
    for (option = cf_schema; option < cf_schema_end; option++) {
        if (option->scope == CF_SCOPE_QUEUE)
            continue;
        lua_createtable(L, 0, 5);
        lua_pushstring(L, option->name);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, cf_schema_types[option->type]);
        lua_setfield(L, -2, "type");
        lua_pushstring(L, option->scope == CF_SCOPE_CLIENT ? "client"
                          : option->scope == CF_SCOPE_CALL ? "call"
                                                           : "request");
        lua_setfield(L, -2, "scope");
        if (option->type == CF_OPTION_FLAG)
            lua_pushboolean(L, option->initial > 0);
        else if (option->initial > 0 || (option->type == CF_OPTION_COUNT && option->least <= 0))
            lua_pushinteger(L, (lua_Integer)option->initial);
        else
            lua_pushstring(L, option->text);
        lua_setfield(L, -2, "default");
        lua_pushstring(L, option->env);
        lua_setfield(L, -2, "env");
        lua_rawseti(L, -2, ++i);
    }
}
