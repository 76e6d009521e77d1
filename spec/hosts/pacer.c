/* Drives csrc/base/pacer.c with a clock of its own and checks what it lets go: each scenario prints its name, "ok" or why not. */
#include "../../csrc/base/pacer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND INT64_C(1000000)
#define MOST 200000

static struct cf_pacer pacer;
static int64_t at[MOST], total[MOST];   /* when each request went, and the cost of all before it */
static double costs[MOST];
static int sent, failed;
static uint64_t seed = 20261121;

static double dice(void)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (double)(seed >> 40) / (double)(1 << 24);
}

static void begin(const struct cf_rates *rates)
{
    cf_pacer_free(&pacer);
    if (!cf_pacer_set(&pacer, rates, 0))
        exit(2);
    sent = 0;
}

static void say(const char *name, const char *problem)
{
    failed += problem != NULL;
    printf("%s: %s\n", name, problem ? problem : "ok");
}

/* Waits as the engine does and sends; the instant, or -1 where it slept for ever. */
static int64_t go(enum cf_bucket bucket, double cost, int64_t now)
{
    int64_t when, ordered;
    int turns = 0;

    while ((when = cf_pacer_when(&pacer, bucket, cost, now, &ordered)) > now) {
        if (++turns > 100)
            return -1;
        now = when;
    }
    cf_pacer_take(&pacer, bucket, cost, now);
    cf_pacer_answered(&pacer, bucket, cost, now);
    if (sent < MOST) {
        at[sent] = now;
        costs[sent++] = cost;
    }
    return now;
}

/* A server of our own, whose bucket refills from the instant that the request reaches it. */
static const char *check_bucket(double rate, double size)
{
    double left = size;
    int64_t last = 0;
    int i;

    for (i = 0; i < sent; i++) {
        left += (double)(at[i] - last) * rate / (double)SECOND;
        if (left > size)
            left = size;
        last = at[i];
        if (left + 1e-6 < costs[i])
            return "more than the bucket holds";
        left -= costs[i];
    }
    return NULL;
}

static const char *check_window(size_t most, int64_t interval)
{
    int i;
    for (i = (int)most; i < sent; i++)
        if (at[i] - at[i - (int)most] < interval)
            return "more than the window holds";
    return NULL;
}

static const char *check_pace(int64_t end, double rate, double size, double least)
{
    double all = 0, allowed = size + rate * (double)end / (double)SECOND;
    int i;
    for (i = 0; i < sent; i++)
        all += costs[i];
    return all < least * allowed ? "slower than it may be" : NULL;
}

static void buckets(void)
{
    static const double rates[] = {5.0 / 60, 5, 10, 50, 800, 1500, 3000}, sizes[] = {25, 25, 50, 500, 800, 1500, 3000};
    int i;

    for (i = 0; i < 7; i++) {
        enum cf_bucket bucket = i < 4 ? CF_BUCKET_REQUESTS : CF_BUCKET_URLS;
        struct cf_rates r = {rates[i], sizes[i], rates[i], sizes[i], 0, 0};
        const char *problem;
        char name[64];
        int64_t now = 0;
        int n;

        begin(&r);
        for (n = 0; now >= 0 && n < 5000 && now < 300 * SECOND; n++)
            now = go(bucket, i < 4 ? 1 : 100, now);
        problem = now < 0 ? "asleep for ever" : check_bucket(rates[i], sizes[i]);
        problem = problem ? problem : check_pace(now, rates[i], sizes[i], 0.98);
        snprintf(name, sizeof name, "full speed at %g/%g", rates[i], sizes[i]);
        say(name, problem);
        begin(&r);
        for (now = 0, n = 0; now >= 0 && n < 3000; n++)
            now = go(bucket, i < 4 ? 1 : (double)(1 + (int)(dice() * 600)),
                     now + (int64_t)(dice() < 0.1 ? dice() * 20e6 : dice() * 1e5));
        problem = now < 0 ? "asleep for ever" : NULL;
        snprintf(name, sizeof name, "now and then at %g/%g", rates[i], sizes[i]);
        say(name, problem ? problem : check_bucket(rates[i], sizes[i]));
    }
}

