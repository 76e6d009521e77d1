/* One attempt of a transfer: libcurl's options and callbacks, the end of its time, what its ending says. */
#define _GNU_SOURCE 1
#include "engine/attempt.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/generation.h"
#include "engine/engine_private.h"
#include "engine/failure.h"
#include "engine/secrets.h"
#include "engine/tls.h"

/* One call of libcurl may go on so long, in microseconds, after a transfer's time is over. */
#define LONG_CALL 100000

/* libcurl ends the transfer where one of the next two takes fewer bytes than it was given. */

static size_t attempt_on_header(char *line, size_t size, size_t count, void *transfer)
{
    return cf_response_header(&((struct cf_transfer *)transfer)->response, line, size * count) ? size * count : 0;
}

static size_t attempt_on_body(char *bytes, size_t size, size_t count, void *transfer)
{
    return cf_response_body(&((struct cf_transfer *)transfer)->response, bytes, size * count) ? size * count : 0;
}

/* libcurl 7.88 reads the body of a proxy's refusal of CONNECT a byte at a time, in one call and for as long as there is
 * more. It asks only this function meanwhile. A clock for every byte would be dear. */
static int attempt_on_progress(void *transfer, curl_off_t total, curl_off_t now, curl_off_t to_send, curl_off_t sent)
{
    struct cf_transfer *self = transfer;
    int64_t due = self->instant.at, looked = self->engine->poller.looked;
    (void)total, (void)now, (void)to_send, (void)sent;
    return (++self->ticks & 63) == 0 && self->is_timed && cf_clock_now() - LONG_CALL > (due > looked ? due : looked);
}

/* A libcurl that does not ask before it sends again is given bodies that it cannot send again: it gives up, and the
 * next sending is another attempt. */
static size_t attempt_on_read(char *to, size_t size, size_t count, void *transfer)
{
    struct cf_transfer *self = transfer;
    size_t left = self->body.len - self->body_read, len = size * count < left ? size * count : left;

    memcpy(to, self->body.data + self->body_read, len);
    self->body_read += len;
    return len;
}

static int attempt_on_seek(void *transfer, curl_off_t offset, int origin)
{
    (void)transfer, (void)offset, (void)origin;
    return CURL_SEEKFUNC_FAIL;
}

/* 0 would mean "for ever" to libcurl. */
static long attempt_milliseconds(int64_t duration)
{
    int64_t rounded = (duration + 999) / 1000;
    return rounded > 0x7fffffff ? 0x7fffffff : rounded < 1 ? 1 : (long)rounded;
}

int64_t cf_attempt_overdue_at(const struct cf_transfer *transfer)
{
    int64_t end = transfer->timeout ? transfer->attempt_started + transfer->timeout : CF_NEVER;
    return transfer->deadline && transfer->deadline < end ? transfer->deadline : end;
}

#define SET(option, value) \
    do { \
        CURLcode set_code = curl_easy_setopt(easy, option, value); \
        if (set_code != CURLE_OK) \
            return set_code; \
    } while (0)

/* The options that no request changes, and the CA, which hardly any request does: set once, for they take longer than
 * all the rest. CURLOPT_TIMEOUT_MS is not among them: the engine ends an attempt that is overdue, for libcurl would
 * keep the connection of an HTTP/2 stream, and would not read first what has come while nobody stepped. */
static CURLcode attempt_set_up(struct cf_transfer *transfer)
{
    CURL *easy = transfer->easy;
    CURLcode code;

    SET(CURLOPT_PRIVATE, transfer);
    SET(CURLOPT_ERRORBUFFER, transfer->error);
    SET(CURLOPT_OPENSOCKETFUNCTION, cf_multi_open_socket);
    SET(CURLOPT_OPENSOCKETDATA, transfer);
    SET(CURLOPT_CLOSESOCKETFUNCTION, cf_multi_close_socket);
    SET(CURLOPT_CLOSESOCKETDATA, transfer->engine);
    SET(CURLOPT_HEADERFUNCTION, attempt_on_header);
    SET(CURLOPT_HEADERDATA, transfer);
    SET(CURLOPT_WRITEFUNCTION, attempt_on_body);
    SET(CURLOPT_WRITEDATA, transfer);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_NOPROGRESS, 0L);
    SET(CURLOPT_XFERINFOFUNCTION, attempt_on_progress);
    SET(CURLOPT_XFERINFODATA, transfer);
