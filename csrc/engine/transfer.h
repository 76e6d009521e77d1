/* One request on one easy handle: owns its copies, stands in one list, and goes through attempts (attempt.c). */
#ifndef CFPURGE_TRANSFER_H
#define CFPURGE_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/heap.h"
#include "engine/exchange.h"
#include "engine/libcurl.h"

struct cf_budget;
struct cf_ca;
struct cf_engine;
struct cf_lane;
struct cf_origin;
struct cf_queues;
struct cf_transfer_list;

/* Why cf_sending_begins kept libcurl from sending. */
enum cf_refusal {
    CF_REFUSAL_NONE,
    CF_REFUSAL_SHARED, /* another request is on that HTTP/1.1 connection */
    CF_REFUSAL_STALE,  /* the server has closed that kept connection */
    CF_REFUSAL_AGAIN   /* libcurl has sent it before: another sending is another attempt */
};

/* A transfer is in one list or queue of the engine, which tells its state (engine_private.h), or with whoever has taken
 * it. It owns `easy` and `block`. The texts that follow `block` point into it. `origin` and `queues` are set while it
 * is in flight, `lane` while libcurl has it. */
struct cf_transfer {
    struct cf_transfer *next, *previous; /* in `list` */
    struct cf_transfer_list *list;
    struct cf_transfer *chained; /* in the engine's index */
    uint64_t id;
    struct cf_engine *engine;
    struct cf_origin *origin;
    struct cf_budget *budget;
    struct cf_queues *queues; /* the budget's, to its origin */
    struct cf_lane *lane;
    struct cf_heap_node instant; /* when something is to be done with it, if nothing happens before */
    bool is_timed;               /* `instant` is in engine->overdue, not in engine->instants */

    uint32_t generation;         /* of the process that made `easy` */
    CURL *easy;                  /* NULL until the first attempt */
    bool is_set;                 /* `easy` has the options that no request changes, with this CA */
    const struct cf_ca *trusted; /* the CAs that `easy` has beside the system's; NULL for none */

    char *block; /* wiped before it is freed */
    size_t block_size;
    struct curl_slist *headers;
    const char *url, *path, *secrets[2], *proxy, *user_agent;
    const struct cf_ca *ca; /* the engine's; NULL for the system's alone */
    bool direct, is_get, is_part;
    size_t asked, items;
    enum cf_bucket bucket;
    struct cf_buffer body;
    size_t body_read; /* of it, by a libcurl that reads it piece by piece */
    struct cf_retry_policy retry;
    int64_t timeout, connect_timeout;
    int64_t deadline; /* an instant; 0 for none */
    int64_t started, elapsed;
    int attempts;
    int tries;          /* attempts, and those that could not even be made */
    int limits;         /* of these, those that the rate was to blame for */
    int limited;        /* such ones in a row, while nothing of its bucket was accepted */
    int64_t limited_at; /* the instant of the last one */

    /* The attempt. */
    struct cf_response response;
    int64_t attempt_started;
    int sendings; /* how often libcurl has begun to send it; a refused HTTP/2 stream does not count */
    enum cf_refusal refusal;
    bool is_stream;  /* it was sent as an HTTP/2 stream, as far as the TLS library tells */
    bool was_kept;   /* the last attempt failed on a kept connection, before a byte of the answer came */
    const void *tls; /* the TLS connection that it was sent on, for libcurl's TLS library; NULL where unknown */
    bool is_refused; /* libcurl would not take this attempt */
    bool is_starved; /* a socket could not be opened, it took the last descriptor, or its lane broke */
    unsigned ticks;  /* how often libcurl told of progress */
    enum cf_failure failure;
    struct cf_verdict verdict; /* of the answer, as far as it came */
    int64_t retry_after;
    char error[CURL_ERROR_SIZE];
};

struct cf_transfer_list {
    struct cf_transfer *first, *last;
    size_t count;
};

/* NULL: out of memory. */
struct cf_transfer *cf_transfer_new(struct cf_engine *engine);
/* Copies what is borrowed, swaps the body. False leaves both sides as they were. */
bool cf_transfer_fill(struct cf_transfer *transfer, struct cf_submission *submission, int64_t now);
/* Wipes and frees the copies; the easy handle, with its TLS session, stays for the next request. */
void cf_transfer_clear(struct cf_transfer *transfer);
/* The easy handle must not be in a CURLM. One from before a fork is left alone. */
void cf_transfer_free(struct cf_transfer *transfer);

bool cf_transfer_is_tls(const struct cf_transfer *transfer);
/* Its tokens: its URLs, or one for a purge by anything else, however many items it has. */
double cf_transfer_cost(const struct cf_transfer *transfer);
/* Moves it to the end of `list`, out of where it was; NULL for none. */
void cf_transfer_move(struct cf_transfer *transfer, struct cf_transfer_list *list);
/* The same, to the head of `list`. */
void cf_transfer_move_first(struct cf_transfer *transfer, struct cf_transfer_list *list);

#endif