/* Requests that reach the server late, eight of them at a time, each answered when it was counted. */
static void late(double most)
{
    struct cf_rates r = {0, 0, 800, 800, 0, 0};
    int64_t answered[8] = {0}, now = 0, ordered, arrival = 0;
    const char *problem = NULL;
    char name[64];
    int n;

    begin(&r);
    for (n = 0; n < 3000; n++) {
        int64_t when;
        if (n >= 8) {
            now = now > answered[n % 8] ? now : answered[n % 8];
            cf_pacer_answered(&pacer, CF_BUCKET_URLS, 100, now);
        }
        when = cf_pacer_when(&pacer, CF_BUCKET_URLS, 100, now, &ordered);
        now = when > now ? when : now;
        cf_pacer_take(&pacer, CF_BUCKET_URLS, 100, now);
        when = now + (int64_t)(dice() * (dice() < 0.05 ? most : 1e3));
        arrival = when > arrival ? when : arrival;
        at[sent] = arrival;
        costs[sent++] = 100;
        answered[n % 8] = arrival + 1000;
    }
    problem = check_bucket(800, 800);
    snprintf(name, sizeof name, "up to %g s late", most / 1e6);
    say(name, problem);
}

static void windows(void)
{
    struct cf_rates r = {0, 0, 0, 0, 1200, 200};
    const char *problem;
    int64_t now = 0;
    int n;

    begin(&r);
    for (n = 0; now >= 0 && n < 4000; n++)
        now = go((enum cf_bucket)(n % CF_BUCKETS), 1, now);
    problem = now < 0 ? "asleep for ever" : check_window(1200, 300 * SECOND);
    problem = problem ? problem : check_window(200, SECOND);
    say("both windows", problem ? problem : now > 905 * SECOND ? "slower than it may be" : NULL);
    begin(&r);
    for (now = 0, n = 0; now >= 0 && n < 20000; n++)
        now = go(CF_BUCKET_URLS, 1, now + (int64_t)(dice() < 0.01 ? dice() * 1e8 : dice() * 5e5));
    problem = now < 0 ? "asleep for ever" : check_window(1200, 300 * SECOND);
    say("both windows, now and then", problem ? problem : check_window(200, SECOND));
}

static int64_t when(enum cf_bucket bucket, int64_t now, int64_t *ordered)
{
    return cf_pacer_when(&pacer, bucket, 1, now, ordered);
}

static void orders(void)
{
    static const struct cf_rates none;
    struct cf_rates pro = {5, 25, 1500, 1500, 0, 0};
    struct cf_pacer plan = {.of_all = &pacer};
    int64_t ordered, other;

    begin(&none);
    cf_pacer_set(&plan, &none, 0);
    cf_pacer_refused(&plan, CF_BUCKET_URLS, true, 10 * SECOND, 0);
    say("the account's pauses its other plans", when(CF_BUCKET_REQUESTS, 0, &ordered) == 10 * SECOND &&
        ordered == 10 * SECOND ? NULL : "it does not");
    cf_pacer_heard(&plan, CF_BUCKET_URLS, "\"default\";r=0;t=30", 0);
    say("so does the default header", when(CF_BUCKET_REQUESTS, 0, &ordered) == 30 * SECOND ? NULL : "it does not");
    cf_pacer_free(&plan);
    begin(&none);
    cf_pacer_refused(&pacer, CF_BUCKET_REQUESTS, false, 30 * SECOND, 7 * SECOND);
    say("a 429 pauses its bucket", when(CF_BUCKET_REQUESTS, 8 * SECOND, &ordered) == 37 * SECOND &&
        ordered == 37 * SECOND ? NULL : "it does not");
    say("and no other", when(CF_BUCKET_URLS, 8 * SECOND, &ordered) <= 8 * SECOND && ordered <= 8 * SECOND &&
        when(CF_BUCKET_OTHER, 8 * SECOND, &other) <= 8 * SECOND ? NULL : "it does");
    cf_pacer_refused(&pacer, CF_BUCKET_REQUESTS, false, SECOND, 8 * SECOND);
    say("a shorter one shortens nothing", when(CF_BUCKET_REQUESTS, 8 * SECOND, &ordered) == 37 * SECOND ? NULL : "it does");
    say("it is over in time", when(CF_BUCKET_REQUESTS, 37 * SECOND, &ordered) <= 37 * SECOND ? NULL : "it is not");
    cf_pacer_refused(&pacer, CF_BUCKET_URLS, true, 10 * SECOND, 40 * SECOND);
    say("the account's pauses all", when(CF_BUCKET_REQUESTS, 41 * SECOND, &ordered) == 50 * SECOND &&
        when(CF_BUCKET_URLS, 41 * SECOND, &ordered) == 50 * SECOND &&
        when(CF_BUCKET_OTHER, 41 * SECOND, &ordered) == 50 * SECOND ? NULL : "it does not");
    begin(&none);
    cf_pacer_refused(&pacer, CF_BUCKET_URLS, true, 0, 40 * SECOND);
    say("and for a second at least", cf_pacer_ordered(&pacer, CF_BUCKET_REQUESTS, 40 * SECOND, &other) == SECOND &&
        other == SECOND ? NULL : "it does not");
    begin(&pro);
    cf_pacer_refused(&pacer, CF_BUCKET_REQUESTS, false, SECOND, 0);
    say("what we counted is gone", cf_pacer_left(&pacer, CF_BUCKET_REQUESTS, 0) <= 0 &&
        cf_pacer_left(&pacer, CF_BUCKET_URLS, 0) == 1500 && cf_pacer_left(&pacer, CF_BUCKET_REQUESTS, SECOND) <= 5 &&
        cf_pacer_left(&pacer, CF_BUCKET_REQUESTS, SECOND) > 4.9 ? NULL : "it is not");
    begin(&none);
    cf_pacer_refused(&pacer, CF_BUCKET_URLS, false, INT64_MAX / 2, 0);
    say("no wait overflows", when(CF_BUCKET_URLS, 0, &ordered) > 0 ? NULL : "it does");
    say("no limit is none", cf_pacer_left(&pacer, CF_BUCKET_URLS, 0) < 0 ? NULL : "it is one");
}

