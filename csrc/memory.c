/* The one door to the heap, so that a test can make any allocation fail, and the wiping of secrets. */
#include "memory.h"

#include <stdlib.h>
#include <string.h>

static void *by_default(void *block, size_t size)
{
    if (size == 0) {
        free(block);
        return NULL;
    }
    return realloc(block, size);
}

static void *(*reallocate_now)(void *, size_t) = by_default;
static void *(*const volatile set_bytes)(void *, int, size_t) = memset;

void cf_memory_hook(void *(*reallocate)(void *block, size_t size))
{
    reallocate_now = reallocate ? reallocate : by_default;
}

void *cf_realloc(void *block, size_t size)
{
    return reallocate_now(block, size);
}

void *cf_zalloc(size_t size)
{
    void *block = cf_realloc(NULL, size);
    if (block)
        memset(block, 0, size);
    return block;
}

char *cf_strndup(const char *text, size_t len)
{
    char *copy = cf_realloc(NULL, len + 1);
    if (copy) {
        memcpy(copy, text, len);
        copy[len] = '\0';
    }
    return copy;
}

void cf_free(void *block)
{
    if (block)
        reallocate_now(block, 0);
}

void cf_wipe(void *block, size_t size)
{
    set_bytes(block, 0, size);
}

void cf_wipe_free(char *text)
{
    if (text) {
        cf_wipe(text, strlen(text));
        cf_free(text);
    }
}
