/* The engine's order of things: which request goes out when, and whether one that came back goes again. */
#include "engine/engine_private.h"

#include "base/envelope.h"
#include "base/clock.h"

/* While it is not known whether the server speaks HTTP/2, no more than this go out at once over TLS: libcurl would open
 * a connection for each of them that finds no free stream (libcurl-facts: 201 connections for 300 purges). */
#define UNKNOWN_IN_FLIGHT 64

/* xorshift64*: spreading retries needs no better one, and rand() belongs to the host. */
static double schedule_chance(struct cf_engine *engine)
{
    engine->random ^= engine->random >> 12;
    engine->random ^= engine->random << 25;
    engine->random ^= engine->random >> 27;
    return (double)((engine->random * UINT64_C(2685821657736338717)) >> 11) / (double)(UINT64_C(1) << 53);
}

/* A 429 stops all that draw from the same bucket, not only the request that met it. */
static void schedule_heed(struct cf_engine *engine, const struct cf_transfer *transfer, int64_t wait, int64_t now)
{
    const struct cf_response *response = &transfer->response;

    if (!response->is_headed)
        return;
    if (response->ratelimit[0])
        cf_pacer_heard(&engine->pacer, transfer->bucket, response->ratelimit, now);
    if (response->status == 429)
        /* 10100 is the account's limit over all calls. */
        cf_pacer_refused(&engine->pacer, transfer->bucket,
                         cf_envelope_has_code(response->body.data, response->body.len, "10100"), wait, now);
}

void cf_schedule_attempt_ended(struct cf_engine *engine, struct cf_transfer *transfer, CURLcode code)
{
    struct cf_outcome outcome;
    int64_t wait = 0, now = cf_clock_now();
    bool again;

    cf_transfer_finish(transfer, code);
    cf_pacer_answered(&engine->pacer, transfer->bucket, cf_transfer_cost(transfer), now);
    engine->stats.bytes_sent += transfer->body.len;
    engine->stats.bytes_received += transfer->response.body.len;
    cf_events_add(engine, transfer, CF_EVENT_RESPONSE, 0);
    outcome.failure = transfer->failure;
    outcome.status = transfer->response.status;
    outcome.should_retry = transfer->response.should_retry;
    outcome.retry_after = transfer->retry_after;
    again = cf_retry_decide(&transfer->retry, transfer->attempts, &outcome, schedule_chance(engine), &wait);
    schedule_heed(engine, transfer, transfer->retry_after >= 0 ? transfer->retry_after : wait, now);
    if (again && (!transfer->deadline || now + wait < transfer->deadline)) {
        transfer->due = now + wait;
        engine->stats.retries++;
        cf_events_add(engine, transfer, CF_EVENT_RETRY, wait);
        cf_transfer_move(transfer, &engine->waiting);
    } else {
        cf_multi_ended(engine, transfer);
    }
}

static bool schedule_may_start(const struct cf_engine *engine, const struct cf_transfer *transfer)
{
    return engine->protocol != UNKNOWN || engine->running.count < UNKNOWN_IN_FLIGHT || !cf_transfer_is_tls(transfer);
}

/* What the pacer says of a queued request: it may go, it waits, or it was ended, for nobody would wait that long. */
static bool schedule_may_go(struct cf_engine *engine, struct cf_transfer *transfer, int64_t now)
{
    double cost = cf_transfer_cost(transfer);
    int64_t ordered, when = cf_pacer_when(&engine->pacer, transfer->bucket, cost, now, &ordered);

    if (when <= now)
        return true;
    if (ordered - now > transfer->retry.max_wait) {
        cf_multi_end(engine, transfer, CF_HELD_BACK, "the server ordered to wait longer than max_retry_wait");
        transfer->retry_after = ordered - now;
    } else if (transfer->deadline && when > transfer->deadline) {
        cf_multi_end(engine, transfer, CF_TIMEOUT, "the deadline would pass before it may be sent");
    } else if (when < engine->pace_due && !cf_pacer_awaits_answer(&engine->pacer, transfer->bucket, cost)) {
        engine->pace_due = when;
    }
    return false;
}

