/* JSON -> Lua tables, by a private instance of lua-cjson; in Neovim by its vim.json. */
#ifndef CFPURGE_DECODER_H
#define CFPURGE_DECODER_H

#include <stdbool.h>

#include "binding/compat.h"

/* Finds the decoder for this state. Raises where there is none. */
void cf_decoder_open(lua_State *L);
/* Pushes the table that the text of an object stands for; false, and nothing, where it is none. */
bool cf_decoder_push(lua_State *L, const char *json, size_t len);

#endif
