/* The one door to the heap, so that a test can make any allocation fail, and the wiping of secrets. */
#ifndef CFPURGE_MEMORY_H
#define CFPURGE_MEMORY_H

#include <stddef.h>

/* Replaces realloc(3) for every allocation of ours: size 0 frees and returns NULL. Call it before anything else;
 * NULL restores the default. */
void cf_memory_hook(void *(*reallocate)(void *block, size_t size));

/* All of these return NULL where memory is short. The caller owns what they return and gives it to cf_free. */
void *cf_realloc(void *block, size_t size);
void *cf_zalloc(size_t size);
char *cf_strndup(const char *text, size_t len);
void cf_free(void *block);

/* Overwrites in a way that the compiler may not leave out. */
void cf_wipe(void *block, size_t size);
/* Wipes a NUL-terminated copy and frees it; NULL is fine. */
void cf_wipe_free(char *text);

#endif
