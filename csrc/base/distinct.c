/* Finds items of a body that are the same to the API. */
#include "base/distinct.h"

#include <string.h>

#include "base/ascii.h"

/* An open hash table, at most half full; the buffer's length says how many slots there are. */
struct distinct_slot {
    size_t start, len; /* in the body; len 0: free */
    uint64_t hash;
};

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

static uint64_t distinct_mix(uint64_t hash, const char *bytes, size_t len)
{
    uint64_t word = 0;

    memcpy(&word, bytes, len);
    hash = (hash ^ (word | UINT64_C(0x2020202020202020))) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ (hash >> 29);
}

/* Leaves the case out everywhere: distinct_same decides. It has two halves, so that the processor need not wait for one
 * product before it begins the next. */
static uint64_t distinct_hash_of(const char *item, size_t len)
{
    const char *end = item + len;
    uint64_t a = len, b = 0;

    for (; end - item >= 16; item += 16) {
        a = distinct_mix(a, item, 8);
        b = distinct_mix(b, item + 8, 8);
    }
    if (end - item > 8)
        a = distinct_mix(a, item, 8);
    return distinct_mix(a, len < 8 ? item : end - 8, len < 8 ? len : 8) ^ (b << 32 | b >> 32);
}

static bool distinct_same(const char *a, const char *b, size_t len, size_t folded)
{
    return cf_ascii_same(a, b, folded) && memcmp(a + folded, b + folded, len - folded) == 0;
}

bool cf_distinct_begin(struct cf_buffer *slots, size_t count)
{
    size_t size = 8;

    while (size < 2 * count)
        size *= 2;
    slots->len = 0;
    if (cf_buffer_reserve(slots, size * sizeof(struct distinct_slot)) != CF_BUFFER_OK || !slots->data)
        return false;
    slots->len = size * sizeof(struct distinct_slot);
    memset(slots->data, 0, slots->len);
    return true;
}

/* The slot of the item that `body` ends with: a free one, or that of the same item. */
static struct distinct_slot *distinct_find(struct cf_buffer *slots, const struct cf_buffer *body, size_t start,
                                           uint64_t hash, cf_distinct_folded *folded)
{
    struct distinct_slot *table = (struct distinct_slot *)(void *)slots->data, *slot;
    size_t mask = slots->len / sizeof *table - 1, len = body->len - start, i;
    const char *item = body->data + start;

    for (i = (size_t)hash & mask; (slot = &table[i])->len != 0; i = (i + 1) & mask)
        if (slot->hash == hash && slot->len == len &&
            distinct_same(body->data + slot->start, item, len, folded(item, len)))
            break;
    return slot;
}

bool cf_distinct_add(struct cf_buffer *slots, const struct cf_buffer *body, size_t start, cf_distinct_folded *folded)
{
    uint64_t hash = distinct_hash_of(body->data + start, body->len - start);
    struct distinct_slot *slot = distinct_find(slots, body, start, hash, folded);

    if (slot->len != 0)
        return false;
    *slot = (struct distinct_slot){start, body->len - start, hash};
    return true;
}

/* ---- a set that grows ---- */

static size_t distinct_no_folding(const char *item, size_t len)
{
    (void)item;
    (void)len;
    return 0;
}

/* Makes room for one more, twice as many slots where half of them are taken. */
static bool distinct_share_reserve(struct cf_distinct_share *share)
{
    struct cf_buffer larger = {NULL, 0, 0, share->slots.max};
    const struct distinct_slot *old = (const struct distinct_slot *)(const void *)share->slots.data;
    struct distinct_slot *table;
    size_t i, at, size = share->slots.len / sizeof *old, mask;

    if (2 * (share->count + 1) <= size)
        return true;
    if (!cf_distinct_begin(&larger, size ? size : 4))
        return false;
    table = (struct distinct_slot *)(void *)larger.data;
    mask = larger.len / sizeof *table - 1;
    for (i = 0; i < size; i++)
        if (old[i].len != 0) {
            for (at = (size_t)old[i].hash & mask; table[at].len != 0;)
                at = (at + 1) & mask;
            table[at] = old[i];
        }
    cf_buffer_free(&share->slots);
    share->slots = larger;
    return true;
}

void cf_distinct_set_init(struct cf_distinct_set *set)
{
    size_t i;

    memset(set, 0, sizeof *set);
    for (i = 0; i < CF_DISTINCT_SHARES; i++)
        set->shares[i].items.max = set->shares[i].slots.max = SIZE_MAX / 2;
}

void cf_distinct_set_free(struct cf_distinct_set *set)
{
    size_t i;

    for (i = 0; i < CF_DISTINCT_SHARES; i++) {
        cf_buffer_free(&set->shares[i].items);
        cf_buffer_free(&set->shares[i].slots);
    }
}

bool cf_distinct_set_add(struct cf_distinct_set *set, const char *item, size_t len, int64_t *place)
{
    uint64_t hash = distinct_hash_of(item, len);
    /* The slots go by the hash's lowest bits. */
    struct cf_distinct_share *share = &set->shares[hash >> 48 & (CF_DISTINCT_SHARES - 1)];
    size_t start = share->items.len;
    struct distinct_slot *slot;

    if (!distinct_share_reserve(share) || cf_buffer_add(&share->items, item, len) != CF_BUFFER_OK)
        return true;
    slot = distinct_find(&share->slots, &share->items, start, hash, distinct_no_folding);
    if (slot->len != 0) {
        memcpy(place, share->items.data + slot->start + slot->len, sizeof *place);
        share->items.len = start;
        return false;
    }
    /* Its place stands behind it. */
    if (cf_buffer_add(&share->items, (const char *)place, sizeof *place) != CF_BUFFER_OK) {
        share->items.len = start;
        return true;
    }
    *slot = (struct distinct_slot){start, len, hash};
    share->count++;
    return true;
}