static int64_t after(const char *header, enum cf_bucket bucket)
{
    static const struct cf_rates none;
    int64_t ordered;
    begin(&none);
    cf_pacer_heard(&pacer, CF_BUCKET_REQUESTS, header, SECOND);
    return when(bucket, SECOND, &ordered) - SECOND;
}

static void headers(void)
{
    static const struct {
        const char *header;
        int64_t least, most;
    } cases[] = {{"\"requests\";r=0;t=30", 30, 30}, {"\"default\";r=0;t=30", 30, 30}, {"\"x\"; r=0; t=7", 7, 7},
                 {"\"x\";t=7;r=0", 7, 7}, {"\"x\";r=50;t=30", 0, 0}, {"\"x\";r=1;t=30", 1, 29}, {"\"x\";r=5;t=30", 1, 10},
                 {"\"a\";r=99;t=1, \"b\";r=0;t=9", 9, 9}, {"\"a\";r=0;t=9,\"b\";r=99;t=1", 9, 9},
                 {"\"x\";r=;t=30", 0, 0}, {"\"x\";r=0", 0, 0}, {"\"x\";t=5", 0, 0}, {"", 0, 0}, {",,,;", 0, 0},
                 {"r=0;t=", 0, 0}, {"\"x\";r=-1;t=30", 0, 0}, {"\"x\";r=0;t=0", 0, 0},
                 {"\"x\";r=0;t=99999999999999999999", 86400, 86400}, {"\"x\";r=99999999999999999999;t=1", 0, 0}};
    size_t i;
    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t wait = after(cases[i].header, CF_BUCKET_REQUESTS);
        say(cases[i].header, wait >= cases[i].least * SECOND && wait <= cases[i].most * SECOND ? NULL : "wrong wait");
    }
    say("a bucket's own header", after("\"requests\";r=0;t=30", CF_BUCKET_URLS) <= 0 ? NULL : "holds others");
    say("the default one", after("\"default\";r=0;t=30", CF_BUCKET_URLS) == 30 * SECOND ? NULL : "does not hold others");
}

