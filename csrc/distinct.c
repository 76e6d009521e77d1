/* Which items of a body are the same to the API. */
#include "distinct.h"

#include <stdint.h>
#include <string.h>

/* An open hash table, at most half full; the buffer's length says how many slots there are. */
struct slot {
    size_t start, len;      /* in the body; len 0: free */
    uint64_t hash;
};

static char lower(char byte)
{
    return byte >= 'A' && byte <= 'Z' ? (char)(byte | 0x20) : byte;
}

size_t cf_distinct_whole(const char *item, size_t len)
{
    (void)item;
    return len;
}

static size_t span(const char *item, size_t from, size_t len, const char *ends)
{
    while (from < len && !strchr(ends, item[from]))
        from++;
    return from;
}

size_t cf_distinct_url(const char *item, size_t len)
{
    /* The first slash is the scheme's: every URL has passed its check. */
    return span(item, span(item, 0, len, "/") + 2, len, "/?#\"");
}

size_t cf_distinct_prefix(const char *item, size_t len)
{
    return span(item, 0, len, "/");
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ (hash >> 29);
}

static uint64_t hash_of(const char *item, size_t len, size_t folded)
{
    uint64_t hash = len, word = 0;
    size_t i;

    for (i = 0; i < folded; i++) {
        word = word << 8 | (unsigned char)lower(item[i]);
        if (i % 8 == 7)
            hash = mix(hash, word);
    }
    hash = mix(hash, word);
    for (; i + sizeof word <= len; i += sizeof word) {
        memcpy(&word, item + i, sizeof word);
        hash = mix(hash, word);
    }
    word = 0;
    memcpy(&word, item + i, len - i);
    return mix(hash, word);
}

static bool same(const char *a, const char *b, size_t len, size_t folded)
{
    size_t i;
    for (i = 0; i < folded; i++)
        if (lower(a[i]) != lower(b[i]))
            return false;
    return memcmp(a + folded, b + folded, len - folded) == 0;
}

bool cf_distinct_begin(struct cf_buffer *slots, size_t count)
{
    size_t size = 8;

    while (size < 2 * count)
        size *= 2;
    slots->len = 0;
    if (cf_buffer_reserve(slots, size * sizeof(struct slot)) != CF_BUFFER_OK)
        return false;
    slots->len = size * sizeof(struct slot);
    memset(slots->data, 0, slots->len);
    return true;
}

bool cf_distinct_add(struct cf_buffer *slots, const struct cf_buffer *body, size_t start, cf_distinct_folded *folded)
{
    struct slot *table = (struct slot *)(void *)slots->data;
    size_t mask = slots->len / sizeof *table - 1, len = body->len - start;
    const char *item = body->data + start;
    size_t end = folded(item, len);
    uint64_t hash = hash_of(item, len, end);
    struct slot *slot;
    size_t i;

    for (i = (size_t)hash & mask; (slot = &table[i])->len != 0; i = (i + 1) & mask)
        if (slot->hash == hash && slot->len == len && same(body->data + slot->start, item, len, end))
            return false;
    slot->start = start;
    slot->len = len;
    slot->hash = hash;
    return true;
}
