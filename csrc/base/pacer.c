/* Token buckets and server-ordered pauses; the clock is an argument. Times are microseconds. */
#include "base/pacer.h"

#include <float.h>
#include <string.h>

#include "base/memory.h"

#define SECOND INT64_C(1000000)
#define OVERALL (300 * SECOND)
/* No two clocks run alike: ours may be the faster one, hour after hour. */
#define CLOCKS 0.995
/* This much of a bucket's rate is kept back: a request may reach the server so much later than the one behind it. It
 * costs that part of the first burst, once. */
#define JITTER (25 * 1000)
/* Fewer than this many are spread over the time until there are more; none are, until then. */
#define LITTLE 10
#define LONGEST (86400 * SECOND)
/* 142 years: longer is as good as never, and must not overflow. */
#define NEVER (INT64_C(1) << 52)

static void pacer_set_bucket(struct cf_pacer_bucket *bucket, double rate, double size, int64_t now)
{
    bucket->rate = rate * CLOCKS / (double)SECOND;
    /* 0 would be no limit. */
    if (rate > 0 && bucket->rate < DBL_MIN)
        bucket->rate = DBL_MIN;
    bucket->size = size > 0 ? size : rate > 1 ? rate : 1;
    bucket->left = bucket->size;
    bucket->pending = 0;
    bucket->filled = now;
}

static bool pacer_set_window(struct cf_pacer_window *window, double count, int64_t interval)
{
    /* Less than one is few, and not no limit. */
    size_t size = count >= 1 ? (size_t)count : count > 0, i;
    int64_t *sent = NULL;

    if (size > 0) {
        sent = cf_realloc(NULL, size * sizeof *sent);
        if (!sent)
            return false;
        for (i = 0; i < size; i++)
            sent[i] = INT64_MIN;
    }
    cf_free(window->sent);
    window->sent = sent;
    window->size = size;
    window->next = 0;
    /* The server counts at its own end of the line. */
    window->interval = interval + (interval > SECOND ? SECOND : interval / 10);
    return true;
}

bool cf_pacer_set(struct cf_pacer *pacer, const struct cf_rates *rates, int64_t now)
{
    if (!pacer_set_window(&pacer->overall, rates->overall, OVERALL) ||
        !pacer_set_window(&pacer->address, rates->address, SECOND))
        return false;
    pacer_set_bucket(&pacer->buckets[CF_BUCKET_REQUESTS], rates->requests, rates->requests_bucket, now);
    pacer_set_bucket(&pacer->buckets[CF_BUCKET_URLS], rates->urls, rates->urls_bucket, now);
    return true;
}

void cf_pacer_free(struct cf_pacer *pacer)
{
    cf_free(pacer->overall.sent);
    cf_free(pacer->address.sent);
    memset(pacer, 0, sizeof *pacer);
}

/* A full bucket does not refill, and the server's may be full until a request is sure to have reached it: so tokens are
 * drawn when the answer is there, and until then only spoken for. */
static double pacer_refill(const struct cf_pacer_bucket *bucket, int64_t now)
{
    double left = bucket->left;

    if (now > bucket->filled)
        left += (double)(now - bucket->filled) * bucket->rate;
    return left < bucket->size ? left : bucket->size;
}

static double pacer_left_at(const struct cf_pacer_bucket *bucket, int64_t now)
{
    return pacer_refill(bucket, now) - bucket->pending;
}

static int64_t pacer_later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static struct cf_pacer *pacer_of_all(struct cf_pacer *pacer)
{
    return pacer->of_all ? pacer->of_all : pacer;
}

/* The tokens that have to be in the bucket. A request that is larger than it goes when it is full. */
static double pacer_needed(const struct cf_pacer_bucket *bucket, double cost)
{
    double with_reserve = cost + bucket->rate * JITTER;
    return with_reserve < bucket->size ? with_reserve : bucket->size;
}

static int64_t pacer_bucket_when(const struct cf_pacer_bucket *bucket, double cost, int64_t now)
{
    double short_of = pacer_needed(bucket, cost) - pacer_left_at(bucket, now), wait;

    if (bucket->rate <= 0 || short_of <= 0)
        return now;
    wait = short_of / bucket->rate;
    /* Nothing refills before the clock is where it was, if it was set back. */
    return pacer_later(now, bucket->filled) + 1 + (wait < (double)NEVER ? (int64_t)wait : NEVER);
}

bool cf_pacer_awaits_answer(const struct cf_pacer *pacer, enum cf_bucket bucket, double cost)
{
    const struct cf_pacer_bucket *own = &pacer->buckets[bucket];
    return own->rate > 0 && own->pending > 0 && own->size - own->pending < pacer_needed(own, cost);
}

static int64_t pacer_window_when(const struct cf_pacer_window *window, int64_t now)
{
    /* The oldest instant stands where the next one will. */
    if (!window->sent || window->sent[window->next] == INT64_MIN)
        return now;
    return window->sent[window->next] + window->interval;
}

int64_t cf_pacer_when(struct cf_pacer *pacer, enum cf_bucket bucket, double cost, int64_t now, int64_t *ordered)
{
    const struct cf_pacer_bucket *own = &pacer->buckets[bucket];
    const struct cf_pacer *all = pacer_of_all(pacer);
    int64_t when = pacer_later(pacer_bucket_when(own, cost, now), pacer_later(own->paused, own->spaced));

    *ordered = pacer_later(own->paused, all->every.paused);
    when = pacer_later(when, pacer_later(all->every.paused, all->every.spaced));
    return pacer_later(when, pacer_later(pacer_window_when(&all->overall, now), pacer_window_when(&all->address, now)));
}

