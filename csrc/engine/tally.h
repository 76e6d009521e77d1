/* How a client's requests have ended: counts by outcome. */
#ifndef CFPURGE_TALLY_H
#define CFPURGE_TALLY_H

#include <stddef.h>
#include <stdint.h>

/* Accepted, and the kinds of error of base/verdict.c. */
#define CF_OUTCOMES 17
#define CF_TALLY_BOUNDS 10

struct cf_outcome_count {
    const char *kind; /* NULL: accepted */
    uint64_t requests, items;
    double seconds;
    uint64_t within[CF_TALLY_BOUNDS]; /* those that took at most so long, and longer than the bound before */
};

/* `counts` has those that there were, in the order in which each was first met. */
struct cf_tally {
    size_t used;
    struct cf_outcome_count counts[CF_OUTCOMES];
};

/* In seconds, growing. */
extern const double cf_tally_bounds[CF_TALLY_BOUNDS];

void cf_tally_add(struct cf_tally *tally, const char *kind, size_t items, double seconds);

#endif
