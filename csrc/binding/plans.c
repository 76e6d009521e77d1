/* The plans of zones, as far as the API has told of them: plan = "auto". */
#include "binding/plans.h"

#include <stdint.h>
#include <string.h>

#include "base/memory.h"

/* FNV-1a: ids are random already. */
static size_t plans_hash(const char *id)
{
    uint32_t hash = 2166136261u;

    for (; *id; id++)
        hash = (hash ^ (unsigned char)*id) * 16777619u;
    return hash;
}

/* The zone's place, or the free one where it would be. The table has a free one. */
static struct cf_zone_plan *plans_place(struct cf_zone_plan *zones, size_t size, const char *zone_id)
{
    size_t at = plans_hash(zone_id) & (size - 1);

    while (zones[at].zone_id[0] && strcmp(zones[at].zone_id, zone_id) != 0)
        at = (at + 1) & (size - 1);
    return &zones[at];
}

const struct cf_zone_plan *cf_plans_find(const struct cf_plans *plans, const char *zone_id)
{
    const struct cf_zone_plan *found;

    if (!plans || !zone_id || plans->count == 0)
        return NULL;
    found = plans_place(plans->zones, plans->size, zone_id);
    return found->zone_id[0] ? found : NULL;
}

static bool plans_grow(struct cf_plans *plans)
{
    size_t size = plans->size ? plans->size * 2 : 16, i;
    struct cf_zone_plan *zones = cf_zalloc(size * sizeof *zones);

    if (!zones)
        return false;
    for (i = 0; i < plans->size; i++)
        if (plans->zones[i].zone_id[0])
            *plans_place(zones, size, plans->zones[i].zone_id) = plans->zones[i];
    cf_free(plans->zones);
    plans->zones = zones;
    plans->size = size;
    return true;
}

bool cf_plans_set(struct cf_plans *plans, const struct cf_zone_plan *plan)
{
    struct cf_zone_plan *place;

    if (2 * plans->count >= plans->size && !plans_grow(plans))
        return false;
    place = plans_place(plans->zones, plans->size, plan->zone_id);
    plans->count += place->zone_id[0] == 0;
    *place = *plan;
    return true;
}

void cf_plans_free(struct cf_plans *plans)
{
    cf_free(plans->zones);
    memset(plans, 0, sizeof *plans);
}
