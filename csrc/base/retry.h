/* The policy of retries: is an outcome tried again, and when? Times are microseconds. */
#ifndef CFPURGE_RETRY_H
#define CFPURGE_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/verdict.h"

/* Who is told to slow down so often in a row, though it waited as ordered, gives up. */
#define CF_RETRY_LIMITED 20

struct cf_retry_policy {
    int max_retries;
    int64_t retry_for; /* in place of max_retries, from the start of the request; negative for none */
    int64_t max_wait;  /* a longer wait that the server orders ends the request */
};

/* How an attempt ended, the last one of a request. */
struct cf_outcome {
    enum cf_failure failure;
    int status;
    struct cf_verdict verdict; /* of the answer, as far as it came */
    int should_retry;          /* x-should-retry: 1, 0, or -1 where absent */
    int64_t retry_after;       /* -1 where absent */
    bool was_kept; /* a kept connection failed before a byte of the answer came: it had died while it was idle */
    int attempts;  /* but for those that the rate was to blame for */
    int limited;   /* how many in a row the rate was to blame for, while nothing was accepted */
    int64_t elapsed;
};

/* May another attempt end better? After connection errors, time-outs, answers cut short, 408, 409, 5xx and what is
 * about the rate it may, unless x-should-retry says otherwise. The official SDKs do the same. */
bool cf_retry_may_help(const struct cf_outcome *outcome);
/* Try again, and how long from now? `chance` is in [0, 1) and shortens the back-off of 0.5 s doubling to 8 s by up to a
 * quarter. */
bool cf_retry_decide(const struct cf_retry_policy *policy, const struct cf_outcome *outcome, double chance,
                     int64_t *wait);
/* Retry-After as seconds or as an HTTP date (RFC 9110, 10.2.3); -1 where it is neither. A date is measured against
 * `date`, the answer's own; where that is none, against `now`, the wall clock in seconds since 1970. */
int64_t cf_retry_after(const char *value, const char *date, int64_t now);

#endif
