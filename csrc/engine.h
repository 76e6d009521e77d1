/* A client's requests on one CURLM: submit, step, take, cancel. Nothing here knows of Lua, and nothing of curl is seen here.
 * One owner, one thread. Times are microseconds, instants those of cf_process_now. */
#ifndef CFPURGE_ENGINE_H
#define CFPURGE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"
#include "pacer.h"
#include "response.h"
#include "retry.h"

#define CF_ENGINE_NEVER INT64_MAX

struct cf_engine;
struct cf_transfer;

/* What to send. All is borrowed for the call; `body` is swapped for another buffer on success, NULL means GET. */
struct cf_submission {
    const char *url;
    size_t path_at;                     /* where in `url` the part begins that events name */
    const char *headers;                /* lines, each NUL-terminated, one after another */
    size_t headers_size;
    struct cf_buffer *body;
    const char *secrets[2];             /* masked in whatever comes back; NULL for none */
    size_t items;                       /* comes back in the ending; what it costs where `bucket` counts URLs */
    enum cf_bucket bucket;
    const char *proxy, *ca_file, *user_agent;   /* NULL for none; an empty proxy means: not even the environment's */
    bool direct;                        /* no proxy of the environment either */
    struct cf_retry_policy retry;
    int64_t timeout, connect_timeout, deadline; /* durations; 0 for none */
};

/* How a request ended. Valid until it is released. */
struct cf_ending {
    uint64_t id;
    enum cf_failure failure;
    const char *error;                  /* libcurl's words; empty where failure is CF_OK */
    const struct cf_response *response; /* of the last attempt */
    int attempts;
    int64_t elapsed;
    int64_t retry_after;                /* -1 where the server ordered none */
    bool retryable;
    const char *body;                   /* what was sent */
    size_t body_len;
    const char *path;                   /* the part of the URL behind base_url */
    size_t items;
    const char *const *secrets;         /* two, each may be NULL: to be masked in what the body says */
};

enum cf_event_name { CF_EVENT_REQUEST, CF_EVENT_RESPONSE, CF_EVENT_RETRY, CF_EVENT_DONE, CF_EVENT_WARNING };

struct cf_event {
    enum cf_event_name name;
    const char *message;                /* of CF_EVENT_WARNING, which has nothing else */
    uint64_t id;
    const char *method;
    char path[128];                     /* without base_url's own path and without a query */
    char ray_id[64];
    int attempt, status;
    enum cf_failure failure;
    int64_t elapsed;                    /* of the attempt; for CF_EVENT_DONE of the request */
    int64_t wait;                       /* CF_EVENT_RETRY: until the next attempt */
    size_t bytes;                       /* of the body: sent, or received */
};

struct cf_engine_stats {
    double left[CF_BUCKETS];            /* tokens; negative where there is no limit */
    int64_t held[CF_BUCKETS];           /* how long the next request of a bucket would wait for it */
    size_t queued, running, waiting, done;
    uint64_t started, finished, attempts, retries, connections, bytes_sent, bytes_received;
};

/* NULL: out of memory. It opens nothing until it is first used, and starts anew in a forked child. */
struct cf_engine *cf_engine_new(void);
/* Holds requests back to these rates, from full buckets on. False: out of memory. */
bool cf_engine_pace(struct cf_engine *engine, const struct cf_rates *rates);
/* Frees everything, requests in flight and those not taken included; NULL is fine. */
void cf_engine_free(struct cf_engine *engine);
/* Ends all that is in flight with CF_CLOSED, ready to be taken, and frees the connections. */
void cf_engine_close(struct cf_engine *engine);

/* The id of the new request, 0 where memory or descriptors ran out. */
uint64_t cf_engine_submit(struct cf_engine *engine, struct cf_submission *submission);
/* Moves everything forward, waits at most `timeout` for something to happen; how many requests are in flight. */
size_t cf_engine_step(struct cf_engine *engine, int64_t timeout);
/* False where no such request is in flight. Otherwise it is ready to be taken, CF_CANCELLED. */
bool cf_engine_cancel(struct cf_engine *engine, uint64_t id);

/* The request `id`, or any with 0, that ended and was not taken yet; NULL for none. It is to be released, or put back. */
struct cf_transfer *cf_engine_take(struct cf_engine *engine, uint64_t id);
void cf_engine_put_back(struct cf_engine *engine, struct cf_transfer *transfer);
void cf_engine_ending(const struct cf_transfer *transfer, struct cf_ending *ending);
void cf_engine_release(struct cf_engine *engine, struct cf_transfer *transfer);

/* Readable when a step has work; -1 where the system has no such thing or nothing could be opened. */
int cf_engine_fd(struct cf_engine *engine);
/* How long a step may be put off; CF_ENGINE_NEVER where nothing is in flight. */
int64_t cf_engine_timeout(struct cf_engine *engine);
size_t cf_engine_in_flight(struct cf_engine *engine);

void cf_engine_want_events(struct cf_engine *engine);
/* The oldest event not seen yet. */
bool cf_engine_next_event(struct cf_engine *engine, struct cf_event *event);

void cf_engine_stats(struct cf_engine *engine, struct cf_engine_stats *stats);

#endif
