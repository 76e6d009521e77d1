/* What one plan of one account allows, and the requests that wait for it. */
#include "engine/budget.h"

#include <string.h>

#include "base/memory.h"

static void budget_free(struct cf_budget *budget)
{
    struct cf_queues *queues;

    while ((queues = budget->queues)) {
        budget->queues = queues->next;
        cf_free(queues);
    }
    cf_pacer_free(&budget->pacer);
    cf_free(budget->key);
    budget->key = NULL;
}

struct cf_budget *cf_budget_find(struct cf_budget *first, const char *key, const struct cf_rates *rates, bool counts,
                                 int64_t now)
{
    struct cf_budget *budget;

    for (budget = first->next; budget; budget = budget->next)
        if (strcmp(budget->key, key) == 0)
            return budget;
    budget = cf_zalloc(sizeof *budget);
    if (!budget)
        return NULL;
    budget->key = cf_strndup(key, strlen(key));
    if (!budget->key || !cf_pacer_set(&budget->pacer, rates, now)) {
        budget_free(budget);
        cf_free(budget);
        return NULL;
    }
    budget->rates = *rates;
    budget->pacer.of_all = counts ? &first->pacer : NULL;
    budget->next = first->next;
    first->next = budget;
    return budget;
}

struct cf_queues *cf_budget_queues(struct cf_budget *budget, struct cf_origin *origin)
{
    struct cf_queues *queues, *spare = NULL;

    for (queues = budget->queues; queues; queues = queues->next) {
        if (queues->origin == origin)
            return queues;
        if (queues->transfers == 0)
            spare = queues;
    }
    if (!spare) {
        spare = cf_zalloc(sizeof *spare);
        if (!spare)
            return NULL;
        spare->next = budget->queues;
        budget->queues = spare;
    }
    spare->origin = origin;
    return spare;
}

void cf_budget_free_all(struct cf_budget *first)
{
    struct cf_budget *budget;

    while ((budget = first->next)) {
        first->next = budget->next;
        budget_free(budget);
        cf_free(budget);
    }
    budget_free(first);
}
