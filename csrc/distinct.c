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

/* The same for eight bytes at once. */
static uint64_t lower_word(uint64_t word)
{
    const uint64_t each = UINT64_C(0x0101010101010101);
    uint64_t low = word & each * 0x7f;
    uint64_t is_upper = (low + each * (0x80 - 'A')) & ~(low + each * (0x7f - 'Z')) & ~word & each * 0x80;
    return word | is_upper >> 2;
}

size_t cf_distinct_whole(const char *item, size_t len)
{
    (void)item;
    return len;
}

size_t cf_distinct_url(const char *item, size_t len)
{
    /* The first slash is the scheme's: every URL has passed its check. */
    const char *slash = memchr(item, '/', len);
    size_t at = slash ? (size_t)(slash - item) + 2 : len;

    while (at < len && item[at] != '/' && item[at] != '?' && item[at] != '#' && item[at] != '"')
        at++;
    return at;
}

size_t cf_distinct_prefix(const char *item, size_t len)
{
    const char *slash = memchr(item, '/', len);
    return slash ? (size_t)(slash - item) : len;
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ (hash >> 29);
}

static uint64_t word_at(const char *bytes, size_t len)
{
    uint64_t word = 0;
    if (len >= sizeof word)
        memcpy(&word, bytes, sizeof word);
    else
        memcpy(&word, bytes, len);
    return word;
}

static uint64_t hash_of(const char *item, size_t len, size_t folded)
{
    uint64_t hash = len;
    size_t i;

    for (i = 0; i < folded; i += sizeof hash)
        hash = mix(hash, lower_word(word_at(item + i, folded - i)));
    for (i = folded; i < len; i += sizeof hash)
        hash = mix(hash, word_at(item + i, len - i));
    return hash;
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
