/* The plans of zones, as far as the API has told of them: plan = "auto". */
#ifndef CFPURGE_PLANS_H
#define CFPURGE_PLANS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/pacer.h"

struct cf_budget;

/* A zone's: its purges draw from `budget`. */
struct cf_zone_plan {
    char zone_id[33]; /* empty: this place is free */
    bool is_enterprise;
    struct cf_rates rates;
    struct cf_budget *budget; /* the engine's */
};

/* Open addressing, at most half full. All zero is empty. */
struct cf_plans {
    struct cf_zone_plan *zones;
    size_t size, count;
};

/* NULL: the zone's plan is not known; NULL for `plans` or `zone_id` is fine. */
const struct cf_zone_plan *cf_plans_find(const struct cf_plans *plans, const char *zone_id);
/* Keeps a zone's plan in place of what was known of it. False: out of memory. */
bool cf_plans_set(struct cf_plans *plans, const struct cf_zone_plan *plan);
void cf_plans_free(struct cf_plans *plans);

#endif
