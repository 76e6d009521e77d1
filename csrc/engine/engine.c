/* A client's requests on one CURLM: submit, step, take, cancel. */
#define _GNU_SOURCE
#include "engine/engine_private.h"

#include <string.h>

#include "base/memory.h"
#include "base/clock.h"
#include "engine/global.h"
#include "engine/sigpipe.h"

/* Transfers that are kept for the next requests, with their easy handles. */
#define POOLED 64
/* A step that has worked so long leaves what is due now to the next one: a TLS handshake and the requests that waited
 * for it are too much for one frame of a host. */
#define LONG_STEP 1000
/* A connection may have more news than one look finds. */
#define LATE_LOOKS 8

struct cf_engine *cf_engine_new(void)
{
    struct cf_engine *engine = cf_zalloc(sizeof *engine);
    if (engine) {
        engine->curl_due = engine->pace_due = engine->first_overdue = CF_NEVER;
        engine->random = (uint64_t)cf_clock_now() ^ (uint64_t)(uintptr_t)engine;
        engine->generation = cf_global_generation();
    }
    return engine;
}

bool cf_engine_pace(struct cf_engine *engine, const struct cf_rates *rates)
{
    return cf_pacer_set(&engine->pacer, rates, cf_clock_now());
}

/* ---- moving forward ---- */

static void engine_learn_protocol(struct cf_engine *engine, const struct cf_transfer *transfer)
{
    long version = 0;

    if (transfer->response.status == 0 || engine->protocol == HTTP1 ||
        curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_VERSION, &version) != CURLE_OK)
        return;
    cf_multi_protocol(engine, version >= CURL_HTTP_VERSION_2_0 ? HTTP2 : HTTP1);
}

static void engine_drain(struct cf_engine *engine)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(engine->multi, &left))) {
        struct cf_transfer *transfer = NULL;
        CURLcode code = message->data.result;
        CURL *easy = message->easy_handle;

        curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
        engine_learn_protocol(engine, transfer);
        cf_multi_count(engine, transfer);
        curl_multi_remove_handle(engine->multi, easy);
        cf_schedule_attempt_ended(engine, transfer, code);
    }
}

/* False: the multi is gone. */
static bool engine_act(struct cf_engine *engine, curl_socket_t fd, int what)
{
    int running;
    CURLMcode code;

    code = curl_multi_socket_action(engine->multi, fd, what, &running);
    engine_drain(engine);
    if (code == CURLM_OK && !engine->broken)
        return true;
    cf_multi_give_up(engine, code == CURLM_OK ? CURLM_OUT_OF_MEMORY : code);
    return false;
}

static void engine_run_timers(struct cf_engine *engine)
{
    engine->unfinished = false;
    cf_schedule_due(engine);
    if (engine->multi && engine->curl_due <= cf_clock_now()) {
        engine->curl_due = CF_NEVER;
        if (engine_act(engine, CURL_SOCKET_TIMEOUT, 0) && engine->curl_due == CF_NEVER && engine->running.count > 0) {
            /* libcurl is silent where its timer did not change, though it may not have been due. */
            long left = -1;
            if (curl_multi_timeout(engine->multi, &left) == CURLM_OK)
                cf_multi_timer(engine->multi, left, engine);
        }
    }
    cf_schedule_overdue(engine);
    cf_schedule_queued(engine);
}

static void engine_tell_poller(struct cf_engine *engine)
{
    if (engine->poller_open) {
        cf_poller_deadline(&engine->poller, cf_schedule_next(engine));
        cf_poller_ring(&engine->poller, engine->done.first != NULL);
    }
}

/* False: there were none, or the multi is gone. */
static bool engine_wait_for_events(struct cf_engine *engine, int64_t timeout)
{
    struct cf_poller_event events[CF_POLLER_BATCH];
    int count = cf_poller_wait(&engine->poller, events, timeout), i;

    for (i = 0; i < count && engine->multi; i++)
        if (!engine_act(engine, events[i].fd,
                        (events[i].what & CF_POLLER_READ ? CURL_CSELECT_IN : 0) |
                            (events[i].what & CF_POLLER_WRITE ? CURL_CSELECT_OUT : 0) |
                            (events[i].what & CF_POLLER_ERROR ? CURL_CSELECT_ERR : 0)))
            return false;
    return count > 0;
}