static void forecasts(void)
{
    struct cf_rates pro = {5, 25, 1500, 1500, 1200, 200}, none = {0, 0, 0, 0, 0, 0}, slow = {5.0 / 60, 25, 0, 0, 0, 0};
    struct { const struct cf_rates *rates; enum cf_bucket bucket; uint64_t requests; double cost, least, most; } cases[] = {
        {&none, CF_BUCKET_URLS, 1000000, 100, 0, 0}, {&pro, CF_BUCKET_REQUESTS, 25, 1, 0, 0.1},
        {&pro, CF_BUCKET_REQUESTS, 325, 1, 60, 60.5}, {&pro, CF_BUCKET_URLS, 15, 100, 0.02, 0.03},
        {&pro, CF_BUCKET_URLS, 315, 100, 20, 20.2}, {&pro, CF_BUCKET_URLS, 1, 3000, 0, 0.1},
        {&pro, CF_BUCKET_URLS, 1201, 100, 300, 301}, {&slow, CF_BUCKET_REQUESTS, 30, 1, 60, 61}};
    size_t i;
    (void)total;
    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        double s = (double)cf_pacer_forecast(cases[i].rates, cases[i].bucket, cases[i].requests, cases[i].cost) / 1e6;
        char name[64];
        snprintf(name, sizeof name, "forecast %d: %g s", (int)i + 1, s);
        say(name, s >= cases[i].least && s <= cases[i].most ? NULL : "wrong");
    }
}

/* Rates that nobody wants: the second one waits for ages, and no sum overflows. */
static void next_to_nothing(void)
{
    static const double rates[] = {1e-9, 1e-14, 1e-300, 5e-324};
    int64_t when, ordered;
    size_t i;

    for (i = 0; i < sizeof rates / sizeof *rates; i++) {
        struct cf_rates r = {rates[i], 1, 0, 0, 0, 0}, few = {0, 0, 0, 0, rates[i], 0};
        char name[64];
        begin(&r);
        go(CF_BUCKET_REQUESTS, 1, 0);
        when = cf_pacer_when(&pacer, CF_BUCKET_REQUESTS, 1, SECOND, &ordered);
        snprintf(name, sizeof name, "%g a second", rates[i]);
        say(name, when > 86400 * 365 * 30 * SECOND && cf_pacer_forecast(&r, CF_BUCKET_REQUESTS, 5000, 1) >= when - SECOND
                ? NULL : "is no limit");
        begin(&few);
        go(CF_BUCKET_REQUESTS, 1, 0);
        snprintf(name, sizeof name, "%g in 5 minutes", rates[i]);
        say(name, cf_pacer_when(&pacer, CF_BUCKET_REQUESTS, 1, SECOND, &ordered) > 300 * SECOND ? NULL : "is no limit");
    }
}

/* Set back by an hour, it waits that long and not once more for each token. */
static void clock_set_back(void)
{
    struct cf_rates r = {5, 25, 0, 0, 0, 0};
    int64_t now = 3600 * SECOND;
    int n;

    begin(&r);
    for (n = 0; n < 25; n++)
        now = go(CF_BUCKET_REQUESTS, 1, now);
    now = go(CF_BUCKET_REQUESTS, 1, 0);
    say("the clock set back", now >= 3600 * SECOND && now < 3601 * SECOND ? NULL : "wrong wait");
}

/* Random rates, costs, refusals and headers: it always goes on, within a day of what was ordered. */
static void anything(void)
{
    const char *problem = NULL;
    int round, n;

    for (round = 0; round < 300 && !problem; round++) {
        struct cf_rates r = {dice() * 60, (int)(dice() * 30), dice() * 3000, (int)(dice() * 3000), (int)(dice() * 100),
                             (int)(dice() * 20)};
        int64_t now = 0, then;
        begin(&r);
        for (n = 0; n < 300 && !problem; n++) {
            enum cf_bucket bucket = (enum cf_bucket)(int)(dice() * CF_BUCKETS);
            char header[64];
            if (dice() < 0.1)
                cf_pacer_refused(&pacer, bucket, dice() < 0.2, (int64_t)(dice() * 60e6), now);
            snprintf(header, sizeof header, "\"default\";r=%d;t=%d", (int)(dice() * 20), (int)(dice() * 60));
            if (dice() < 0.1)
                cf_pacer_heard(&pacer, bucket, header, now);
            then = go(bucket, (double)(1 + (int)(dice() * 500)), now + (int64_t)(dice() * 1e5));
            if (then < now || then > now + 86400 * SECOND)
                problem = "asleep for ever";
            now = then;
        }
    }
    say("anything", problem);
}

int main(void)
{
    buckets();
    late(1e5);
    late(3e6);
    windows();
    orders();
    headers();
    forecasts();
    next_to_nothing();
    clock_set_back();
    anything();
    cf_pacer_free(&pacer);
    return failed != 0;
}
