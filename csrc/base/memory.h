/* The one door to the heap, so that a test can make any allocation fail, and the wiping of secrets. */
#ifndef CFPURGE_MEMORY_H
#define CFPURGE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* Replaces realloc(3) for every allocation of ours: size 0 frees and returns NULL. Call it before anything else;
 * NULL restores the default. */
void cf_memory_hook(void *(*reallocate)(void *block, size_t size));

void *cf_realloc(void *block, size_t size);
void *cf_zalloc(size_t size);
char *cf_strndup(const char *text, size_t len);
void cf_free(void *block);

/* Overwrites in a way that the compiler may not leave out. */
void cf_wipe(void *block, size_t size);
/* Wipes a NUL-terminated copy and frees it; NULL is fine. */
void cf_wipe_free(char *text);
/* Overwrites what calls that have returned left on the stack and in the registers through which they copied. */
void cf_wipe_traces(void);

/* free(3) and realloc(3) that leave nothing behind of what was in a block of malloc's: ours by default, and those of
 * the libraries that keep copies of what they were given. Only after cf_memory_init, once a process, has found that the
 * C library tells how large a block is and is the one whose malloc is used, which a host may have replaced; else they
 * do not wipe. */
bool cf_memory_init(void);
void cf_memory_free(void *block);
void *cf_memory_realloc(void *block, size_t size);

#endif
