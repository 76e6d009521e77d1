/* Units of work: each has an id, is in flight until it ends, and has ended until it is taken. */
#ifndef CFPURGE_UNIT_H
#define CFPURGE_UNIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

#define CF_WORK_PROBLEM 256

/* The work of a unit, apart from the unit: a thread may have it when the handle has given it up. */
struct cf_work {
    struct cf_work *next;
    struct cf_buffer commands, results; /* queue/values.h */
    uint64_t id;                        /* of its unit */
    int64_t due;                        /* when its time is over, where the store has one */
    size_t open;                        /* commands that were not answered yet, where the store counts them */
    const char *reason;                 /* NULL: it was done */
    char problem[CF_WORK_PROBLEM];      /* where it was not: a sentence */
};

/* One submit. It is in flight, or has ended and waits to be taken; its handle finds it by id. */
struct cf_unit {
    uint64_t id;
    struct cf_unit *next, *previous; /* in `running` or `ended`, unless it is hidden */
    bool has_ended, is_hidden;
    struct cf_work *work; /* NULL while the store has it */
    const char *reason;   /* where it ended without its work coming back */
};

struct cf_unit_list {
    struct cf_unit *first, *last;
    size_t count;
};

/* `ring` is by id: an id's place is id & (capacity - 1), and holds the unit from its making to its dropping. `running`
 * and `ended` together have each unit once that is not hidden. All zero is empty. */
struct cf_units {
    struct cf_unit **ring;
    size_t capacity;
    uint64_t last_id, finished;
    struct cf_unit_list running, ended;
};

struct cf_work *cf_work_new(void);
/* NULL is fine. */
void cf_work_free(struct cf_work *work);
/* Sets why a work was not done; `text` is cut to what there is room for. Safe in any thread. */
void cf_work_fail(struct cf_work *work, const char *reason, const char *text);

/* A new unit, which runs; `work` gets its id. NULL: memory is short. */
struct cf_unit *cf_units_new(struct cf_units *units, struct cf_work *work);
/* NULL where there is none of this id, or it is hidden. */
struct cf_unit *cf_units_find(const struct cf_units *units, uint64_t id);
/* A unit that runs ends; it owns `work`, which may be NULL. */
void cf_units_end(struct cf_units *units, struct cf_unit *unit, struct cf_work *work, const char *reason);
/* The work comes back: its unit has ended. Where nobody waits for it any more it is freed. */
void cf_units_returned(struct cf_units *units, struct cf_work *work);
void cf_units_end_all(struct cf_units *units, const char *reason);
/* One that has ended is the caller's alone, until it is shown or dropped. */
void cf_units_hide(struct cf_units *units, struct cf_unit *unit);
void cf_units_show(struct cf_units *units, struct cf_unit *unit);
void cf_units_drop(struct cf_units *units, struct cf_unit *unit);
/* Drops all but those that are hidden. */
void cf_units_free(struct cf_units *units);

#endif
