/* How a client's requests have ended: counts by outcome. */
#include "engine/tally.h"

#include <string.h>

/* From an edge nearby to a request that has waited for its turn. */
const double cf_tally_bounds[CF_TALLY_BOUNDS] = {0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};

static struct cf_outcome_count *tally_find(struct cf_tally *tally, const char *kind)
{
    struct cf_outcome_count *count;
    size_t i;

    for (i = 0; i < tally->used; i++) {
        const char *known = tally->counts[i].kind;
        if (known == kind || (known && kind && strcmp(known, kind) == 0))
            return &tally->counts[i];
    }
    if (tally->used == CF_OUTCOMES)
        return NULL;
    count = &tally->counts[tally->used++];
    count->kind = kind;
    return count;
}

void cf_tally_add(struct cf_tally *tally, const char *kind, size_t items, double seconds)
{
    struct cf_outcome_count *count = tally_find(tally, kind);
    size_t i;

    if (!count)
        return;
    count->requests++;
    count->items += items;
    count->seconds += seconds;
    for (i = 0; i < CF_TALLY_BOUNDS; i++)
        if (seconds <= cf_tally_bounds[i]) {
            count->within[i]++;
            return;
        }
}
