/* Letters without their case, whatever the host's locale: in a Turkish one I is not i to strcasecmp. */
#ifndef CFPURGE_ASCII_H
#define CFPURGE_ASCII_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static inline char cf_ascii_lower(char byte)
{
    return byte >= 'A' && byte <= 'Z' ? (char)(byte | 0x20) : byte;
}

/* Are `len` bytes the same but for the case of ASCII letters? */
static inline bool cf_ascii_same(const char *a, const char *b, size_t len)
{
    size_t i;
    for (i = 0; i < len && cf_ascii_lower(a[i]) == cf_ascii_lower(b[i]); i++)
        continue;
    return i == len;
}

/* The same for two texts, `a` of `len` bytes, `b` NUL-terminated. */
static inline bool cf_ascii_is(const char *a, size_t len, const char *b)
{
    return strlen(b) == len && cf_ascii_same(a, b, len);
}

#endif
