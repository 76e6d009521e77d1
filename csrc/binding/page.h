/* pages() -> what fetches pages for the command. */
#ifndef CFPURGE_BINDING_PAGE_H
#define CFPURGE_BINDING_PAGE_H

#include "binding/compat.h"

/* Pushes a userdata; page:get(url, options) -> { status, headers, body }, or nil and a sentence. */
int cf_page_new(lua_State *L);

#endif
