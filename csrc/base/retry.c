/* The policy of retries: is an outcome tried again, and when? Times are microseconds. */
#include "base/retry.h"

#include "base/date.h"

#define SECOND INT64_C(1000000)
#define FAR INT64_C(1000000000) /* seconds; more is as good as never, and must not overflow */

bool cf_retry_may_help(const struct cf_outcome *outcome)
{
    bool is_refused = outcome->status >= 300 || outcome->verdict.about != CF_ABOUT_NOTHING;

    /* An order in the headers stands, though the body broke off. */
    if (outcome->should_retry == 0 && is_refused)
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
        return is_refused && (outcome->should_retry == 1 || outcome->verdict.is_transient);
    default:
        return false;
    }
}

/* Is the request to go on, if the wait were this long? */
static bool retry_has_left(const struct cf_retry_policy *policy, const struct cf_outcome *outcome, int64_t wait)
{
    bool is_in_time = policy->retry_for >= 0 && outcome->elapsed + wait < policy->retry_for;

    if (outcome->verdict.about == CF_ABOUT_RATE)
        return outcome->limited <= CF_RETRY_LIMITED || is_in_time;
    return policy->retry_for >= 0 ? is_in_time : outcome->attempts <= policy->max_retries;
}

bool cf_retry_decide(const struct cf_retry_policy *policy, const struct cf_outcome *outcome, double chance,
                     int64_t *wait)
{
    bool is_rate = outcome->verdict.about == CF_ABOUT_RATE;
    int64_t backoff = SECOND / 2;
    int i;

    if (!cf_retry_may_help(outcome))
        return false;
    if (outcome->retry_after >= 0) {
        *wait = outcome->retry_after;
        return *wait <= policy->max_wait && retry_has_left(policy, outcome, *wait);
    }
    if (outcome->was_kept) {
        *wait = 0;
        return retry_has_left(policy, outcome, 0);
    }
    for (i = 1; i < (is_rate ? outcome->limited : outcome->attempts) && backoff < 8 * SECOND; i++)
        backoff *= 2;
    *wait = backoff - (int64_t)((double)backoff * 0.25 * chance);
    if (*wait > policy->max_wait)
        *wait = policy->max_wait;
    /* Who may not wait at all would only be told the same again. */
    return (*wait > 0 || !is_rate) && retry_has_left(policy, outcome, *wait);
}

int64_t cf_retry_after(const char *value, const char *date, int64_t now)
{
    int64_t seconds = 0, until, own;
    const char *p;

    if (!*value)
        return -1;
    for (p = value; *p >= '0' && *p <= '9'; p++)
        if (seconds < FAR)
            seconds = seconds * 10 + (*p - '0');
    if (p == value) {
        if (!cf_date_read(value, now, &until))
            return -1;
        if (cf_date_read(date, now, &own))
            now = own;
        seconds = until > now ? until - now : 0;
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