static void schedule_start_one(struct cf_engine *engine, struct cf_transfer *transfer, int64_t now)
{
    CURLcode code;

    if (!cf_multi_open(engine)) {
        cf_multi_end(engine, transfer, CF_REFUSED, "out of memory or descriptors");
        return;
    }
    /* Only TLS speaks HTTP/2: a call with a base_url of its own needs a connection for each request. */
    if (engine->protocol == HTTP2 && !cf_transfer_is_tls(transfer))
        cf_multi_protocol(engine, HTTP1);
    cf_pacer_take(&engine->pacer, transfer->bucket, cf_transfer_cost(transfer), now);
    engine->suspect = engine->suspect && engine->running.first;
    cf_transfer_move(transfer, &engine->running);
    /* The cap counts busy connections too: below their number every purge would reconnect. */
    if ((long)engine->running.count > engine->max_connections) {
        engine->max_connections *= 2;
        curl_multi_setopt(engine->multi, CURLMOPT_MAXCONNECTS, engine->max_connections);
    }
    code = cf_transfer_prepare(transfer, engine->share, &engine->poller, now);
    if (code == CURLE_OK && engine->suspect && transfer->failure == CF_TIMEOUT)
        code = curl_easy_setopt(transfer->easy, CURLOPT_FRESH_CONNECT, 1L);
    engine->stats.attempts += code == CURLE_OK;
    cf_events_add(engine, transfer, CF_EVENT_REQUEST, 0);
    if (code == CURLE_OK && curl_multi_add_handle(engine->multi, transfer->easy) != CURLM_OK)
        code = CURLE_OUT_OF_MEMORY;
    if (code != CURLE_OK)
        cf_schedule_attempt_ended(engine, transfer, code);
    else if (transfer->overdue < engine->first_overdue)
        engine->first_overdue = transfer->overdue;
}

/* A request that has to wait for its bucket holds up those behind it that draw from the same one, and no others. */
void cf_schedule_queued(struct cf_engine *engine)
{
    struct cf_transfer *transfer, *next;
    bool held[CF_BUCKETS] = {false};

    engine->pace_due = CF_NEVER;
    for (transfer = engine->queued.first; transfer && schedule_may_start(engine, transfer); transfer = next) {
        int64_t now = cf_clock_now();
        next = transfer->next;
        if (held[transfer->bucket])
            continue;
        if (schedule_may_go(engine, transfer, now))
            schedule_start_one(engine, transfer, now);
        else
            held[transfer->bucket] = transfer->list == &engine->queued;
    }
}

/* Not left to libcurl: it would keep the connection, which the next attempt would meet again (HTTP/2), and where a
 * socket has news in the last millisecond of a transfer's time it (7.88 at least) drops the timer, and hangs. */
void cf_schedule_overdue(struct cf_engine *engine)
{
    struct cf_transfer *transfer, *next;
    int64_t now;

    if (!engine->running.first)
        engine->first_overdue = CF_NEVER;
    /* Nobody may have stepped since: what has come meanwhile is read first. */
    if (engine->first_overdue > engine->poller.looked)
        return;
    now = cf_clock_now();
    engine->first_overdue = CF_NEVER;
    for (transfer = engine->running.first; transfer; transfer = next) {
        next = transfer->next;
        if (transfer->overdue <= engine->poller.looked) {
            cf_transfer_overdue(transfer, now);
            cf_multi_count(engine, transfer);
            curl_multi_remove_handle(engine->multi, transfer->easy);
            cf_schedule_attempt_ended(engine, transfer, CURLE_OPERATION_TIMEDOUT);
            engine->suspect = true;
        } else if (transfer->overdue < engine->first_overdue) {
            engine->first_overdue = transfer->overdue;
        }
    }
}

void cf_schedule_due(struct cf_engine *engine)
{
    struct cf_transfer *transfer, *next;
    int64_t now = engine->waiting.first || engine->queued.first ? cf_clock_now() : 0;

    for (transfer = engine->waiting.first; transfer; transfer = next) {
        next = transfer->next;
        if (transfer->due <= now)
            cf_transfer_move(transfer, &engine->queued);
    }
    /* Those behind one that may not start yet as well: next_deadline counts them all. */
    for (transfer = engine->queued.first; transfer; transfer = next) {
        next = transfer->next;
        if (transfer->deadline && transfer->deadline <= now)
            cf_multi_end(engine, transfer, CF_TIMEOUT, "the deadline passed before it could be sent");
    }
    cf_schedule_queued(engine);
}

int64_t cf_schedule_next(const struct cf_engine *engine)
{
    int64_t deadline = engine->curl_due < engine->pace_due ? engine->curl_due : engine->pace_due;
    const struct cf_transfer *transfer;

    if (engine->unfinished)
        return 0;
    if (engine->first_overdue < deadline)
        deadline = engine->first_overdue;
    for (transfer = engine->waiting.first; transfer; transfer = transfer->next)
        if (transfer->due < deadline)
            deadline = transfer->due;
    for (transfer = engine->queued.first; transfer; transfer = transfer->next)
        if (transfer->deadline && transfer->deadline < deadline)
            deadline = transfer->deadline;
    return deadline;
}
