/* Finds items of a body that are the same to the API. It does not tell the case of tags and hosts, nor of the host in a
 * URL or prefix. */
#ifndef CFPURGE_DISTINCT_H
#define CFPURGE_DISTINCT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

/* The length of the part, from the start of an item as JSON, in which the API does not tell the case. */
typedef size_t cf_distinct_folded(const char *item, size_t len);
cf_distinct_folded cf_distinct_whole;  /* tags, hosts */
cf_distinct_folded cf_distinct_url;    /* a string or an object that begins with its url: to the end of the host */
cf_distinct_folded cf_distinct_prefix; /* to the end of the host */

/* A set of at most `count` items; `slots` is scratch that the caller owns. False: out of memory. */
bool cf_distinct_begin(struct cf_buffer *slots, size_t count);
/* Adds the item that `body` ends with, from `start` on; false where the same one is there already. */
bool cf_distinct_add(struct cf_buffer *slots, const struct cf_buffer *body, size_t start, cf_distinct_folded *folded);

/* A set that grows without ever standing still for long: it has many shares, and one of them grows at a time. All zero
 * but `max`es is empty; cf_distinct_set_init sets these. */
#define CF_DISTINCT_SHARES 1024

struct cf_distinct_set {
    struct cf_distinct_share {
        struct cf_buffer items, slots;
        size_t count;
    } shares[CF_DISTINCT_SHARES];
};

void cf_distinct_set_init(struct cf_distinct_set *set);
void cf_distinct_set_free(struct cf_distinct_set *set);
/* Adds these bytes, which stand at `place`; false where the same ones are there already, and `place` is theirs then.
 * Without memory it adds nothing and says true. */
bool cf_distinct_set_add(struct cf_distinct_set *set, const char *item, size_t len, int64_t *place);

#endif
