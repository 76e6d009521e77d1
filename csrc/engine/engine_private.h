/* What engine.c, journal.c, link.c and schedule.c share: one engine. Nobody else includes it. */
#ifndef CFPURGE_ENGINE_PRIVATE_H
#define CFPURGE_ENGINE_PRIVATE_H

#include "engine/engine.h"
#include "engine/libcurl.h"
#include "base/poller.h"
#include "engine/transfer.h"

/* Once a server is known to speak HTTP/2, this many connections carry all streams; over HTTP/1.1 each request needs its
 * own. */
#define CF_HTTP2_CONNECTIONS 4L

enum protocol { UNKNOWN, HTTP1, HTTP2 };

struct cf_engine {
    uint64_t generation; /* of the process that owns multi and poller */
    CURLM *multi;        /* NULL until used, and after a fatal error */
    CURLSH *share;
    struct cf_poller poller;
    bool poller_open, closed, want_events, broken, warned;
    bool suspect;    /* others may still hold a connection on which an attempt timed out */
    bool untold;     /* something has ended since the last step, which nobody was woken for */
    bool unfinished; /* the last step left what was due to the next one */
    enum protocol protocol;
    long max_connections;
    int64_t curl_due;      /* libcurl's own next timer */
    int64_t first_overdue; /* no running one is overdue before */
    int64_t pace_due;      /* when the pacer lets the next queued request go */
    struct cf_pacer pacer;
    uint64_t last_id, random;
    struct cf_transfer_list queued, running, waiting, done, taken, idle;
    struct cf_event *events;
    size_t event_first, event_count, event_cap;
    struct cf_engine_stats stats;
};

/* journal.c */
void cf_events_add(struct cf_engine *engine, const struct cf_transfer *transfer, enum cf_event_name name, int64_t wait);
/* Once an engine, where the running libcurl's name resolution can block. */
void cf_events_warn(struct cf_engine *engine);

/* link.c */
/* False: out of memory or descriptors. */
bool cf_multi_open(struct cf_engine *engine);
bool cf_multi_open_poller(struct cf_engine *engine);
/* Frees the CURLM, its connections and every idle easy handle. */
void cf_multi_close(struct cf_engine *engine);
/* Ends all that runs: libcurl has failed. */
void cf_multi_give_up(struct cf_engine *engine, CURLMcode code);
/* After a fork everything starts anew, and what was in flight is the parent's. */
void cf_multi_notice_fork(struct cf_engine *engine);
/* What the server speaks, as far as it is known by now. */
void cf_multi_protocol(struct cf_engine *engine, enum protocol protocol);
/* Counts the connections that an attempt made. */
void cf_multi_count(struct cf_engine *engine, const struct cf_transfer *transfer);
/* libcurl's timer callback. */
int cf_multi_timer(CURLM *multi, long milliseconds, void *engine);
/* It is over: ready to be taken. */
void cf_multi_ended(struct cf_engine *engine, struct cf_transfer *transfer);
/* The same from outside, whatever it was doing. */
void cf_multi_end(struct cf_engine *engine, struct cf_transfer *transfer, enum cf_failure failure, const char *error);
void cf_multi_end_all(struct cf_engine *engine, struct cf_transfer_list *list, enum cf_failure failure,
                      const char *error);

/* schedule.c */
/* Starts what may go out now. */
void cf_schedule_queued(struct cf_engine *engine);
/* The same, after the retries that are due; ends what is past its deadline. */
void cf_schedule_due(struct cf_engine *engine);
/* Ends what has timed out. */
void cf_schedule_overdue(struct cf_engine *engine);
/* An attempt is over: again, or the end? */
void cf_schedule_attempt_ended(struct cf_engine *engine, struct cf_transfer *transfer, CURLcode code);
/* The next instant at which something is to be done without a socket's news. */
int64_t cf_schedule_next(const struct cf_engine *engine);

#endif
