/* A store's handle in Lua: units go in, step moves them, take hands out what has ended. The stores differ in struct
 * cf_store_io alone. Times are microseconds of cf_clock_now. */
#ifndef CFPURGE_STORE_H
#define CFPURGE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/poller.h"
#include "binding/compat.h"
#include "queue/unit.h"

struct cf_store;

/* All but `open` may be called on a store that is not open. */
struct cf_store_io {
    const char *type; /* the metatable's name */
    /* Opens what the system is asked for. False: the problem is in `problem`. */
    bool (*open)(struct cf_store *store, char *problem);
    /* Takes the work over. */
    void (*submit)(struct cf_store *store, struct cf_work *work);
    /* Goes on with what has come, after each wait; `events` are those of the poller. */
    void (*step)(struct cf_store *store, const struct cf_poller_event *events, int count);
    /* Gives all of the work back by cf_units_returned, and frees. */
    void (*close)(struct cf_store *store);
};

/* What a store has of its own begins with this. */
struct cf_store_own {
    struct cf_store_own *next; /* of what a forked child leaves as it is */
};

/* One owner, one thread. `units` is a ring by id: an id's place is id & (capacity - 1), and holds it from its submit to
 * its take. `running` and `ended` have each unit once. */
struct cf_store {
    const struct cf_store_io *io;
    void *own;    /* a struct cf_store_own: made by open, gone after close */
    char *target; /* a path or a URL */
    double seconds;
    struct cf_poller poller;
    uint32_t generation;
    bool is_open, is_closed, has_poller;
    int watched; /* the client's descriptor; -1 for none */
    int64_t deadline,
        due; /* when the owner, and when the store itself, wants a step; CF_POLLER_NEVER for no such time */
    struct cf_units units;
    struct cf_work *draft; /* what a submit is reading */
    bool is_busy;          /* amid its settle function */
};

/* From now on the store wants a step at this instant. */
void cf_store_due(struct cf_store *store, int64_t at);
/* Leaves { open = function } on the stack, the methods being registered under io->type. */
void cf_store_register(lua_State *L, const struct cf_store_io *io, lua_CFunction open_function);
/* open(target, options): the handle. `seconds` is the value of the option `name`, or of `otherwise`. */
int cf_store_push_new(lua_State *L, const struct cf_store_io *io, const char *name, double otherwise);

#endif
