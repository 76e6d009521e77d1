/* The one userdata type and its methods. */
#ifndef CFPURGE_CLIENT_H
#define CFPURGE_CLIENT_H

#include "binding/compat.h"

/* Makes the type known to this state. */
void cf_client_open(lua_State *L);
/* new(options) -> client, or nil and an error. */
int cf_client_new(lua_State *L);
/* purge(params, options) and purge_environment(environment_id, params, options) by a client of the state's own, whose
 * credential may come with each call. */
int cf_client_purge(lua_State *L);
int cf_client_purge_environment(lua_State *L);

#endif
