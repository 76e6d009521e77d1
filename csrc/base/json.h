/* Writes JSON strings, and refuses bytes that are no text. */
#ifndef CFPURGE_JSON_H
#define CFPURGE_JSON_H

#include <stddef.h>

#include "base/buffer.h"

enum cf_json_status { CF_JSON_OK, CF_JSON_CONTROL, CF_JSON_NOT_UTF8, CF_JSON_NO_MEMORY };

/* Adds `text` with its quotes. Anything but CF_JSON_OK leaves the buffer as it was. It refuses control
 * characters: they have no place in a header or a path, which an item becomes. */
enum cf_json_status cf_json_string(struct cf_buffer *buffer, const char *text, size_t len);

#endif
