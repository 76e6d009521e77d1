/* Bytes that grow up to a cap. Failure is a code. */
#include "base/buffer.h"

#include "base/memory.h"

#define KEPT ((size_t)64 << 10)

enum cf_buffer_status cf_buffer_grow(struct cf_buffer *buffer, size_t more)
{
    size_t cap = buffer->cap ? buffer->cap : 256;
    char *data;

    if (more > buffer->max - buffer->len)
        return CF_BUFFER_FULL;
    while (cap - buffer->len < more)
        cap = cap > buffer->max / 2 ? buffer->max : cap * 2;
    /* realloc would leave a copy behind, which may hold a credential. */
    data = cf_realloc(NULL, cap);
    if (!data)
        return CF_BUFFER_NO_MEMORY;
    if (buffer->data) {
        memcpy(data, buffer->data, buffer->len);
        cf_wipe(buffer->data, buffer->len);
        cf_free(buffer->data);
    }
    buffer->data = data;
    buffer->cap = cap;
    return CF_BUFFER_OK;
}

void cf_buffer_free(struct cf_buffer *buffer)
{
    cf_free(buffer->data);
    buffer->data = NULL;
    buffer->len = buffer->cap = 0;
}

void cf_buffer_wipe(struct cf_buffer *buffer)
{
    if (buffer->data)
        cf_wipe(buffer->data, buffer->cap);
    cf_buffer_free(buffer);
}

void cf_buffer_empty(struct cf_buffer *buffer)
{
    buffer->len = 0;
    if (buffer->cap > KEPT)
        cf_buffer_wipe(buffer);
}
