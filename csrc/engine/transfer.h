/* One request on one easy handle: owns its copies, goes through as many attempts as it is given, fills a response. */
#ifndef CFPURGE_TRANSFER_H
#define CFPURGE_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/exchange.h"
#include "engine/libcurl.h"
#include "base/poller.h"

struct cf_transfer {
    struct cf_transfer *next, *previous; /* in the list of the engine that `list` names */
    struct cf_transfer_list *list;
    uint64_t id;
    uint64_t generation;      /* of the process that made `easy` */
    CURL *easy;               /* owned; NULL until the first attempt */
    bool is_set;              /* easy has the options that no request changes, with this CA */
    int uses;                 /* attempts since then */
    struct cf_poller *poller; /* of the engine that made the attempt */
    char *trusted;            /* owned; NULL where it is the system's */
    char *block;              /* owned, wiped: all texts and header nodes that follow */
    size_t block_size;
    struct curl_slist *headers;
    const char *url, *path, *secrets[2], *proxy, *ca_file, *user_agent;
    bool direct, is_get;
    size_t items;
    enum cf_bucket bucket;
    struct cf_buffer body;
    struct cf_response response;
    struct cf_retry_policy retry;
    int64_t timeout, connect_timeout, deadline; /* deadline is an instant here; 0 for none */
    int64_t started, attempt_started, due, elapsed;
    int64_t overdue; /* when the attempt has timed out; CF_NEVER for none */
    int attempts;
    bool is_refused; /* libcurl would not take this attempt, nor another one */
    unsigned ticks;  /* how often libcurl told of progress */
    enum cf_failure failure;
    int64_t retry_after;
    char error[CURL_ERROR_SIZE];
};

struct cf_transfer_list {
    struct cf_transfer *first, *last;
    size_t count;
};

/* NULL: out of memory. */
struct cf_transfer *cf_transfer_new(void);
/* Copies what is borrowed, swaps the body. False leaves both sides as they were. */
bool cf_transfer_fill(struct cf_transfer *transfer, struct cf_submission *submission, int64_t now);
/* Makes the easy handle ready for the next attempt. `share` and `poller` stay the engine's. Any code but CURLE_OK: no
 * attempt can be made. */
CURLcode cf_transfer_prepare(struct cf_transfer *transfer, CURLSH *share, struct cf_poller *poller, int64_t now);
/* Its time is over: says where it stood, before it is taken out of the CURLM. */
void cf_transfer_overdue(struct cf_transfer *transfer, int64_t now);
/* Notes how the attempt ended. */
void cf_transfer_finish(struct cf_transfer *transfer, CURLcode code);
/* Masks the credential in what has come back so far. */
void cf_transfer_mask(struct cf_transfer *transfer);
/* Of one that has ended: wipes whatever holds a credential, but for what its ending cannot be masked without. Its easy
 * handle must be gone. */
void cf_transfer_redact(struct cf_transfer *transfer);
/* Wipes and frees the copies; the easy handle, with its TLS session, stays for the next request. */
void cf_transfer_clear(struct cf_transfer *transfer);
/* The easy handle must not be in a CURLM. One from before a fork is left alone. */
void cf_transfer_free(struct cf_transfer *transfer);

bool cf_transfer_is_tls(const struct cf_transfer *transfer);
/* Its tokens: its URLs, or one for a purge by anything else, however many items it has. */
double cf_transfer_cost(const struct cf_transfer *transfer);
/* Moves it to the end of `list`, out of where it was; NULL for none. */
void cf_transfer_move(struct cf_transfer *transfer, struct cf_transfer_list *list);

#endif
