/* The policy of retries: is an outcome tried again, and when? Times are microseconds. */
#ifndef CFPURGE_RETRY_H
#define CFPURGE_RETRY_H

#include <stdbool.h>
#include <stdint.h>

/* Why an attempt gave no usable answer; CF_OK where a whole one came, whatever its status. */
enum cf_failure {
    CF_OK,
    CF_CONNECTION,
    CF_TLS,
    CF_TIMEOUT,
    CF_CUT_SHORT,    /* the connection ended inside the answer */
    CF_TOO_BIG,      /* the answer went over a cap */
    CF_REFUSED,      /* libcurl would not begin */
    CF_EXHAUSTED,    /* memory or descriptors ran out */
    CF_PROXY_DENIED, /* the proxy wants another login */
    CF_FULL,         /* not taken: as many as may wait are waiting */
    CF_CANCELLED,
    CF_CLOSED,
    CF_HELD_BACK /* not sent: the server had ordered a longer wait than the request allows */
};

struct cf_retry_policy {
    int max_retries;
    int64_t max_wait; /* a longer wait that the server orders ends the request */
};

struct cf_outcome {
    enum cf_failure failure;
    int status;
    int should_retry;    /* x-should-retry: 1, 0, or -1 where absent */
    int64_t retry_after; /* -1 where absent */
    bool was_kept;       /* a kept connection failed before a byte of the answer came: it had died while it was idle */
};

/* May another attempt end better? After connection errors, time-outs, answers cut short, 408, 409, 429 and 5xx it may,
 * unless x-should-retry says otherwise. The official SDKs do the same. */
bool cf_retry_may_help(const struct cf_outcome *outcome);
/* After `attempts` attempts: try again, and how long from now? `chance` is in [0, 1) and shortens the back-off of
 * 0.5 s doubling to 8 s by up to a quarter. */
bool cf_retry_decide(const struct cf_retry_policy *policy, int attempts, const struct cf_outcome *outcome,
                     double chance, int64_t *wait);
/* Retry-After as seconds or as an HTTP date (RFC 9110, 10.2.3); -1 where it is neither. `now` is the wall clock, in
 * seconds since 1970. */
int64_t cf_retry_after(const char *value, int64_t now);

#endif
