/* One item of a purge table -> JSON, checked and written in one pass. */
#ifndef CFPURGE_ITEM_H
#define CFPURGE_ITEM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "binding/compat.h"

/* Where in the table we are, for the messages: files[3].headers.Origin. All texts are borrowed from the table. */
struct cf_place {
    lua_State *L;
    int arg; /* of the running function */
    struct cf_buffer *body;
    const char *list;
    size_t item;               /* 0: the list itself, or an item that stands alone */
    const char *part, *header; /* NULL: the item itself */
};

/* Pushes an error that names the place; always false. */
bool cf_place_refuse(const struct cf_place *place, const char *problem);
/* Raises: the value at the place is no `expected`, but a `got`. */
void cf_place_wrong_type(const struct cf_place *place, const char *expected, const char *got);
/* The same for want of memory. */
bool cf_place_no_memory(const struct cf_place *place);

/* Adds JSON to the body. False: an error was pushed. Inline: of most pieces the compiler knows the size. */
static inline bool cf_place_write(const struct cf_place *place, const char *json, size_t len)
{
    return cf_buffer_add(place->body, json, len) == CF_BUFFER_OK || cf_place_no_memory(place);
}

/* Adds the item on the top of the stack to the body. False: an error was pushed; raises where a type is wrong. Leaves
 * anything on the stack above the item. Allocates nothing in Lua unless it refuses. */
typedef bool cf_item_write(struct cf_place *place);

cf_item_write cf_item_file, cf_item_tag, cf_item_host, cf_item_prefix;

#endif
