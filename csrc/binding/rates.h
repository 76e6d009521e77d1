/* The rates that an account may use: those of its plan, or of the option rate. */
#ifndef CFPURGE_RATES_H
#define CFPURGE_RATES_H

#include <stdbool.h>
#include <stdint.h>

#include "binding/compat.h"
#include "base/pacer.h"

/* Every rate is open: neither given nor settled yet. */
void cf_rates_open(struct cf_rates *rates);
/* Reads the table on the top of the stack, the option `name` of argument `arg`. False: an error was pushed; raises
 * where a type is wrong. */
bool cf_rates_read(lua_State *L, int arg, const char *name, struct cf_rates *rates);
/* Each open rate becomes the plan's, of which this client may use one part in `share`; NULL is no plan, which limits
 * nothing, and "auto" limits all calls alone. False: there is no such plan. */
bool cf_rates_settle(struct cf_rates *rates, const char *plan, int64_t share);

#endif
