/* The policy of retries: is an outcome tried again, and when? Times are microseconds. */
#include "base/retry.h"

#include "base/date.h"

#define SECOND INT64_C(1000000)
#define FAR INT64_C(1000000000) /* seconds; more is as good as never, and must not overflow */

bool cf_retry_may_help(const struct cf_outcome *outcome)
{
    /* An order in the headers stands, though the body broke off. */
    if (outcome->should_retry == 0 && outcome->status >= 300)
        return false;
    switch (outcome->failure) {
    case CF_CONNECTION:
    case CF_TIMEOUT:
    case CF_CUT_SHORT:
    case CF_HELD_BACK:
    case CF_EXHAUSTED:
    case CF_FULL:
        return true;
    case CF_OK:
        break;
    default:
        return false;
    }
    if (outcome->status < 300)
        return false;
    return outcome->should_retry == 1 || outcome->status == 408 || outcome->status == 409 || outcome->status == 429 ||
           (outcome->status >= 500 && outcome->status <= 599);
}

bool cf_retry_decide(const struct cf_retry_policy *policy, int attempts, const struct cf_outcome *outcome,
                     double chance, int64_t *wait)
{
    int64_t backoff = SECOND / 2;
    int i;

    if (attempts > policy->max_retries || !cf_retry_may_help(outcome))
        return false;
    if (outcome->retry_after >= 0) {
        *wait = outcome->retry_after;
        return *wait <= policy->max_wait;
    }
    if (outcome->was_kept) {
        *wait = 0;
        return true;
    }
    for (i = 1; i < attempts && backoff < 8 * SECOND; i++)
        backoff *= 2;
    *wait = backoff - (int64_t)((double)backoff * 0.25 * chance);
    if (*wait > policy->max_wait)
        *wait = policy->max_wait;
    return true;
}

int64_t cf_retry_after(const char *value, int64_t now)
{
    int64_t seconds = 0, date;
    const char *p;

    for (p = value; *p >= '0' && *p <= '9'; p++)
        if (seconds < FAR)
            seconds = seconds * 10 + (*p - '0');
    if (p == value) {
        if (!cf_date_read(value, now, &date))
            return -1;
        seconds = date > now ? date - now : 0;
    } else {
        /* The RFC knows no fraction, but some servers send one: it is rounded up. */
        if (*p == '.')
            for (p++, seconds++; *p >= '0' && *p <= '9'; p++)
                continue;
        if (*p)
            return -1;
    }
    return (seconds < FAR ? seconds : FAR) * SECOND;
}
