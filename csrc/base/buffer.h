/* Bytes that grow up to a cap. Failure is a code. */
#ifndef CFPURGE_BUFFER_H
#define CFPURGE_BUFFER_H

#include <stddef.h>
#include <string.h>

enum cf_buffer_status { CF_BUFFER_OK, CF_BUFFER_NO_MEMORY, CF_BUFFER_FULL };

/* All zero is an empty buffer with no room: set `max` (bytes) before the first use. `data` is not NUL-terminated. */
struct cf_buffer {
    char *data;
    size_t len, cap, max;
};

/* Called where there is no room for `more` bytes. */
enum cf_buffer_status cf_buffer_grow(struct cf_buffer *buffer, size_t more);

/* Makes room for `more` bytes behind `len`. On failure the buffer is as it was. */
static inline enum cf_buffer_status cf_buffer_reserve(struct cf_buffer *buffer, size_t more)
{
    return more <= buffer->cap - buffer->len ? CF_BUFFER_OK : cf_buffer_grow(buffer, more);
}

static inline enum cf_buffer_status cf_buffer_add(struct cf_buffer *buffer, const void *bytes, size_t len)
{
    enum cf_buffer_status status = cf_buffer_reserve(buffer, len);
    if (status == CF_BUFFER_OK && len > 0) {
        memcpy(buffer->data + buffer->len, bytes, len);
        buffer->len += len;
    }
    return status;
}

/* Frees the bytes and keeps `max`. */
void cf_buffer_free(struct cf_buffer *buffer);
/* The same, the bytes overwritten first. */
void cf_buffer_wipe(struct cf_buffer *buffer);
/* Forgets the bytes. Much memory is given back: scratch does not hold that of one huge purge for ever. */
void cf_buffer_empty(struct cf_buffer *buffer);

#endif
