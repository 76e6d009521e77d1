/* The binding gives the engine a submission, and gets an ending and events back. Times are microseconds, instants
 * those of cf_clock_now. */
#ifndef CFPURGE_EXCHANGE_H
#define CFPURGE_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/pacer.h"
#include "base/response.h"
#include "base/retry.h"

#define CF_NEVER INT64_MAX

struct cf_budget;

/* A request to send. All is borrowed for the call; `body` is swapped for another buffer on success, NULL means GET. */
struct cf_submission {
    const char *url;
    size_t path_at;      /* where in `url` the part begins that events name */
    const char *headers; /* lines, each NUL-terminated, one after another */
    size_t headers_size;
    struct cf_buffer *body;
    const char *secrets[2]; /* masked in whatever comes back; NULL for none */
    size_t asked;           /* items, with equal ones: comes back in the ending */
    size_t items;           /* what it costs where `bucket` counts URLs */
    enum cf_bucket bucket;
    struct cf_budget *budget;       /* what it draws from; NULL for the client's own */
    const char *budget_name;        /* the binding's: of the queue's, in place of `budget`; NULL for none */
    const char *proxy, *user_agent; /* NULL for none; an empty proxy means: not even the environment's */
    const char *ca_file;            /* read by cf_engine_trust before; NULL for none */
    bool direct;                    /* no proxy of the environment either */
    bool is_part;                   /* of a list: single requests that wait for the same bucket go first */
    struct cf_retry_policy retry;
    int64_t timeout, connect_timeout, deadline; /* durations; 0 for none */
};

/* How a request ended. Valid until it is released. */
struct cf_ending {
    uint64_t id;
    enum cf_failure failure;
    const char *error;                  /* libcurl's words; empty where failure is CF_OK */
    const struct cf_verdict *verdict;   /* of the last attempt's answer */
    const struct cf_response *response; /* of the last attempt */
    int attempts;
    int64_t elapsed;
    int64_t retry_after; /* -1 where the server ordered none */
    bool retryable;
    const char *body; /* what was sent */
    size_t body_len;
    const char *path; /* the part of the URL behind base_url */
    size_t asked;
    const char *const *secrets; /* two, each may be NULL: to be masked in what the body says */
};

enum cf_event_name { CF_EVENT_REQUEST, CF_EVENT_RESPONSE, CF_EVENT_RETRY, CF_EVENT_DONE, CF_EVENT_WARNING };

struct cf_event {
    enum cf_event_name name;
    const char *message; /* of CF_EVENT_WARNING, which has nothing else */
    uint64_t id;
    const char *method;
    char path[128]; /* without base_url's own path and without a query */
    char ray_id[64];
    int attempt, status;
    const char *kind; /* of what failed; NULL for none */
    int64_t elapsed;  /* of the attempt; for CF_EVENT_DONE of the request */
    int64_t wait;     /* CF_EVENT_RETRY: until the next attempt */
    size_t bytes;     /* of the body: sent, or received */
};

#endif
