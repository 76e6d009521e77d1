/* One call, checked and written down: the client's options, the call's options and params -> a submission. */
#include "binding/draft.h"

#include <string.h>

#include "binding/error.h"
#include "base/memory.h"

/* The largest body that Cloudflare takes on its smallest plans. */
#define MAX_BODY ((size_t)100 << 20)
#define MAX_PATH 1024

void cf_draft_init(struct cf_draft *draft)
{
    memset(draft, 0, sizeof *draft);
    draft->body.max = draft->headers.max = draft->url.max = draft->slots.max = MAX_BODY;
}

void cf_draft_wipe(struct cf_draft *draft)
{
    cf_buffer_wipe(&draft->body);
    cf_buffer_wipe(&draft->lines);
    cf_buffer_wipe(&draft->headers);
    cf_buffer_wipe(&draft->url);
    cf_buffer_wipe(&draft->slots);
}

void cf_draft_forget(struct cf_draft *draft)
{
    if (draft->headers.data)
        cf_wipe(draft->headers.data, draft->headers.len);
    cf_buffer_empty(&draft->body);
    cf_buffer_empty(&draft->slots);
}

static bool draft_add(struct cf_buffer *buffer, const char *text)
{
    return cf_buffer_add(buffer, text, strlen(text)) == CF_BUFFER_OK;
}

static bool draft_add_header(struct cf_buffer *lines, const char *name, const char *value)
{
    return draft_add(lines, name) && cf_buffer_add(lines, value, strlen(value) + 1) == CF_BUFFER_OK;
}

static bool draft_write_headers(struct cf_buffer *lines, const struct cf_options *options, bool has_body)
{
    lines->len = 0;
    if (options->api_token ? !draft_add_header(lines, "Authorization: Bearer ", options->api_token)
                           : !(draft_add_header(lines, "X-Auth-Email: ", options->api_email) &&
                               draft_add_header(lines, "X-Auth-Key: ", options->api_key)))
        return false;
    /* libcurl would ask for a "100 Continue" before a large body, and wait a second for it. */
    return (!has_body || (draft_add_header(lines, "Content-Type: ", "application/json") &&
                          draft_add_header(lines, "Expect:", ""))) &&
           draft_add_header(lines, "Accept: ", "application/json") &&
           draft_add_header(lines, "Accept-Encoding: ", "identity") &&
           (!options->headers || cf_buffer_add(lines, options->headers->data, options->headers->len) == CF_BUFFER_OK);
}

static bool draft_write_base(struct cf_buffer *url, const struct cf_options *options, size_t *path_at)
{
    size_t base = strlen(options->base_url);

    while (base > 0 && options->base_url[base - 1] == '/')
        base--;
    url->len = 0;
    *path_at = base;
    return cf_buffer_add(url, options->base_url, base) == CF_BUFFER_OK;
}

static bool draft_write_path(struct cf_buffer *url, const char *zone_id, const char *environment_id,
                             const char *operation)
{
    return draft_add(url, "/zones/") && draft_add(url, zone_id) &&
           (!environment_id || (draft_add(url, "/environments/") && draft_add(url, environment_id))) &&
           draft_add(url, "/") && cf_buffer_add(url, operation, strlen(operation) + 1) == CF_BUFFER_OK;
}

size_t cf_draft_max_items(const struct cf_options *options, bool of_files)
{
    const struct cf_zone_plan *known = cf_plans_find(options->plans, options->zone_id);
    bool enterprise = known ? known->is_enterprise : options->plan && strcmp(options->plan, "enterprise") == 0;
    return options->max_items       ? (size_t)options->max_items
           : of_files && enterprise ? CF_MAX_FILES_ENTERPRISE
                                    : CF_MAX_ITEMS;
}

/* A shorter text is not masked: it stands in many words that do not give it away. */
#define LEAST_SECRET 8

static const char *draft_secret(const char *text)
{
    return text && strlen(text) >= LEAST_SECRET ? text : NULL;
}

static void draft_fill(struct cf_submission *submission, const struct cf_options *options, struct cf_draft *draft)
{
    submission->url = draft->url.data;
    submission->headers = draft->headers.data;
    submission->headers_size = draft->headers.len;
    submission->secrets[0] = draft_secret(options->api_token ? options->api_token : options->api_key);
    submission->secrets[1] = draft_secret(options->api_token ? NULL : options->api_email);
    submission->proxy = options->proxy;
    submission->ca_file = options->ca_file;
    submission->user_agent = options->user_agent;
    submission->direct = options->direct;
    submission->retry.max_retries = (int)options->max_retries;
    submission->retry.retry_for = options->retry_for;
    submission->retry.max_wait = options->max_retry_wait;
    submission->timeout = options->timeout;
    submission->connect_timeout = options->connect_timeout;
    submission->deadline = options->deadline;
}

