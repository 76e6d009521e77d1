/* The one door to the heap, so that a test can make any allocation fail, and the wiping of secrets. */
#define _GNU_SOURCE
#include "base/memory.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#if defined(__linux__)
#include <malloc.h>
#define USABLE_SIZE malloc_usable_size
#elif defined(__FreeBSD__)
#include <malloc_np.h>
#define USABLE_SIZE malloc_usable_size
#elif defined(__APPLE__)
#include <malloc/malloc.h>
#define USABLE_SIZE malloc_size
#endif

static void *(*const volatile set_bytes)(void *, int, size_t) = memset;

/* Does malloc tell how large its blocks are, and is it the one that is used? */
static bool tells_sizes;

bool cf_memory_init(void)
{
#ifdef USABLE_SIZE
    void *(*allocate)(size_t) = malloc;
    __typeof__(&USABLE_SIZE) size_of = USABLE_SIZE;
    const void *addresses[2];
    Dl_info homes[2];

    memcpy(&addresses[0], &allocate, sizeof *addresses);
    memcpy(&addresses[1], &size_of, sizeof *addresses);
    tells_sizes =
        dladdr(addresses[0], &homes[0]) && dladdr(addresses[1], &homes[1]) && homes[0].dli_fbase == homes[1].dli_fbase;
#endif
    return tells_sizes;
}

static size_t memory_usable_size(void *block)
{
#ifdef USABLE_SIZE
    return tells_sizes ? USABLE_SIZE(block) : 0;
#else
    (void)block;
    return 0;
#endif
}

void cf_memory_free(void *block)
{
    if (!block)
        return;
    cf_wipe(block, memory_usable_size(block));
    free(block);
}

void *cf_memory_realloc(void *block, size_t size)
{
    size_t old = block ? memory_usable_size(block) : 0;
    void *moved;

    if (old == 0)
        return realloc(block, size);
    /* What shrinks stays where it is, unless that were a waste. */
    if (size <= old && size > old / 2)
        return block;
    moved = malloc(size);
    if (moved) {
        memcpy(moved, block, old < size ? old : size);
        cf_memory_free(block);
    }
    return moved;
}

static void *memory_by_default(void *block, size_t size)
{
    if (size > 0)
        return cf_memory_realloc(block, size);
    cf_memory_free(block);
    return NULL;
}

static void *(*reallocate_now)(void *, size_t) = memory_by_default;

void cf_memory_hook(void *(*reallocate)(void *block, size_t size))
{
    reallocate_now = reallocate ? reallocate : memory_by_default;
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

void cf_wipe_traces(void)
{
    void *(*const volatile copy_bytes)(void *, const void *, size_t) = memcpy;
    char dead[32768];
    size_t size;

    cf_wipe(dead, sizeof dead);
    /* A short copy passes through other registers than a long one. */
    for (size = 16; size <= sizeof dead / 2; size *= 2)
        copy_bytes(dead, dead + sizeof dead / 2, size);
}
