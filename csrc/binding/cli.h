/* What the command needs of the system and Lua has not. */
#ifndef CFPURGE_CLI_H
#define CFPURGE_CLI_H

#include "binding/compat.h"

/* Adds is_terminal, interrupted and read_line to the table on the top of the stack. */
void cf_cli_open(lua_State *L);

#endif
