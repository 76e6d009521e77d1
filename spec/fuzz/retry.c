/* Retry-After and Ratelimit, from a header line to the instant at which the next request may go: no overflow, never a
 * negative wait but for "none", and the caps hold.
 * The input: two clocks, a status, numbers for a Ratelimit, a policy, then a line that is Retry-After and lines that
 * are Ratelimit. */
#include "fuzz.h"

#include <time.h>

#include "../../csrc/base/pacer.h"
#include "../../csrc/base/response.h"
#include "../../csrc/base/retry.h"

#define SECOND INT64_C(1000000)
#define FAR INT64_C(1000000000)
#define DAY (24 * 3600 * SECOND)

static int64_t capped(int64_t seconds)
{
    return (seconds < FAR ? seconds : FAR) * SECOND;
}

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

/* Days since 1970 of a date of the Gregorian calendar. */
static int64_t days(int year, int month, int day)
{
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int64_t past = year - 1;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return past * 365 + past / 4 - past / 100 + past / 400 - 719162 + before[month - 1] + (leap && month > 2) + day - 1;
}

/* Sun, 06 Nov 1994 08:49:37 GMT, to the letter: what RFC 9110 wants of those who send. */
static bool is_date(const char *value, int64_t *date)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec", names[] = "MonTueWedThuFriSatSun";
    static const char form[] = "Aaa, 00 Aaa 0000 00:00:00 GMT";
    const char *month, *name;
    char text[4] = "";
    int i, at;

    for (i = 0; form[i]; i++)
        if (form[i] == '0' ? !is_digit(value[i]) : !(form[i] == 'A' || form[i] == 'a') && form[i] != value[i])
            return false;
        else if (!value[i])
            return false;
    if (value[i])
        return false;
    month = strstr(months, memcpy(text, value + 8, 3));
    name = strstr(names, memcpy(text, value, 3));
    if (!month || !name || (month - months) % 3 || (name - names) % 3)
        return false;
#define PAIR(place) ((value[place] - '0') * 10 + value[(place) + 1] - '0')
    at = PAIR(5);
    if (at < 1 || at > 28 || PAIR(12) < 19 || PAIR(17) > 23 || PAIR(20) > 59 || PAIR(23) > 59)
        return false;
    *date = days(PAIR(12) * 100 + PAIR(14), (int)(month - months) / 3 + 1, at) * 86400 + PAIR(17) * 3600 +
            PAIR(20) * 60 + PAIR(23);
    return true;
}

static int64_t check_retry_after(const char *value, int64_t wall)
{
    int64_t wait = cf_retry_after(value, "", (time_t)wall), exact = 0, date;
    const char *p = value;

    CHECK(wait >= -1 && wait <= FAR * SECOND && (wait == -1 || wait % SECOND == 0));
    for (; is_digit(*p); p++)
        exact = exact < FAR ? exact * 10 + (*p - '0') : FAR;
    if (p > value && !*p)
        CHECK(wait == capped(exact));
    else if (p > value && *p == '.' && strspn(p + 1, "0123456789") == strlen(p + 1))
        CHECK(wait == capped(exact + 1));
    else if (is_date(value, &date)) {
        CHECK(wait == (date > wall ? capped(date - wall) : 0));
        /* By its own clock, whatever ours says. */
        CHECK(cf_retry_after(value, value, (time_t)wall) == 0);
        CHECK(cf_retry_after(value, "Thu, 01 Jan 1970 00:00:00 GMT", (time_t)wall) == (date > 0 ? capped(date) : 0));
    }
    else
        CHECK(wait == -1 || (*value >= 'A' && *value <= 'Z'));
    return wait;
}

static void check_decision(struct input *input, int64_t retry_after, int status)
{
    struct cf_retry_policy policy;
    struct cf_outcome outcome = {.status = status, .retry_after = retry_after};
    double chance;
    int64_t wait = -1;
    bool is_rate;

    policy.max_retries = next_byte(input);
    policy.retry_for = next_byte(input) & 1 ? (int64_t)next_number(input, 5) : -1;
    policy.max_wait = (int64_t)(next_number(input, 8) >> (1 + next_byte(input) % 63));
    outcome.failure = (enum cf_failure)(next_byte(input) % (CF_HELD_BACK + 1));
    outcome.should_retry = next_byte(input) % 3 - 1;
    outcome.attempts = 1 + next_byte(input);
    outcome.limited = next_byte(input);
    outcome.elapsed = (int64_t)next_number(input, 5);
    chance = (double)next_byte(input) / 256;
    cf_verdict_read(status, NULL, 0, &outcome.verdict);
    is_rate = outcome.verdict.about == CF_ABOUT_RATE;
    if (!cf_retry_decide(&policy, &outcome, chance, &wait))
        return;
    CHECK(cf_retry_may_help(&outcome));
    if (is_rate && policy.retry_for < 0)
        CHECK(outcome.limited <= CF_RETRY_LIMITED);
    else if (policy.retry_for < 0)
        CHECK(outcome.attempts <= policy.max_retries);
    else
        CHECK((is_rate && outcome.limited <= CF_RETRY_LIMITED) || outcome.elapsed + wait < policy.retry_for);
    CHECK(wait >= 0 && wait <= policy.max_wait && (retry_after >= 0 ? wait == retry_after : wait <= 8 * SECOND));
    CHECK(outcome.failure != CF_OK || status >= 300);
}