#ifdef CF_HAVE_PREREQ
    if (cf_libcurl_asks_before_sending()) {
        SET(CURLOPT_PREREQFUNCTION, cf_sending_begins);
        SET(CURLOPT_PREREQDATA, transfer);
    }
#endif
#ifdef CF_HAVE_PROTOCOLS_STR
    SET(CURLOPT_PROTOCOLS_STR, cf_libcurl_protocols());
#else
    SET(CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    if (!cf_libcurl_asks_before_sending()) {
        SET(CURLOPT_READFUNCTION, attempt_on_read);
        SET(CURLOPT_READDATA, transfer);
        SET(CURLOPT_SEEKFUNCTION, attempt_on_seek);
    }
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)CF_RESPONSE_MAX_BODY);
    /* Our header says that we want none; libcurl decodes the body of a server that encodes it all the same. */
    SET(CURLOPT_ACCEPT_ENCODING, "identity");
    /* libcurl allocates this buffer for every request: it is as small as libcurl takes it. The buffer that it receives
     * into is not: with less than the 16 KiB of an HTTP/2 frame libcurl (7.88) forgets streams whose frames come side
     * by side. */
    SET(CURLOPT_UPLOAD_BUFFERSIZE, 16384L);
#ifdef CF_HAVE_QUICK_EXIT
    /* A libcurl that is older than its headers was refuses: the engine warns of that. */
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
    /* The API's headers are not shown to a proxy, and a proxy's headers are not taken for the API's. */
    SET(CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE);
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    code = cf_tls_apply(easy, transfer->ca);
    transfer->trusted = transfer->ca;
    transfer->is_set = code == CURLE_OK;
    return code;
}

static CURLcode attempt_set_request(struct cf_transfer *transfer, const struct cf_lane *lane, bool is_fresh)
{
    CURL *easy = transfer->easy;
    const struct cf_engine *engine = transfer->engine;
    bool may_stream = lane == &engine->lanes[CF_LANE_STREAMS];

    SET(CURLOPT_SHARE, engine->share);
    SET(CURLOPT_URL, transfer->url);
    /* A libcurl without HTTP/2 refuses 2TLS, and speaks 1.1. */
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
                     may_stream ? (long)CURL_HTTP_VERSION_2TLS : (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_PIPEWAIT, may_stream ? 1L : 0L);
    SET(CURLOPT_HTTPHEADER, transfer->headers);
    SET(CURLOPT_USERAGENT, transfer->user_agent);
    if (transfer->is_get) {
        SET(CURLOPT_HTTPGET, 1L);
    } else {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDS, cf_libcurl_asks_before_sending() ? transfer->body.data : NULL);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)transfer->body.len);
    }
    SET(CURLOPT_FRESH_CONNECT, is_fresh ? 1L : 0L);
#ifdef CF_HAVE_MAXAGE
    /* Seconds; 118 is libcurl's own default. Where one connection had died while it was idle others may have as well: a
     * stream goes to none of them, and many streams share a new one. */
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, transfer->was_kept ? 1L : 118L);
#endif
    SET(CURLOPT_FORBID_REUSE, 0L);
    SET(CURLOPT_PROXY, transfer->proxy);
    /* An explicit proxy is not undone by the environment's no_proxy. */
    SET(CURLOPT_NOPROXY, transfer->direct ? "*" : transfer->proxy ? "" : NULL);
    if (engine->addresses)
        SET(CURLOPT_RESOLVE, engine->addresses);
    /* Seconds. */
    SET(CURLOPT_DNS_CACHE_TIMEOUT, transfer->origin->look_up_again ? 0L : 60L);
    /* libcurl's own default is 300 s; "none" is as long as it can be. */
    SET(CURLOPT_CONNECTTIMEOUT_MS,
        transfer->connect_timeout ? attempt_milliseconds(transfer->connect_timeout) : 0x7fffffffL);
    return CURLE_OK;
}

