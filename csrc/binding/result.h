/* How a request ended -> result or error table. */
#ifndef CFPURGE_RESULT_H
#define CFPURGE_RESULT_H

#include "binding/compat.h"
#include "engine/exchange.h"

/* Pushes a result, or nil and an error; how many values. `zone_id` is the client's own, which `remaining` need not
 * name. */
int cf_result_push(lua_State *L, const struct cf_ending *ending, const char *zone_id);

#endif
