/* The rates that an account may use: those of its plan, or of the option rate. */
#include "binding/rates.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "binding/error.h"

/* https://developers.cloudflare.com/cache/how-to/purge-cache/#availability-and-limits, and for all calls
 * https://developers.cloudflare.com/fundamentals/api/reference/limits/ */
static const struct rates_plan {
    const char *name;
    struct cf_rates rates;
} rates_plans[] = {{"free", {5.0 / 60, 25, 800, 800, 1200, 200}},
                   {"pro", {5, 25, 1500, 1500, 1200, 200}},
                   {"business", {10, 50, 1500, 1500, 1200, 200}},
                   {"enterprise", {50, 500, 3000, 3000, 1200, 200}},
                   {"auto", {0, 0, 0, 0, 1200, 200}}};

static const struct {
    const char *name;
    size_t at;
} rates_fields[] = {
    {"requests", offsetof(struct cf_rates, requests)}, {"requests_bucket", offsetof(struct cf_rates, requests_bucket)},
    {"urls", offsetof(struct cf_rates, urls)},         {"urls_bucket", offsetof(struct cf_rates, urls_bucket)},
    {"overall", offsetof(struct cf_rates, overall)},   {"address", offsetof(struct cf_rates, address)}};

#define FIELDS (sizeof rates_fields / sizeof *rates_fields)

static double *rates_field_of(struct cf_rates *rates, size_t field)
{
    return (double *)(void *)((char *)rates + rates_fields[field].at);
}

void cf_rates_open(struct cf_rates *rates)
{
    size_t i;
    for (i = 0; i < FIELDS; i++)
        *rates_field_of(rates, i) = NAN;
}

static double *rates_find(lua_State *L, int name, struct cf_rates *rates)
{
    size_t i;
    /* lua_tostring ends at a NUL, and "urls\0x" is not urls. */
    for (i = 0; i < FIELDS; i++)
        if (lua_type(L, name) == LUA_TSTRING && lua_rawlen(L, name) == strlen(rates_fields[i].name) &&
            strcmp(lua_tostring(L, name), rates_fields[i].name) == 0)
            return rates_field_of(rates, i);
    return NULL;
}

bool cf_rates_read(lua_State *L, int arg, const char *name, struct cf_rates *rates)
{
    if (!lua_istable(L, -1))
        luaL_argerror(L, arg, lua_pushfstring(L, "%s: table expected, got %s", name, luaL_typename(L, -1)));
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        double *rate = rates_find(L, -2, rates);
        const char *field;

        if (!rate) {
            cf_error_push(L, "invalid_request", name,
                          "%s: may have requests, requests_bucket, urls, urls_bucket, overall and address", name);
            return false;
        }
        if (lua_type(L, -1) != LUA_TNUMBER)
            luaL_argerror(
                L, arg,
                lua_pushfstring(L, "%s.%s: number expected, got %s", name, lua_tostring(L, -2), luaL_typename(L, -1)));
        *rate = lua_tonumber(L, -1);
        if (!(*rate >= 0 && *rate <= 1e6)) {
            field = lua_pushfstring(L, "%s.%s", name, lua_tostring(L, -2));
            cf_error_push(L, "invalid_request", field, "%s: must be from 0 to 1000000", field);
            return false;
        }
    }
    return true;
}

bool cf_rates_settle(struct cf_rates *rates, const char *plan, int64_t share)
{
    struct cf_rates of_plan;
    bool found = !plan;
    size_t i;

    memset(&of_plan, 0, sizeof of_plan);
    for (i = 0; !found && i < sizeof rates_plans / sizeof *rates_plans; i++)
        if (strcmp(plan, rates_plans[i].name) == 0) {
            of_plan = rates_plans[i].rates;
            found = true;
        }
    for (i = 0; i < FIELDS; i++)
        if (isnan(*rates_field_of(rates, i)))
            *rates_field_of(rates, i) = *rates_field_of(&of_plan, i) / (double)share;
    return found;
}
