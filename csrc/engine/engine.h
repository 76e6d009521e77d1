/* A client's requests: submit, step, take, cancel. Nothing here knows of Lua, and nothing of curl is seen here. One
 * owner, one thread. Times are microseconds, instants those of cf_clock_now. */
#ifndef CFPURGE_ENGINE_H
#define CFPURGE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/exchange.h"
#include "engine/tally.h"

struct cf_engine;
struct cf_transfer;

/* All but the first row only grow; a forked child begins with none. */
struct cf_engine_stats {
    size_t queued, running, waiting, done;
    uint64_t started, finished, retries, connections, bytes_sent, bytes_received;
    uint64_t attempts;     /* that have ended: one that is begun may be put back */
    uint64_t rate_limited; /* attempts that the server refused for the rate */
    struct cf_tally tally;
};

struct cf_bucket_state {
    double rate;  /* a second */
    double left;  /* tokens; negative where there is no limit */
    int64_t held; /* how long the next request would wait for it */
};

struct cf_budget_state {
    char key[128]; /* the beginning of it; empty: the client's own */
    struct cf_bucket_state buckets[CF_BUCKETS];
};

struct cf_engine_settings {
    struct cf_rates rates;  /* full buckets at first */
    size_t max_connections; /* to an origin that speaks HTTP/1.1 */
    size_t max_queued;      /* requests in flight, and those that have ended and were not taken */
};

/* NULL: out of memory. It opens nothing until it is first used, and starts anew in a forked child. */
struct cf_engine *cf_engine_new(const struct cf_engine_settings *settings);
/* Frees everything, requests in flight and those not taken included; NULL is fine. */
void cf_engine_free(struct cf_engine *engine);
/* Ends all that is in flight with CF_CLOSED, ready to be taken, and frees the connections. */
void cf_engine_close(struct cf_engine *engine);

/* Reads a file of CAs that requests are to trust beside the system's, unless it was read before. NULL, or what is wrong
 * with it. */
const char *cf_engine_trust(struct cf_engine *engine, const char *ca_file);
/* The budget of this key (a plan of an account), made where there is none yet; it lives as long as the engine. NULL:
 * out of memory. Where it `counts`, all calls of it stand in the windows of the client's own budget too. */
struct cf_budget *cf_engine_budget(struct cf_engine *engine, const char *key, const struct cf_rates *rates,
                                   bool counts);
/* See cf_pacer_ordered. */
int64_t cf_engine_ordered(const struct cf_budget *budget, enum cf_bucket bucket, int64_t *all);
/* The id of the new request. 0: *failure says why, CF_EXHAUSTED (memory or descriptors) or CF_FULL (max_queued). */
uint64_t cf_engine_submit(struct cf_engine *engine, struct cf_submission *submission, enum cf_failure *failure);
/* Moves everything forward, waits at most `timeout` for something to happen; how many requests are in flight. */
size_t cf_engine_step(struct cf_engine *engine, int64_t timeout);
/* False where no such request is in flight; with `unsent`, where libcurl has it as well. Otherwise it is ready to be
 * taken, CF_CANCELLED. */
bool cf_engine_cancel(struct cf_engine *engine, uint64_t id, bool unsent);

/* The request `id`, or any with 0, that ended and was not taken yet; NULL for none. It is to be released, or put back.
 */
struct cf_transfer *cf_engine_take(struct cf_engine *engine, uint64_t id);
void cf_engine_put_back(struct cf_engine *engine, struct cf_transfer *transfer);
void cf_engine_ending(const struct cf_transfer *transfer, struct cf_ending *ending);
void cf_engine_release(struct cf_engine *engine, struct cf_transfer *transfer);

/* Readable when a step has work; -1 where the system has no such thing or nothing could be opened. */
int cf_engine_fd(struct cf_engine *engine);
/* The caller has work for the next step: until then the descriptor is readable. */
void cf_engine_wake(struct cf_engine *engine);
/* A step ends in so many microseconds, and until there is another alarm none waits any more; CF_NEVER: no alarm. */
void cf_engine_alarm(struct cf_engine *engine, int64_t wait);
/* How long a step may be put off; CF_NEVER where nothing is in flight and no alarm is set. */
int64_t cf_engine_timeout(struct cf_engine *engine);
size_t cf_engine_in_flight(struct cf_engine *engine);
/* How many have ended and were not taken. */
size_t cf_engine_done(struct cf_engine *engine);

void cf_engine_want_events(struct cf_engine *engine);
/* The oldest event not seen yet. */
bool cf_engine_next_event(struct cf_engine *engine, struct cf_event *event);

void cf_engine_stats(struct cf_engine *engine, struct cf_engine_stats *stats);
/* Budget number `i`, the client's own first. False: there are not so many. */
bool cf_engine_budget_state(struct cf_engine *engine, size_t i, struct cf_budget_state *state);

#endif
