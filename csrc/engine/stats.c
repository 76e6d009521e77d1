/* What an engine has done, and what is left of its budgets. */
#include "engine/engine_private.h"

#include <string.h>

#include "base/clock.h"

void cf_engine_stats(struct cf_engine *engine, struct cf_engine_stats *stats)
{
    cf_multi_notice_fork(engine);
    *stats = engine->stats;
    stats->queued = engine->queued;
    stats->running = engine->running.count;
    stats->waiting = engine->waiting.count;
    stats->done = engine->done.count;
}

bool cf_engine_budget_state(struct cf_engine *engine, size_t i, struct cf_budget_state *state)
{
    int64_t now = cf_clock_now(), ordered;
    struct cf_budget *budget = &engine->own;
    int bucket;

    for (; budget && i > 0; i--)
        budget = budget->next;
    if (!budget)
        return false;
    memset(state, 0, sizeof *state);
    if (budget->key)
        strncpy(state->key, budget->key, sizeof state->key - 1);
    for (bucket = 0; bucket < CF_BUCKETS; bucket++) {
        int64_t when = cf_pacer_when(&budget->pacer, (enum cf_bucket)bucket, 1, now, &ordered);
        state->buckets[bucket].left = cf_pacer_left(&budget->pacer, (enum cf_bucket)bucket, now);
        state->buckets[bucket].held = when > now ? when - now : 0;
    }
    state->buckets[CF_BUCKET_REQUESTS].rate = budget->rates.requests;
    state->buckets[CF_BUCKET_URLS].rate = budget->rates.urls;
    return true;
}
