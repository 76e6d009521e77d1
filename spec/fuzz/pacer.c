/* The pacer through a generated life: takes, answers, 429s, Ratelimit headers, a clock that goes on and at times back.
 * It never lets more go than a server's bucket and windows allow, by the time that has truly passed, and never sleeps
 * for ever.
 * The input: six rates, then one byte an event with its numbers behind it. */
#include "fuzz.h"

#include <math.h>

#include "../../csrc/base/pacer.h"

#define SECOND INT64_C(1000000)
#define DAY (24 * 3600 * SECOND)
/* Nobody looks at what is further away than this: 35 years. */
#define AGES (INT64_C(1) << 50)
#define MOST 4096

/* What a server holds for us: a bucket that refills by the true time. */
struct server {
    double rate, size, left;    /* tokens a microsecond; rate 0: no limit */
    int64_t filled;
};

static struct {
    struct cf_pacer pacer;
    int64_t now, high, past;            /* the clock, its highest, and the true time */
    int64_t held_until;                 /* what was ordered lasts no longer, by the clock */
    struct server sent[CF_BUCKETS];     /* where each request arrives as it is sent */
    struct server arrived[CF_BUCKETS];  /* where some arrive later, at the latest when they are answered */
    struct request {
        double cost;
        enum cf_bucket bucket;
        bool arrived;
    } in_flight[MOST];
    int in_flight_count;
    int64_t at[MOST];                   /* when each went, by the true time */
    int count;
    size_t overall, address;
} life;

static double next_rate(struct input *input, double most)
{
    static const double usual[] = {0, 5.0 / 60, 5, 10, 25, 50, 200, 500, 800, 1200, 1500, 3000};
    int kind = next_byte(input);
    uint64_t bits;
    double rate;

    if (kind < 192)
        return fmin(usual[kind % (int)(sizeof usual / sizeof *usual)], most);
    if (kind < 224)
        return fmin((double)next_number(input, 3) / 100, most);
    bits = next_number(input, 8);
    memcpy(&rate, &bits, sizeof rate);
    return rate >= 0 && rate <= most ? rate : 1;
}

static void draw(struct server *server, double cost)
{
    if (server->rate <= 0)
        return;
    server->left = fmin(server->size, server->left + (double)(life.past - server->filled) * server->rate);
    server->filled = life.past;
    CHECK(server->left + 1e-6 * fmax(1, server->size) >= fmin(cost, server->size));
    /* A request that is larger than the bucket takes all that is in it. */
    server->left = cost > server->size ? 0 : server->left - cost;
}

static void arrive(struct request *request)
{
    if (!request->arrived)
        draw(&life.arrived[request->bucket], request->cost);
    request->arrived = true;
}

/* The one of `bucket` that comes first from `from` on; -1 where nothing of it is in flight. */
static int find(enum cf_bucket bucket, int from)
{
    int i, at;

    for (i = 0; i < life.in_flight_count; i++) {
        at = (from + i) % life.in_flight_count;
        if (life.in_flight[at].bucket == bucket)
            return at;
    }
    return -1;
}

static void answer(int at)
{
    struct request request;

    if (at < 0)
        return;
    arrive(&life.in_flight[at]);
    request = life.in_flight[at];
    life.in_flight[at] = life.in_flight[--life.in_flight_count];
    cf_pacer_answered(&life.pacer, request.bucket, request.cost, life.now);
}

static void pass(int64_t time)
{
    life.now += time;
    life.past += time;
    if (life.now > life.high)
        life.high = life.now;
}