static int64_t when(struct cf_pacer *pacer, enum cf_bucket bucket, int64_t now)
{
    int64_t ordered, at = cf_pacer_when(pacer, bucket, 1, now, &ordered);
    CHECK(ordered <= at);
    return at;
}

static bool has_number(const char *text, char name)
{
    char word[] = {name, '=', '\0'};
    for (text = strstr(text, word); text; text = strstr(text + 1, word))
        if (is_digit(text[2]))
            return true;
    return false;
}

static void check_ratelimit(const char *value, int64_t now, int64_t retry_after)
{
    struct cf_pacer pacer;
    int64_t before[CF_BUCKETS];
    int of, i;

    memset(&pacer, 0, sizeof pacer);
    for (of = 0; of < CF_BUCKETS; of++) {
        for (i = 0; i < CF_BUCKETS; i++)
            before[i] = when(&pacer, (enum cf_bucket)i, now);
        cf_pacer_heard(&pacer, (enum cf_bucket)of, value, now);
        for (i = 0; i < CF_BUCKETS; i++) {
            int64_t at = when(&pacer, (enum cf_bucket)i, now);
            CHECK(at >= before[i] && at <= now + DAY);
            CHECK(at == before[i] || (has_number(value, 'r') && has_number(value, 't')));
            CHECK(at == before[i] || i == of || strstr(value, "\"default\""));
        }
    }
    cf_pacer_refused(&pacer, CF_BUCKET_URLS, retry_after % 2 == 0, retry_after, now);
    CHECK(when(&pacer, CF_BUCKET_URLS, now) >= now + (retry_after < DAY ? retry_after : DAY));
    CHECK(when(&pacer, CF_BUCKET_URLS, now) <= now + DAY);
    cf_pacer_free(&pacer);
}

/* A header that is as it should be does what it says, to the microsecond. */
static void check_exact(struct input *input, int64_t now)
{
    uint32_t left = (uint32_t)(next_number(input, 4) >> (next_byte(input) & 31));
    uint32_t seconds = (uint32_t)(next_number(input, 4) >> (next_byte(input) & 31));
    int64_t wait = seconds < 86400 ? seconds * SECOND : DAY, at;
    struct cf_pacer pacer;
    char value[80];

    memset(&pacer, 0, sizeof pacer);
    snprintf(value, sizeof value, "\"default\";r=%u;t=%u", left, seconds);
    cf_pacer_heard(&pacer, CF_BUCKET_URLS, value, now);
    at = when(&pacer, CF_BUCKET_REQUESTS, now);
    CHECK(left >= 10 ? at == now : at - now - wait / (left + 1) <= 1 && at - now - wait / (left + 1) >= -1);
    cf_pacer_free(&pacer);
}

static void hear(struct cf_response *response, const char *name, const char *line, size_t len)
{
    char header[512];
    size_t name_len = strlen(name);

    if (len > sizeof header - name_len)
        len = sizeof header - name_len;
    memcpy(header, name, name_len);
    memcpy(header + name_len, line, len);
    CHECK(cf_response_header(response, header, name_len + len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {(const char *)data, (const char *)data + size};
    /* Wall clocks from before 1970 to the year 36812, and a machine that has been up for ages. */
    int64_t wall = (int64_t)(next_number(&input, 5)) - (INT64_C(1) << 31), now = (int64_t)next_number(&input, 7) >> 1;
    int status = (int)next_number(&input, 2) % 1000;
    struct cf_response response;
    struct input policy;
    int64_t retry_after = -1;
    const char *line;
    char raw[256];
    size_t len;

    check_exact(&input, now);
    policy = input;
    next_number(&input, 26);
    memset(&response, 0, sizeof response);
    cf_response_reset(&response);
    if (next_line(&input, 0, &line, &len)) {
        hear(&response, "Retry-After: ", line, len);
        retry_after = check_retry_after(response.retry_after, wall);
        snprintf(raw, sizeof raw, "%.*s", (int)len, line);
        check_retry_after(raw, wall);
    }
    while (next_line(&input, 0, &line, &len)) {
        hear(&response, "ratelimit:", line, len);
        snprintf(raw, sizeof raw, "%.*s", (int)len, line);
        check_ratelimit(raw, now, retry_after);
    }
    check_ratelimit(response.ratelimit, now, retry_after);
    check_decision(&policy, retry_after, status);
    cf_response_free(&response);
    return 0;
}
