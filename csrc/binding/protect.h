/* A protected call that the errors of the host's finalizers do not end. */
#ifndef CFPURGE_PROTECT_H
#define CFPURGE_PROTECT_H

#include "binding/compat.h"

/* lua_pcall without a message handler, for a function that may be called twice. Before 5.4 an error in a finalizer
 * comes out of any allocation, also of ours: then what waits to be finalized is, and the function is called once more.
 * The status is that of the last call. */
int cf_protect_call(lua_State *L, int arguments, int results);

#endif
