/* Functions of the system that the command needs and Lua does not have. */
#ifndef CFPURGE_CLI_H
#define CFPURGE_CLI_H

#include <stdbool.h>

#include "binding/compat.h"

/* Adds its functions to the table on the top of the stack. */
void cf_cli_open(lua_State *L);

/* Has a signal come that the command looks out for? */
bool cf_cli_has_signal(void);

#endif