static void pacer_note(struct cf_pacer_window *window, int64_t now)
{
    if (window->sent) {
        window->sent[window->next] = now;
        window->next = (window->next + 1) % window->size;
    }
}

void cf_pacer_take(struct cf_pacer *pacer, enum cf_bucket bucket, double cost, int64_t now)
{
    pacer->buckets[bucket].pending += cost;
    pacer_note(&pacer_of_all(pacer)->overall, now);
    pacer_note(&pacer_of_all(pacer)->address, now);
}

static void pacer_set_left(struct cf_pacer_bucket *bucket, double left, int64_t now)
{
    bucket->left = left;
    bucket->filled = pacer_later(bucket->filled, now);
}

void cf_pacer_answered(struct cf_pacer *pacer, enum cf_bucket bucket, double cost, int64_t now)
{
    struct cf_pacer_bucket *own = &pacer->buckets[bucket];

    pacer_set_left(own, pacer_refill(own, now) - cost, now);
    own->pending -= cost;
}

void cf_pacer_returned(struct cf_pacer *pacer, enum cf_bucket bucket, double cost)
{
    pacer->buckets[bucket].pending -= cost;
}

static void pacer_pause_bucket(struct cf_pacer_bucket *bucket, int64_t until, int64_t now)
{
    bucket->paused = pacer_later(bucket->paused, until);
    /* Somebody else draws from it too: what we counted is not there. */
    pacer_set_left(bucket, bucket->pending, now);
}

void cf_pacer_refused(struct cf_pacer *pacer, enum cf_bucket bucket, bool overall, int64_t wait, int64_t now)
{
    /* Whoever would not wait at all waits all the same where it is about all calls. */
    int64_t least = overall ? pacer_later(wait, SECOND) : wait, until = now + (least < LONGEST ? least : LONGEST);
    int i;

    for (i = 0; i < CF_BUCKETS; i++)
        if (overall || i == (int)bucket)
            pacer_pause_bucket(&pacer->buckets[i], until, now);
    if (overall)
        pacer_pause_bucket(&pacer_of_all(pacer)->every, until, now);
}

/* The number behind ";x=" before the next comma; -1 where there is none. */
static double pacer_parameter(const char *entry, size_t len, char name)
{
    size_t i;
    for (i = 0; i + 2 < len; i++)
        if ((entry[i] == ';' || entry[i] == ' ') && entry[i + 1] == name && entry[i + 2] == '=') {
            double value = 0;
            size_t digit = i + 3;
            for (; digit < len && entry[digit] >= '0' && entry[digit] <= '9' && value < 1e9; digit++)
                value = value * 10 + (entry[digit] - '0');
            return digit > i + 3 ? value : -1;
        }
    return -1;
}

static void pacer_heed(struct cf_pacer_bucket *bucket, double left, double seconds, int64_t now)
{
    int64_t wait = seconds < 86400 ? (int64_t)(seconds * (double)SECOND) : LONGEST;

    /* None left is an order to wait, of which whoever would wait too long is told. */
    if (left <= 0)
        bucket->paused = pacer_later(bucket->paused, now + wait);
    else if (left < LITTLE)
        bucket->spaced = pacer_later(bucket->spaced, now + (int64_t)((double)wait / (left + 1)));
}

void cf_pacer_heard(struct cf_pacer *pacer, enum cf_bucket bucket, const char *ratelimit, int64_t now)
{
    while (*ratelimit) {
        size_t len = strcspn(ratelimit, ",");
        double left = pacer_parameter(ratelimit, len, 'r'), seconds = pacer_parameter(ratelimit, len, 't');
        bool of_all = strncmp(ratelimit + strspn(ratelimit, " "), "\"default\"", 9) == 0;
        int i;

        for (i = 0; left >= 0 && seconds >= 0 && i < CF_BUCKETS; i++)
            if (of_all || i == (int)bucket)
                pacer_heed(&pacer->buckets[i], left, seconds, now);
        if (of_all && left >= 0 && seconds >= 0)
            pacer_heed(&pacer_of_all(pacer)->every, left, seconds, now);
        ratelimit += len;
        ratelimit += *ratelimit == ',';
    }
}

static int64_t pacer_ordered_of(const struct cf_pacer_bucket *bucket, int64_t now)
{
    return pacer_later(pacer_later(bucket->paused, bucket->spaced) - now, 0);
}

int64_t cf_pacer_ordered(const struct cf_pacer *pacer, enum cf_bucket bucket, int64_t now, int64_t *all)
{
    *all = pacer_ordered_of(&pacer->every, now);
    return pacer_later(pacer_ordered_of(&pacer->buckets[bucket], now), *all);
}

int64_t cf_pacer_forecast(const struct cf_rates *rates, enum cf_bucket bucket, uint64_t requests, double cost)
{
    struct cf_pacer pacer;
    int64_t now = 0, when, ordered;

    memset(&pacer, 0, sizeof pacer);
    if (!cf_pacer_set(&pacer, rates, now))
        return cf_pacer_free(&pacer), -1;
    for (; requests > 0 && now < NEVER; requests--) {
        when = cf_pacer_when(&pacer, bucket, cost, now, &ordered);
        now = pacer_later(now, when);
        cf_pacer_take(&pacer, bucket, cost, now);
        cf_pacer_answered(&pacer, bucket, cost, now);
    }
    cf_pacer_free(&pacer);
    return now;
}

double cf_pacer_left(const struct cf_pacer *pacer, enum cf_bucket bucket, int64_t now)
{
    return pacer->buckets[bucket].rate > 0 ? pacer_left_at(&pacer->buckets[bucket], now) : -1;
}
