/* The one constructor of error tables. */
#ifndef CFPURGE_ERROR_H
#define CFPURGE_ERROR_H

#include <stdbool.h>

#include "binding/compat.h"

/* Pushes an error with every field that all errors have; `message` is a lua_pushfstring format. More fields may be set
 * on it. `field` is NULL where no field of the input is at fault. */
void cf_error_push(lua_State *L, const char *kind, const char *field, const char *message, ...);
/* The text on the top, which is popped, becomes the message of the error at the index `error`. A message is one line of
 * a log: control characters become question marks. */
void cf_error_set_message(lua_State *L, int error);
/* Puts nil and its text before the error on the top of the stack, and returns 3, for a function that makes something:
 * `assert` shows no error but a string in Lua 5.1, 5.2 and nginx. */
int cf_error_with_text(lua_State *L);
/* Makes the metatable of errors known to this state; leaves the function for the Lua side on the stack:
 * core.error(kind, message, fields) -> error. */
void cf_error_open(lua_State *L);

#endif
