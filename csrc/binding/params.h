/* Purge table -> body, checked and written as JSON in one pass. */
#ifndef CFPURGE_PARAMS_H
#define CFPURGE_PARAMS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "binding/compat.h"
#include "base/pacer.h"

#define CF_MAX_ITEMS 100
#define CF_MAX_FILES_ENTERPRISE 500

struct cf_purge {
    const char *zone_id, *environment_id; /* borrowed from the table; NULL where it is silent */
    size_t asked;                         /* with equal ones */
    size_t items;                         /* equal ones counted once; 1 for purge_everything */
    enum cf_bucket bucket;
};

/* Writes the table at `index`, argument `arg` of the running function, into `body` (emptied first), equal items once;
 * `slots` is scratch. `max_files` holds for files, `max_items` for the other lists. False: an error table was pushed
 * and nothing of `body` is to be used. Raises where a type is wrong. Allocates nothing in Lua unless it refuses, so
 * that no finalizer can run in the middle. */
bool cf_params_write(lua_State *L, int index, int arg, size_t max_files, size_t max_items, struct cf_buffer *body,
                     struct cf_buffer *slots, struct cf_purge *purge);
/* The same as cf_rawgetfield, for a table of few keys, and nothing is made in Lua. */
void cf_params_push_field(lua_State *L, int index, const char *name);
/* Leaves a list of the kinds that are lists. */
void cf_params_push_kinds(lua_State *L);
/* Writes the JSON of the item on the top of the stack, whose kind is at `kind_index`. False: the item breaks a rule,
 * and an error table was pushed; raises where its type is wrong. Allocates in Lua no more than cf_params_write. */
bool cf_params_write_item(lua_State *L, int kind_index, struct cf_buffer *body);
/* Makes a key of the JSON of an item: two items have the same key if the API takes them for the same. */
void cf_params_fold(lua_State *L, int kind_index, char *json, size_t len);

#endif
