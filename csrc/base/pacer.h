/* Token buckets and server-ordered pauses; the clock is an argument. Times are microseconds. */
#ifndef CFPURGE_PACER_H
#define CFPURGE_PACER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Which of the account's buckets a request draws from: a token for itself, one for each URL, or neither. */
enum cf_bucket { CF_BUCKET_REQUESTS, CF_BUCKET_URLS, CF_BUCKET_OTHER, CF_BUCKETS };

/* 0 anywhere: no limit. https://developers.cloudflare.com/cache/how-to/purge-cache/#availability-and-limits */
struct cf_rates {
    double requests, requests_bucket; /* by tag, host, prefix, everything: a second, and the bucket's size */
    double urls, urls_bucket;         /* by URL: URLs a second */
    double overall;                   /* all calls in any 5 minutes */
    double address;                   /* all calls in any second */
};

struct cf_pacer_bucket {
    double rate, size;    /* tokens a microsecond; rate 0: no limit */
    double left, pending; /* as if the unanswered, which cost `pending`, had not reached the server yet */
    int64_t filled;       /* when `left` was true */
    int64_t paused;       /* the server refused one and wants no other before this instant */
    int64_t spaced;       /* it told that little is left: better none before this instant */
};

/* The last `size` instants at which something was sent: so that no interval ever holds more, wherever it begins. */
struct cf_pacer_window {
    int64_t *sent;
    size_t size, next;
    int64_t interval;
};

/* The budget of one plan in one account. Where there are several, `of_all` of each is the one whose windows and `every`
 * hold for all calls, whichever budget they draw from; NULL in that one. */
struct cf_pacer {
    struct cf_pacer_bucket buckets[CF_BUCKETS];
    struct cf_pacer_window overall, address;
    struct cf_pacer_bucket every; /* what the server ordered for all calls: its rate is 0 */
    struct cf_pacer *of_all;
};

/* All zero is a pacer that holds nothing back. False: out of memory; it is good for cf_pacer_free only. */
bool cf_pacer_set(struct cf_pacer *pacer, const struct cf_rates *rates, int64_t now);
void cf_pacer_free(struct cf_pacer *pacer);

/* The earliest instant at which a request of `cost` may go out; not after `now` means now. `ordered` is set to the part
 * of it that the server demanded, 0 for none. */
int64_t cf_pacer_when(struct cf_pacer *pacer, enum cf_bucket bucket, double cost, int64_t now, int64_t *ordered);
/* No time that passes lets it go before one of those in flight is answered: `when` is then only the earliest possible.
 */
bool cf_pacer_awaits_answer(const struct cf_pacer *pacer, enum cf_bucket bucket, double cost);
/* It goes out. */
void cf_pacer_take(struct cf_pacer *pacer, enum cf_bucket bucket, double cost, int64_t now);
/* A request that was taken is over, whatever came of it. */
void cf_pacer_answered(struct cf_pacer *pacer, enum cf_bucket bucket, double cost, int64_t now);
/* It did not go out after all. */
void cf_pacer_returned(struct cf_pacer *pacer, enum cf_bucket bucket, double cost);
/* Then: it was a 429 that says to wait; `overall` where it is about all calls. */
void cf_pacer_refused(struct cf_pacer *pacer, enum cf_bucket bucket, bool overall, int64_t wait, int64_t now);
/* An answer's Ratelimit header has come: "name";r=left;t=seconds, … (draft-ietf-httpapi-ratelimit-headers). */
void cf_pacer_heard(struct cf_pacer *pacer, enum cf_bucket bucket, const char *ratelimit, int64_t now);
/* How long the server wants requests of the bucket to wait; `all` is set to the part of it that holds for all calls. */
int64_t cf_pacer_ordered(const struct cf_pacer *pacer, enum cf_bucket bucket, int64_t now, int64_t *all);
/* How long `requests` requests of `cost` each would take from full buckets on; -1: out of memory. */
int64_t cf_pacer_forecast(const struct cf_rates *rates, enum cf_bucket bucket, uint64_t requests, double cost);
/* Tokens in a bucket at `now`; negative where it has no limit. */
double cf_pacer_left(const struct cf_pacer *pacer, enum cf_bucket bucket, int64_t now);

#endif