static void check_window(size_t most, int64_t interval)
{
    if (most > 0 && (size_t)life.count > most)
        CHECK(life.at[life.count - 1] - life.at[life.count - 1 - (int)most] >= interval);
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* How long a wait may be: until the clock is where it was, and then for a window, an order or a bucket to fill. */
static int64_t longest(enum cf_bucket bucket)
{
    const struct cf_pacer_bucket *own = &life.pacer.buckets[bucket];
    double fill = own->rate > 0 ? (own->size + fabs(own->left) + own->pending) / own->rate * 1.01 : 0;

    fill = fmin(fill, 8.0 * (double)AGES);
    return later(later(life.high, life.held_until), later(life.high + 301 * SECOND, life.high + (int64_t)fill)) + 2;
}

/* Waits as the engine does, and sends. */
static void take(enum cf_bucket bucket, double cost, bool late)
{
    struct request *request;
    int64_t when, ordered;
    int turns = 0, at;

    while ((when = cf_pacer_when(&life.pacer, bucket, cost, life.now, &ordered)) > life.now) {
        CHECK(ordered <= when && when <= longest(bucket));
        CHECK(++turns < 8);
        if (when > AGES)
            return;
        pass(when - life.now);
        while (cf_pacer_awaits_answer(&life.pacer, bucket, cost)) {
            CHECK((at = find(bucket, 0)) >= 0);
            answer(at);
        }
        /* Beside a large number that is spoken for, a tiny one is lost in rounding: an answer ends that as well. */
        while (turns >= 4 && (at = find(bucket, 0)) >= 0)
            answer(at);
    }
    cf_pacer_take(&life.pacer, bucket, cost, life.now);
    request = &life.in_flight[life.in_flight_count++];
    *request = (struct request){cost, bucket, false};
    life.at[life.count++] = life.past;
    draw(&life.sent[bucket], cost);
    if (!late)
        arrive(request);
    check_window(life.overall, 300 * SECOND);
    check_window(life.address, SECOND);
}

static void order(struct input *input, enum cf_bucket bucket, int kind)
{
    int64_t time = (int64_t)(next_number(input, 5) >> (next_byte(input) % 40)) * (SECOND / 1000);
    char header[160];
    const char *line;
    size_t len;

    if (kind == 0) {
        cf_pacer_refused(&life.pacer, bucket, next_byte(input) % 4 == 0, time, life.now);
    } else if (kind == 1) {
        snprintf(header, sizeof header, "\"%s\";r=%d;t=%lld", next_byte(input) % 2 ? "default" : "x",
                 next_byte(input) % 20, (long long)(time / SECOND));
        cf_pacer_heard(&life.pacer, bucket, header, life.now);
    } else if (next_line(input, 0, &line, &len)) {
        snprintf(header, sizeof header, "%.*s", (int)len, line);
        cf_pacer_heard(&life.pacer, bucket, header, life.now);
    }
    life.held_until = later(life.held_until, life.now + DAY);
}

static void happen(struct input *input)
{
    int event = next_byte(input), n;
    enum cf_bucket bucket = (enum cf_bucket)(next_byte(input) % CF_BUCKETS);
    double cost = bucket == CF_BUCKET_URLS ? 1 : event & 8 ? 0 : 1;

    switch (event % 8) {
    case 0:     /* a burst */
        for (n = 1 + next_byte(input) % 64; n > 0 && life.count < MOST; n--) {
            take(bucket, cost, false);
            answer(life.in_flight_count - 1);
        }
        break;
    case 1:     /* one without an answer yet, of some URLs */
    case 2:
        n = next_byte(input);
        take(bucket, bucket == CF_BUCKET_URLS ? (double)(event & 16 ? n * n * 16 : n) : cost, event & 32);
        break;
    case 3:
        pass((int64_t)next_number(input, 2) << (next_byte(input) % 24));
        break;
    case 4:
        n = find(bucket, next_byte(input));
        if (event & 8)
            answer(n);
        else if (n >= 0)
            arrive(&life.in_flight[n]);
        break;
    case 5:
        order(input, bucket, event / 8 % 3);
        break;
    case 6:     /* the clock, and not the time, goes back */
        life.now -= (int64_t)(next_number(input, 4) >> (event / 8));
        life.now = later(life.now, 0);
        break;
    default:    /* many at once, answered late */
        for (n = 1 + next_byte(input) % 32; n > 0 && life.count < MOST; n--)
            take(bucket, cost, event & 32);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {(const char *)data, (const char *)data + size};
    struct cf_rates rates = {next_rate(&input, 1e6), next_rate(&input, 1e6),  next_rate(&input, 1e6),
                             next_rate(&input, 1e6), next_rate(&input, 2000), next_rate(&input, 2000)};
    int i;

    memset(&life, 0, sizeof life);
    cf_memory_hook(counted);
    CHECK(cf_pacer_set(&life.pacer, &rates, life.now));
    for (i = 0; i < CF_BUCKET_OTHER; i++) {
        double rate = i == CF_BUCKET_URLS ? rates.urls : rates.requests;
        double bucket = i == CF_BUCKET_URLS ? rates.urls_bucket : rates.requests_bucket;
        struct server full = {rate / (double)SECOND, bucket > 0 ? bucket : fmax(rate, 1), 0, 0};
        full.left = full.size;
        life.sent[i] = life.arrived[i] = full;
        CHECK(cf_pacer_left(&life.pacer, (enum cf_bucket)i, 0) >= (life.pacer.buckets[i].rate > 0 ? full.size : -1));
        CHECK(cf_pacer_forecast(&rates, (enum cf_bucket)i, (uint64_t)next_byte(&input), next_byte(&input)) >= 0);
    }
    /* Less than one is one. */
    life.overall = (size_t)(rates.overall > 0 ? fmax(rates.overall, 1) : 0);
    life.address = (size_t)(rates.address > 0 ? fmax(rates.address, 1) : 0);
    while (input.at < input.end && life.count < MOST && life.now < AGES && life.past < AGES)
        happen(&input);
    cf_pacer_free(&life.pacer);
    CHECK(blocks == 0);
    return 0;
}
