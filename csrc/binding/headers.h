/* default_headers -> header lines. */
#ifndef CFPURGE_HEADERS_H
#define CFPURGE_HEADERS_H

#include <stdbool.h>

#include "base/buffer.h"
#include "binding/compat.h"

/* Reads the table on the top of the stack, the option `option` of argument `arg`, into `lines`, each NUL-terminated.
 * False: an error was pushed; raises where a type is wrong. */
bool cf_headers_read(lua_State *L, int arg, const char *option, struct cf_buffer *lines);

#endif
