/* The pacer through a generated life: takes, answers, 429s, Ratelimit headers, a clock that goes on and at times back.
 * It never lets more go than a server's bucket and windows allow, by the time that has truly passed, and never sleeps
 * for ever.
 * The input: six rates, then one byte an event with its numbers behind it. */
#include "fuzz.h"

#include <math.h>

#include "../../csrc/pacer.h"

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
    struct server sent[CF_BUCKETS];     /* if a request arrives as it is sent */
    struct server arrived[CF_BUCKETS];  /* if those to a bucket that was full arrive only when one is answered */
    bool was_full[CF_BUCKETS];
    double late[MOST];                  /* what those cost */
    enum cf_bucket late_of[MOST];
    int late_count, in_flight[CF_BUCKETS];
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
    server->left -= cost;
}

static void answered(enum cf_bucket bucket)
{
    int i, kept = 0;

    if (life.in_flight[bucket] == 0)
        return;
    life.in_flight[bucket]--;
    life.was_full[bucket] = false;
    cf_pacer_answered(&life.pacer, bucket, life.now);
    for (i = 0; i < life.late_count; i++)
        if (life.late_of[i] == bucket) {
            draw(&life.arrived[bucket], life.late[i]);
        } else {
            life.late[kept] = life.late[i];
            life.late_of[kept++] = life.late_of[i];
        }
    life.late_count = kept;
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
    double fill = own->rate > 0 ? fmin((own->size - fmin(own->left, 0)) / own->rate * 1.01, 8.0 * (double)AGES) : 0;
    return later(later(life.high, life.held_until), later(life.high + 301 * SECOND, life.high + (int64_t)fill)) + 2;
}

/* Waits as the engine does, and sends. */
static void take(enum cf_bucket bucket, double cost)
{
    const struct server *server = &life.sent[bucket];
    int64_t when, ordered;
    int turns = 0;

    while ((when = cf_pacer_when(&life.pacer, bucket, cost, life.now, &ordered)) > life.now) {
        CHECK(ordered <= when && when <= longest(bucket));
        CHECK(++turns < 12);
        if (when > AGES)
            return;
        /* A bucket that may be full at the server does not refill before the server has said something. */
        pass(when - life.now);
        if (turns >= 4)
            answered(bucket);
    }
    if (life.in_flight[bucket] == 0)
        life.was_full[bucket] = cf_pacer_left(&life.pacer, bucket, life.now) >= server->size;
    cf_pacer_take(&life.pacer, bucket, cost, life.now);
    life.in_flight[bucket]++;
    life.at[life.count++] = life.past;
    draw(&life.sent[bucket], cost);
    if (server->rate > 0 && life.was_full[bucket]) {
        life.late[life.late_count] = cost;
        life.late_of[life.late_count++] = bucket;
    } else {
        draw(&life.arrived[bucket], cost);
    }
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
            take(bucket, cost);
            answered(bucket);
        }
        break;
    case 1:     /* one without an answer yet, of some URLs */
    case 2:
        n = next_byte(input);
        take(bucket, bucket == CF_BUCKET_URLS ? (double)(event & 16 ? n * n * 16 : n) : cost);
        break;
    case 3:
        pass((int64_t)next_number(input, 2) << (next_byte(input) % 24));
        break;
    case 4:
        answered(bucket);
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
            take(bucket, cost);
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
