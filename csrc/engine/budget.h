/* What one plan of one account allows, and the requests that wait for it. */
#ifndef CFPURGE_BUDGET_H
#define CFPURGE_BUDGET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/pacer.h"
#include "engine/transfer.h"

struct cf_origin;

/* A request that a caller asked for goes ahead of a list's parts. */
enum cf_rank { CF_RANK_SINGLE, CF_RANK_PART, CF_RANKS };

/* The requests of one budget to one origin. `transfers` counts all of them that are in flight, in these queues or
 * elsewhere; where there is none it may be given to another origin, and its own may be gone. */
struct cf_queues {
    struct cf_queues *next;
    struct cf_origin *origin;
    size_t transfers;
    struct cf_transfer_list of[CF_BUCKETS][CF_RANKS];
};

/* A client has one of its own, without a key, from which all draws that nobody knows the plan of. Zones of one plan in
 * one account share another one, as long as the client lives. `queued` counts those in all of its queues. */
struct cf_budget {
    struct cf_budget *next;
    char *key;
    struct cf_rates rates;
    struct cf_pacer pacer;
    int64_t accepted[CF_BUCKETS]; /* when a request of a bucket was accepted last */
    struct cf_queues *queues;
    size_t queued;
};

/* The budget of this key, made with full buckets where there is none yet: after the first one, whose windows hold for
 * all that count. NULL: out of memory. */
struct cf_budget *cf_budget_find(struct cf_budget *first, const char *key, const struct cf_rates *rates, bool counts,
                                 int64_t now);
/* Its queues to this origin. NULL: out of memory. */
struct cf_queues *cf_budget_queues(struct cf_budget *budget, struct cf_origin *origin);
/* Frees all but the first one itself; nothing may be in flight. */
void cf_budget_free_all(struct cf_budget *first);

#endif