static bool draft_out_of_memory(lua_State *L)
{
    cf_error_push(L, "connection", NULL, "out of memory");
    return false;
}

bool cf_draft_options(lua_State *L, const struct cf_options *own, struct cf_draft *draft, int index, int arg,
                      struct cf_options *options)
{
    *options = *own;
    return (!lua_isnoneornil(L, index)
                ? cf_options_read(L, index, arg, CF_SCOPE_REQUEST | CF_SCOPE_CALL | CF_SCOPE_QUEUE, false,
                                  &draft->lines, options)
                : !options->is_unchecked || cf_options_check(L, options, NULL)) &&
           cf_options_are_for_core(L, options);
}

/* NULL where there is none; false: an error was pushed. */
static bool draft_read_environment(lua_State *L, const struct cf_call *call, const char **environment_id)
{
    const char *problem;
    size_t len;

    *environment_id = NULL;
    if (!call->environment)
        return true;
    if (lua_type(L, call->environment) != LUA_TSTRING)
        luaL_argerror(
            L, call->environment_arg,
            lua_pushfstring(L, "environment_id: string expected, got %s", luaL_typename(L, call->environment)));
    *environment_id = lua_tolstring(L, call->environment, &len);
    problem = cf_options_id_problem(*environment_id, len);
    if (problem)
        cf_error_push(L, "invalid_request", "environment_id", "environment_id: %s", problem);
    return problem == NULL;
}

/* The zone that the params name, which decides how many items they may have; NULL where they name none. They keep the
 * text. */
static const char *draft_zone_of(lua_State *L, int params)
{
    const char *zone_id = NULL;

    if (lua_istable(L, params)) {
        cf_params_push_field(L, params, "zone_id");
        zone_id = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
        lua_pop(L, 1);
    }
    return zone_id;
}

bool cf_draft_write(lua_State *L, const struct cf_options *own, struct cf_draft *draft, const struct cf_call *call,
                    struct cf_submission *submission)
{
    struct cf_options options;
    struct cf_purge purge;
    const struct cf_zone_plan *known;
    const char *environment_id, *zone_id = own->plans ? draft_zone_of(L, call->params) : NULL;

    memset(submission, 0, sizeof *submission);
    if (!draft_read_environment(L, call, &environment_id) ||
        !cf_draft_options(L, own, draft, call->params + 1, call->params_arg + 1, &options))
        return false;
    if (zone_id)
        options.zone_id = zone_id;
    if (!cf_params_write(L, call->params, call->params_arg, cf_draft_max_items(&options, true),
                         cf_draft_max_items(&options, false), &draft->body, &draft->slots, &purge))
        return false;
    if (purge.zone_id)
        options.zone_id = purge.zone_id;
    if (!environment_id)
        environment_id = purge.environment_id ? purge.environment_id : options.environment_id;
    if (!options.zone_id) {
        cf_error_push(L, "invalid_request", "zone_id",
                      "no zone_id: set CLOUDFLARE_ZONE_ID, or give it to new, with the call or in params");
        return false;
    }
    if (!cf_options_need_credential(L, &options))
        return false;
    if (!draft_write_headers(&draft->headers, &options, true) ||
        !draft_write_base(&draft->url, &options, &submission->path_at) ||
        !draft_write_path(&draft->url, options.zone_id, environment_id,
                          options.invalidate ? "invalidate_cache" : "purge_cache"))
        return draft_out_of_memory(L);
    draft_fill(submission, &options, draft);
    submission->body = &draft->body;
    submission->asked = purge.asked;
    draft->repeats = purge.asked - purge.items;
    submission->items = purge.items;
    submission->bucket = purge.bucket;
    known = cf_plans_find(options.plans, options.zone_id);
    submission->budget = known ? known->budget : NULL;
    submission->budget_name = options.budget;
    return true;
}

bool cf_draft_write_get(lua_State *L, const struct cf_options *own, struct cf_draft *draft, int path,
                        struct cf_submission *submission)
{
    struct cf_options options;
    const char *text = luaL_checkstring(L, path), *byte;

    memset(submission, 0, sizeof *submission);
    for (byte = text; *byte; byte++)
        luaL_argcheck(L, *byte > 0x20 && *byte < 0x7f && byte - text < MAX_PATH, path, "not a path");
    luaL_argcheck(L, *text == '/', path, "not a path");
    if (!cf_draft_options(L, own, draft, path + 1, path + 1, &options) || !cf_options_need_credential(L, &options))
        return false;
    if (!draft_write_headers(&draft->headers, &options, false) ||
        !draft_write_base(&draft->url, &options, &submission->path_at) ||
        cf_buffer_add(&draft->url, text, strlen(text) + 1) != CF_BUFFER_OK)
        return draft_out_of_memory(L);
    draft_fill(submission, &options, draft);
    submission->bucket = CF_BUCKET_OTHER;
    return true;
}
