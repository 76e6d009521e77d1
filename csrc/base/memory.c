/* The one door to the heap, so that a test can make any allocation fail, and the wiping of secrets. */
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* The compiler cannot know which function this is, and so leaves no call of it out. */
static void *(*const volatile memory_set)(void *, int, size_t) = memset;

static void *memory_by_default(void *block, size_t size)
{
    if (size > 0)
        return realloc(block, size);
    free(block);
    return NULL;
}

static void *(*memory_reallocate)(void *, size_t) = memory_by_default;

void cf_memory_hook(void *(*reallocate)(void *block, size_t size))
{
    memory_reallocate = reallocate ? reallocate : memory_by_default;
}

void *cf_realloc(void *block, size_t size)
{
    return memory_reallocate(block, size);
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
        memory_reallocate(block, 0);
}

void cf_wipe(void *block, size_t size)
{
    memory_set(block, 0, size);
}

void cf_wipe_free(char *text)
{
    if (text) {
        cf_wipe(text, strlen(text));
        cf_free(text);
    }
}