size_t cf_engine_in_flight(struct cf_engine *engine)
{
    return engine->queued.count + engine->running.count + engine->waiting.count;
}

size_t cf_engine_step(struct cf_engine *engine, int64_t timeout)
{
    int64_t woken;
    bool moved;
    int i;

    cf_multi_notice_fork(engine);
    if (engine->poller_open) {
        struct cf_sigpipe guard = cf_sigpipe_hold();
        engine_run_timers(engine);
        if ((engine->untold && engine->done.first) || cf_engine_in_flight(engine) == 0)
            timeout = 0;
        cf_poller_deadline(&engine->poller, cf_schedule_next(engine));
        /* What was left untaken must not keep this wait from waiting. */
        cf_poller_ring(&engine->poller, false);
        moved = engine_wait_for_events(engine, timeout);
        woken = engine->poller.looked;
        /* A host that comes late finds what was there in time: all of it, before time is up. */
        for (i = 0; moved && engine->first_overdue <= woken && i < LATE_LOOKS; i++)
            moved = engine_wait_for_events(engine, 0);
        engine->unfinished = cf_clock_now() - woken >= LONG_STEP;
        if (!engine->unfinished)
            engine_run_timers(engine);
        engine_tell_poller(engine);
        cf_sigpipe_release(guard);
    }
    engine->untold = false;
    return cf_engine_in_flight(engine);
}

/* ---- what the binding calls ---- */

uint64_t cf_engine_submit(struct cf_engine *engine, struct cf_submission *submission)
{
    struct cf_transfer *transfer;

    cf_multi_notice_fork(engine);
    if (!cf_multi_open(engine))
        return 0;
    transfer = engine->idle.last;
    if (transfer)
        cf_transfer_move(transfer, NULL);
    else
        transfer = cf_transfer_new();
    if (!transfer)
        return 0;
    if (!cf_transfer_fill(transfer, submission, cf_clock_now())) {
        cf_transfer_free(transfer);
        return 0;
    }
    transfer->id = ++engine->last_id;
    engine->stats.started++;
    cf_events_warn(engine);
    cf_transfer_move(transfer, &engine->queued);
    /* The step begins it, and with it the time of its attempt: until then nobody would send or read for it. */
    engine->unfinished = true;
    engine_tell_poller(engine);
    return engine->last_id;
}

bool cf_engine_cancel(struct cf_engine *engine, uint64_t id)
{
    struct cf_transfer_list *lists[3];
    struct cf_transfer *transfer;
    int i;

    struct cf_sigpipe guard;

    cf_multi_notice_fork(engine);
    lists[0] = &engine->running, lists[1] = &engine->waiting, lists[2] = &engine->queued;
    for (i = 0; i < 3; i++)
        for (transfer = lists[i]->first; transfer; transfer = transfer->next)
            if (transfer->id == id) {
                guard = cf_sigpipe_hold();
                cf_multi_end(engine, transfer, CF_CANCELLED, "cancelled");
                cf_sigpipe_release(guard);
                cf_schedule_queued(engine);
                engine_tell_poller(engine);
                return true;
            }
    return false;
}

struct cf_transfer *cf_engine_take(struct cf_engine *engine, uint64_t id)
{
    struct cf_transfer *transfer;

    /* Before a release in a child could silence the parent's descriptor. */
    cf_multi_notice_fork(engine);
    transfer = engine->done.first;
    while (transfer && id != 0 && transfer->id != id)
        transfer = transfer->next;
    if (transfer)
        cf_transfer_move(transfer, &engine->taken);
    return transfer;
}

