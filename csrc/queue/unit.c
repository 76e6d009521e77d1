/* Units of work: each has an id, is in flight until it ends, and has ended until it is taken. */
#include "queue/unit.h"

#include <string.h>

#include "base/memory.h"

#define MAX_BYTES ((size_t)64 << 20)
#define FIRST_CAPACITY 64

/* ---- work ---- */

void cf_work_fail(struct cf_work *work, const char *reason, const char *text)
{
    work->reason = reason;
    if (text != work->problem)
        strncpy(work->problem, text, sizeof work->problem - 1);
}

void cf_work_free(struct cf_work *work)
{
    if (work) {
        cf_buffer_free(&work->commands);
        cf_buffer_free(&work->results);
        cf_free(work);
    }
}

struct cf_work *cf_work_new(void)
{
    struct cf_work *work = cf_zalloc(sizeof *work);

    if (work)
        work->commands.max = work->results.max = MAX_BYTES;
    return work;
}

/* ---- units ---- */

static void unit_unlink(struct cf_unit_list *list, struct cf_unit *unit)
{
    *(unit->previous ? &unit->previous->next : &list->first) = unit->next;
    *(unit->next ? &unit->next->previous : &list->last) = unit->previous;
    list->count--;
}

static void unit_append(struct cf_unit_list *list, struct cf_unit *unit)
{
    unit->next = NULL;
    unit->previous = list->last;
    *(list->last ? &list->last->next : &list->first) = unit;
    list->last = unit;
    list->count++;
}

static struct cf_unit **unit_place(const struct cf_units *units, uint64_t id)
{
    return &units->ring[id & (units->capacity - 1)];
}

struct cf_unit *cf_units_find(const struct cf_units *units, uint64_t id)
{
    struct cf_unit *unit = units->capacity ? *unit_place(units, id) : NULL;
    return unit && unit->id == id && !unit->is_hidden ? unit : NULL;
}

/* Puts all units and the next one into a larger ring. False: two of them share a place, or memory is short. */
static bool unit_spread(struct cf_units *units, struct cf_units *larger)
{
    size_t i;

    larger->ring = cf_zalloc(larger->capacity * sizeof(struct cf_unit *));
    for (i = 0; larger->ring && i < units->capacity; i++)
        if (units->ring[i])
            *unit_place(larger, units->ring[i]->id) = units->ring[i];
    return larger->ring != NULL;
}

/* Makes the next id's place free. Ids that run lie close together, so that a ring twice as large mostly does. */
static bool unit_make_room(struct cf_units *units)
{
    uint64_t oldest = units->last_id + 1;
    struct cf_units larger = {.capacity = units->capacity ? units->capacity : FIRST_CAPACITY};
    size_t i;

    if (units->capacity && !*unit_place(units, units->last_id + 1))
        return true;
    for (i = 0; i < units->capacity; i++)
        if (units->ring[i] && units->ring[i]->id < oldest)
            oldest = units->ring[i]->id;
    while (larger.capacity <= units->last_id + 1 - oldest)
        larger.capacity *= 2;
    if (!unit_spread(units, &larger))
        return false;
    cf_free(units->ring);
    units->ring = larger.ring;
    units->capacity = larger.capacity;
    return true;
}

struct cf_unit *cf_units_new(struct cf_units *units, struct cf_work *work)
{
    struct cf_unit *unit = unit_make_room(units) ? cf_zalloc(sizeof *unit) : NULL;

    if (unit) {
        work->id = unit->id = ++units->last_id;
        *unit_place(units, unit->id) = unit;
        unit_append(&units->running, unit);
    }
    return unit;
}

void cf_units_end(struct cf_units *units, struct cf_unit *unit, struct cf_work *work, const char *reason)
{
    unit_unlink(&units->running, unit);
    unit->work = work;
    unit->reason = reason;
    unit->has_ended = true;
    units->finished++;
    unit_append(&units->ended, unit);
}

void cf_units_returned(struct cf_units *units, struct cf_work *work)
{
    struct cf_unit *unit = cf_units_find(units, work->id);

    if (unit && !unit->has_ended)
        cf_units_end(units, unit, work, work->reason);
    else
        cf_work_free(work);
}

void cf_units_end_all(struct cf_units *units, const char *reason)
{
    while (units->running.first)
        cf_units_end(units, units->running.first, NULL, reason);
}

void cf_units_hide(struct cf_units *units, struct cf_unit *unit)
{
    unit_unlink(&units->ended, unit);
    unit->is_hidden = true;
}

void cf_units_show(struct cf_units *units, struct cf_unit *unit)
{
    unit->is_hidden = false;
    unit_append(&units->ended, unit);
    /* All others have been freed meanwhile. */
    if (!units->ring)
        cf_units_drop(units, unit);
}

void cf_units_drop(struct cf_units *units, struct cf_unit *unit)
{
    if (!unit->is_hidden)
        unit_unlink(unit->has_ended ? &units->ended : &units->running, unit);
    if (units->ring)
        *unit_place(units, unit->id) = NULL;
    cf_work_free(unit->work);
    cf_free(unit);
}

void cf_units_free(struct cf_units *units)
{
    while (units->running.first)
        cf_units_drop(units, units->running.first);
    while (units->ended.first)
        cf_units_drop(units, units->ended.first);
    cf_free(units->ring);
    units->ring = NULL;
    units->capacity = 0;
}
