/* Commands and results as bytes: what Lua gave is read once into a buffer, which a thread may work on without Lua. */
#ifndef CFPURGE_VALUES_H
#define CFPURGE_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "binding/compat.h"

/* A value is its tag, and for some a number and bytes. A list is followed by its members. */
enum cf_value_tag {
    CF_VALUE_FALSE,
    CF_VALUE_TRUE,
    CF_VALUE_INTEGER,
    CF_VALUE_NUMBER,
    CF_VALUE_TEXT,
    CF_VALUE_LIST, /* `size` members follow */
    CF_VALUE_ROWS  /* a result of SQL: { changes = `integer`, rows = { the `size` members that follow } } */
};

struct cf_value {
    enum cf_value_tag tag;
    int64_t integer;
    double number;
    const char *text; /* in the buffer; not NUL-terminated */
    size_t size;      /* of a text in bytes, of a list in members */
};

/* Adds a value; the members of a list are added after it. False: memory is short, and the buffer is as it was. */
bool cf_values_add(struct cf_buffer *buffer, const struct cf_value *value);
bool cf_values_add_text(struct cf_buffer *buffer, const char *text, size_t len);
/* The value at *at, which moves behind it. False: there is no other. */
bool cf_values_next(const struct cf_buffer *buffer, size_t *at, struct cf_value *value);

/* Adds the list of lists of texts, numbers and booleans that stands at `index`, argument `arg` of the running function.
 * Raises where it is something else, or where memory is short: the buffer is to be owned by what Lua collects. */
void cf_values_read(lua_State *L, int index, int arg, struct cf_buffer *buffer);
/* Pushes a list of all values in the buffer. */
void cf_values_push(lua_State *L, const struct cf_buffer *buffer);

#endif