void cf_engine_put_back(struct cf_engine *engine, struct cf_transfer *transfer)
{
    cf_transfer_move(transfer, &engine->done);
    if (engine->closed)
        cf_transfer_redact(transfer);
    engine_tell_poller(engine);
}

void cf_engine_ending(const struct cf_transfer *transfer, struct cf_ending *ending)
{
    struct cf_outcome outcome = {transfer->failure, transfer->response.status, transfer->response.should_retry,
                                 transfer->retry_after};
    ending->id = transfer->id;
    ending->failure = transfer->failure;
    ending->error = transfer->error;
    ending->response = &transfer->response;
    ending->attempts = transfer->attempts;
    ending->elapsed = transfer->elapsed;
    ending->retry_after = transfer->retry_after;
    ending->retryable = cf_retry_may_help(&outcome);
    ending->body = transfer->body.data;
    ending->body_len = transfer->body.len;
    ending->path = transfer->path;
    ending->items = transfer->items;
    ending->secrets = transfer->secrets;
}

void cf_engine_release(struct cf_engine *engine, struct cf_transfer *transfer)
{
    cf_transfer_move(transfer, NULL);
    if (engine->multi && engine->idle.count < POOLED) {
        cf_transfer_clear(transfer);
        cf_transfer_move(transfer, &engine->idle);
    } else {
        cf_transfer_free(transfer);
    }
    if (!engine->done.first)
        engine_tell_poller(engine);
}

int cf_engine_fd(struct cf_engine *engine)
{
    cf_multi_notice_fork(engine);
    if (engine->closed || !cf_multi_open_poller(engine))
        return -1;
    engine_tell_poller(engine);
    return cf_poller_show(&engine->poller);
}

int64_t cf_engine_timeout(struct cf_engine *engine)
{
    int64_t deadline, now;

    cf_multi_notice_fork(engine);
    if (engine->done.first)
        return 0;
    deadline = cf_schedule_next(engine);
    if (deadline == CF_NEVER || cf_engine_in_flight(engine) == 0)
        return CF_NEVER;
    now = cf_clock_now();
    return deadline > now ? deadline - now : 0;
}

void cf_engine_stats(struct cf_engine *engine, struct cf_engine_stats *stats)
{
    int64_t now = cf_clock_now(), ordered;
    int i;

    cf_multi_notice_fork(engine);
    *stats = engine->stats;
    stats->queued = engine->queued.count;
    stats->running = engine->running.count;
    stats->waiting = engine->waiting.count;
    stats->done = engine->done.count;
    for (i = 0; i < CF_BUCKETS; i++) {
        int64_t when = cf_pacer_when(&engine->pacer, (enum cf_bucket)i, 1, now, &ordered);
        stats->left[i] = cf_pacer_left(&engine->pacer, (enum cf_bucket)i, now);
        stats->held[i] = when > now ? when - now : 0;
    }
}

void cf_engine_close(struct cf_engine *engine)
{
    static const char *const why = "the client was closed";
    struct cf_sigpipe guard = cf_sigpipe_hold();
    struct cf_transfer *transfer;

    cf_multi_notice_fork(engine);
    engine->closed = true;
    cf_multi_end_all(engine, &engine->running, CF_CLOSED, why);
    cf_multi_end_all(engine, &engine->waiting, CF_CLOSED, why);
    cf_multi_end_all(engine, &engine->queued, CF_CLOSED, why);
    cf_multi_close(engine);
    for (transfer = engine->done.first; transfer; transfer = transfer->next)
        cf_transfer_redact(transfer);
    if (engine->poller_open)
        cf_poller_close(&engine->poller, false);
    engine->poller_open = false;
    cf_sigpipe_release(guard);
}

void cf_engine_free(struct cf_engine *engine)
{
    struct cf_transfer *transfer;

    if (!engine)
        return;
    cf_engine_close(engine);
    while ((transfer = engine->done.first)) {
        cf_transfer_move(transfer, NULL);
        cf_transfer_free(transfer);
    }
    cf_pacer_free(&engine->pacer);
    cf_free(engine->events);
    cf_free(engine);
}