CURLcode cf_attempt_prepare(struct cf_transfer *transfer, const struct cf_lane *lane, bool is_fresh, int64_t now)
{
    uint32_t generation = cf_generation();
    CURLcode code = CURLE_OK;

    /* First: the answer to the last attempt says nothing of one that cannot be made. */
    cf_response_reset(&transfer->response);
    transfer->error[0] = '\0';
    transfer->attempt_started = now;
    transfer->sendings = 0;
    transfer->body_read = 0;
    transfer->is_stream = false;
    transfer->refusal = CF_REFUSAL_NONE;
    transfer->tls = NULL;
    transfer->is_starved = false;
    transfer->is_refused = true;
    transfer->tries++;
    if (transfer->easy && transfer->generation == generation &&
        (!transfer->is_set || transfer->trusted != transfer->ca)) {
        /* Not curl_easy_reset: where memory is short that leaves half of the defaults out, and does not say so. */
        curl_easy_cleanup(transfer->easy);
        transfer->easy = NULL;
    }
    if (!transfer->easy || transfer->generation != generation) {
        transfer->generation = generation;
        transfer->is_set = false;
        transfer->easy = curl_easy_init();
        code = transfer->easy ? attempt_set_up(transfer) : CURLE_OUT_OF_MEMORY;
    }
    if (code == CURLE_OK)
        code = attempt_set_request(transfer, lane, is_fresh);
    if (code == CURLE_OK) {
        transfer->is_refused = false;
        transfer->attempts++;
    }
    return code;
}

void cf_attempt_overdue(struct cf_transfer *transfer, int64_t now)
{
    double found = 0, sent = 0;

    curl_easy_getinfo(transfer->easy, CURLINFO_NAMELOOKUP_TIME, &found);
    curl_easy_getinfo(transfer->easy, CURLINFO_PRETRANSFER_TIME, &sent);
    (void)snprintf(transfer->error, sizeof transfer->error, "timed out after %lld ms, %s",
                   (long long)(now - transfer->attempt_started) / 1000,
                   transfer->response.status ? "within the answer"
                   : sent > 0                ? "waiting for an answer"
                   : found > 0               ? "connecting"
                                             : "looking the name up");
    /* Where nobody else uses its connection, that is closed: it may be dead. */
    curl_easy_setopt(transfer->easy, CURLOPT_FORBID_REUSE, 1L);
}

void cf_attempt_finish(struct cf_transfer *transfer, CURLcode code)
{
    const struct cf_response *response = &transfer->response;
    const char *text;
    long connects = 0;

    if (transfer->easy)
        curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &connects);
    if (code == CURLE_ABORTED_BY_CALLBACK && transfer->refusal == CF_REFUSAL_NONE)
        cf_attempt_overdue(transfer, cf_clock_now());
    transfer->failure = cf_failure_of(code, transfer);
    transfer->was_kept = transfer->failure == CF_CONNECTION && transfer->response.headers_len == 0 &&
                         (transfer->refusal == CF_REFUSAL_AGAIN || code == CURLE_SEND_FAIL_REWIND ||
                          (connects == 0 && transfer->sendings > 0));
    /* libcurl counts how often it sent again, over all that a handle does, and gives up at the fifth. */
    if (transfer->sendings > 1 || transfer->refusal != CF_REFUSAL_NONE || code == CURLE_SEND_FAIL_REWIND)
        transfer->is_set = false;
    text = cf_failure_text(code, transfer);
    if (text)
        strncpy(transfer->error, text, sizeof transfer->error - 1);
    cf_secrets_mask(transfer);
    transfer->retry_after =
        response->is_headed ? cf_retry_after(response->retry_after, response->date, time(NULL)) : -1;
    cf_verdict_read(response->is_headed ? response->status : 0,
                    transfer->failure == CF_OK && response->body.len > 0 ? response->body.data : NULL,
                    response->body.len, &transfer->verdict);
    if (transfer->verdict.about == CF_ABOUT_RATE) {
        transfer->limits++;
        transfer->limited++;
    } else {
        transfer->limited = 0;
    }
}

void cf_attempt_outcome(const struct cf_transfer *transfer, int64_t now, struct cf_outcome *outcome)
{
    outcome->failure = transfer->failure;
    outcome->status = transfer->response.status;
    outcome->verdict = transfer->verdict;
    outcome->should_retry = transfer->response.should_retry;
    outcome->retry_after = transfer->retry_after;
    outcome->was_kept = transfer->was_kept;
    outcome->attempts = transfer->tries - transfer->limits;
    outcome->limited = transfer->limited;
    outcome->elapsed = now - transfer->started;
}
