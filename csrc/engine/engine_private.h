/* One engine, as the files that move it share it. Nobody else includes it. */
#ifndef CFPURGE_ENGINE_PRIVATE_H
#define CFPURGE_ENGINE_PRIVATE_H

#include "base/heap.h"
#include "base/poller.h"
#include "engine/attempt.h"
#include "engine/budget.h"
#include "engine/ca.h"
#include "engine/engine.h"
#include "engine/libcurl.h"
#include "engine/origin.h"

/* One CURLM. libcurl's limit of connections counts for all hosts of a CURLM alike, and a connection of a CURLM is never
 * used by another: so requests that may share connections as HTTP/2 streams have one, and those that need a connection
 * each have the other. */
struct cf_lane {
    struct cf_engine *engine;
    CURLM *multi;         /* NULL until used, and after a fatal error */
    int64_t due;          /* libcurl's own next timer */
    bool broken;          /* a callback had no memory or descriptor */
    size_t running;       /* transfers that were added */
    long max_connections; /* how many libcurl keeps, busy ones included */
};

enum cf_lane_name { CF_LANE_STREAMS, CF_LANE_HTTP1, CF_LANES };

/* A client's requests. A transfer is in one state, which its list tells:
 *
 *              submit                     a slot and tokens                 an answer, or none
 *    (caller) --------> queued (a queue) -----------------> running (libcurl) ----------------> done --take--> taken
 *                        ^   ^                                 |  |                               ^            |
 *                        |   |  put back: it was not sent      |  | to be tried again             |            v
 *                        |   +---------------------------------+  v                               |           idle
 *                        +-------------------------- waiting (`instants`) ------------------------+
 *                                  due                     cancel, close, deadline (from any state)
 *
 * queued: in its queues, by bucket and rank; with a deadline also in `instants`. waiting: in `waiting` and in
 * `instants`, by the time of its next attempt. running: in `running`, in a lane's CURLM, and in `overdue` where its
 * attempt has a time-out. Both heaps have room for all transfers in flight, so that no move between states can fail.
 * `by_id` holds all in flight and all done ones. Nothing here takes time that grows with what is queued: heads decide,
 * heaps tell the next instant. */
struct cf_engine {
    uint32_t generation; /* of the process that owns the lanes and the poller */
    struct cf_lane lanes[CF_LANES];
    CURLSH *share; /* of TLS sessions */
    struct cf_poller poller;
    bool poller_open, closed, want_events, warned;
    bool suspect;           /* others may still hold a connection on which an attempt timed out */
    bool untold;            /* something has ended since the last step, which nobody was woken for */
    bool unfinished;        /* the last step left work to the next one */
    bool unread;            /* the last look at the descriptors may have left news */
    int64_t now;            /* the clock, as this step has read it last */
    int64_t alarm;          /* an instant that the caller waits for */
    int64_t pace_due;       /* when the pacer lets the next queued request go */
    int64_t patience;       /* the longest connect_timeout that a request has had; see cf_multi_be_patient */
    struct cf_budget own;   /* the first of all budgets */
    struct cf_budget *turn; /* whose requests go first in the next step */
    size_t max_connections, max_queued;
    size_t queued; /* transfers in all queues of all budgets */
    uint64_t last_id, random;
    struct cf_origin *origins;
    struct cf_heap instants, overdue;
    struct cf_transfer **by_id; /* chains by the low bits of the id */
    size_t by_id_size, by_id_count;
    struct cf_transfer_list running, waiting, done, taken, idle;
    struct curl_slist *addresses; /* those that were looked up before; NULL: libcurl looks up */
    struct cf_ca *cas;            /* the files of CAs that were read, until the engine is freed */
    struct cf_event *events;
    size_t event_first, event_count, event_cap;
    struct cf_engine_stats stats;
};

/* Does it wait in the lane of streams, where libcurl has not sent it yet? `origin->unsent` counts these. */
static inline bool cf_engine_is_unsent(const struct cf_transfer *transfer)
{
    return transfer->lane == &transfer->engine->lanes[CF_LANE_STREAMS] && transfer->sendings == 0;
}

/* engine.c */
/* Reads the clock: has this step worked until `until`? Then the rest is left to the next one. */
bool cf_engine_is_late(struct cf_engine *engine, int64_t until);

/* events.c */
void cf_events_add(struct cf_engine *engine, const struct cf_transfer *transfer, enum cf_event_name name, int64_t wait);
/* Tells once an engine where the running libcurl's name resolution can block. */
void cf_events_warn(struct cf_engine *engine);

/* multi.c */
/* Opens what a request of this origin needs. False: out of memory or descriptors. */
bool cf_multi_open(struct cf_engine *engine, enum cf_lane_name lane);
bool cf_multi_open_poller(struct cf_engine *engine);
/* Frees the CURLMs, their connections and every idle easy handle. */
void cf_multi_close(struct cf_engine *engine);
/* After a fork everything starts anew, and the requests in flight are the parent's. */
void cf_multi_notice_fork(struct cf_engine *engine);
/* Gives a prepared transfer to libcurl, in the lane it was prepared for. */
CURLcode cf_multi_add(struct cf_transfer *transfer);
/* Takes it back, whether it has ended or not. */
void cf_multi_remove(struct cf_transfer *transfer);
/* Lets libcurl work on one descriptor, or with CURL_SOCKET_TIMEOUT on its timers, and settles the attempts that end by
 * it. */
void cf_multi_act(struct cf_lane *lane, curl_socket_t fd, int what);
/* Runs libcurl's timers that are due. */
void cf_multi_run_timers(struct cf_engine *engine);
/* The callbacks of a transfer's sockets, with the transfer or the engine as their pointer. */
curl_socket_t cf_multi_open_socket(void *transfer, curlsocktype purpose, struct curl_sockaddr *address);
int cf_multi_close_socket(void *engine, curl_socket_t fd);
/* May this request be sent on the connection that libcurl has chosen? libcurl asks before each sending. */
int cf_sending_begins(void *transfer, char *ip, char *local_ip, int port, int local_port);
/* No open connection is given up sooner than the longest connect_timeout allows. */
void cf_multi_be_patient(struct cf_engine *engine, int64_t connect_timeout);

/* schedule.c */
/* A filled transfer goes to its queue. */
void cf_schedule_submit(struct cf_transfer *transfer);
/* Ends deadlines and takes up retries that are due, then starts the requests that may go out, until `until`. */
void cf_schedule_run(struct cf_engine *engine, int64_t until);
/* Ends the attempts that have timed out. */
void cf_schedule_overdue(struct cf_engine *engine);
/* An attempt is over: libcurl says how, and the transfer is out of its CURLM. */
void cf_schedule_attempt_ended(struct cf_engine *engine, struct cf_transfer *transfer, CURLcode code);
/* Puts back the requests of an origin that libcurl holds and has not sent, for it was found to speak HTTP/1.1. */
void cf_schedule_put_back_unsent(struct cf_engine *engine, struct cf_origin *origin);
/* Ends a request from outside, whatever state it is in. */
void cf_schedule_end(struct cf_engine *engine, struct cf_transfer *transfer, enum cf_failure failure,
                     const char *error);
/* Ends all in flight. */
void cf_schedule_end_all(struct cf_engine *engine, enum cf_failure failure, const char *error);
/* The next instant at which something is to be done without a socket's news. */
int64_t cf_schedule_next(const struct cf_engine *engine);

#endif
