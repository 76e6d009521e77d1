/* A client's requests: submit, step, take, cancel. */
#define _GNU_SOURCE 1
#include "engine/engine_private.h"

#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/generation.h"
#include "base/memory.h"
#include "base/sigpipe.h"
#include "engine/global.h"
#include "engine/secrets.h"

/* Transfers that are kept for the next requests, with their easy handles. */
#define POOLED 64
/* A step works for about twice as long, in microseconds: once before and once after it has waited. It leaves the rest
 * to the next step, for a host has other things to do: a frame, another request. */
#define HALF_STEP 700
/* A connection may have more news than one look finds. */
#define LATE_LOOKS 8

struct cf_engine *cf_engine_new(const struct cf_engine_settings *settings)
{
    struct cf_engine *engine = cf_zalloc(sizeof *engine);

    if (!engine)
        return NULL;
    engine->now = cf_clock_now();
    engine->alarm = engine->pace_due = engine->lanes[0].due = engine->lanes[1].due = CF_NEVER;
    engine->random = ((uint64_t)engine->now ^ (uint64_t)(uintptr_t)engine ^ ((uint64_t)getpid() << 32)) | 1;
    engine->generation = cf_generation();
    engine->max_connections = settings->max_connections;
    engine->max_queued = settings->max_queued;
    engine->turn = &engine->own;
    engine->own.rates = settings->rates;
    if (!cf_pacer_set(&engine->own.pacer, &settings->rates, engine->now)) {
        cf_engine_free(engine);
        return NULL;
    }
    return engine;
}

/* ---- moving forward ---- */

bool cf_engine_is_late(struct cf_engine *engine, int64_t until)
{
    engine->now = cf_clock_now();
    engine->unfinished = engine->unfinished || engine->now >= until;
    return engine->unfinished;
}

size_t cf_engine_in_flight(struct cf_engine *engine)
{
    return engine->queued + engine->running.count + engine->waiting.count;
}

size_t cf_engine_done(struct cf_engine *engine)
{
    return engine->done.count;
}

static void engine_tell_poller(struct cf_engine *engine)
{
    if (engine->poller_open) {
        cf_poller_deadline(&engine->poller, cf_schedule_next(engine));
        cf_poller_ring(&engine->poller, engine->done.first != NULL);
    }
}

/* The work that no descriptor has news of. */
static void engine_move(struct cf_engine *engine, int64_t until)
{
    cf_multi_run_timers(engine);
    if (cf_engine_is_late(engine, until))
        return;
    cf_schedule_overdue(engine);
    cf_schedule_run(engine, until);
    if (!cf_engine_is_late(engine, until))
        cf_multi_run_timers(engine);
}

/* Lets libcurl work on the descriptors that have news. False: there were none, or some are left. */
static bool engine_look(struct cf_engine *engine, int64_t timeout)
{
    struct cf_poller_event events[CF_POLLER_BATCH];
    int count = cf_poller_wait(&engine->poller, events, timeout), i;
    int64_t until = engine->poller.looked + HALF_STEP;

    engine->now = engine->poller.looked;
    for (i = 0; i < count && engine->now < until; i++)
        cf_multi_act(&engine->lanes[events[i].lane], events[i].fd,
                     (events[i].what & CF_POLLER_READ ? CURL_CSELECT_IN : 0) |
                         (events[i].what & CF_POLLER_WRITE ? CURL_CSELECT_OUT : 0) |
                         (events[i].what & CF_POLLER_ERROR ? CURL_CSELECT_ERR : 0));
    engine->unread = i < count || engine->poller.is_full;
    engine->unfinished = engine->unread;
    return count > 0 && !engine->unread;
}

size_t cf_engine_step(struct cf_engine *engine, int64_t timeout)
{
    struct cf_heap_node *overdue;
    struct cf_sigpipe guard;
    int64_t woken;
    bool moved;
    int i;

    cf_multi_notice_fork(engine);
    if (engine->poller_open) {
        guard = cf_sigpipe_hold(cf_libcurl_may_raise_sigpipe());
        engine->now = cf_clock_now();
        engine->unfinished = false;
        engine_move(engine, engine->now + HALF_STEP);
        if ((engine->untold && engine->done.first) || (cf_engine_in_flight(engine) == 0 && engine->alarm == CF_NEVER))
            timeout = 0;
        cf_poller_deadline(&engine->poller, cf_schedule_next(engine));
        /* The answers that nobody has taken yet must not keep this wait from waiting. */
        cf_poller_ring(&engine->poller, false);
        moved = engine_look(engine, timeout);
        woken = engine->poller.looked;
        /* A host that comes late finds all answers that were there in time, before time is up. */
        for (i = 0; moved && (overdue = cf_heap_first(&engine->overdue)) && overdue->at <= woken && i < LATE_LOOKS; i++)
            moved = engine_look(engine, 0);
        if (!engine->unfinished)
            engine_move(engine, engine->now + HALF_STEP);
        engine_tell_poller(engine);
        cf_sigpipe_release(guard);
    }
    engine->untold = false;
    return cf_engine_in_flight(engine);
}

/* ---- the index by id ---- */

static struct cf_transfer **engine_chain_of(struct cf_engine *engine, uint64_t id)
{
    return &engine->by_id[id & (engine->by_id_size - 1)];
}

/* Where memory is short the chains grow longer. False: there is none. */
static bool engine_reserve_index(struct cf_engine *engine)
{
    size_t size = engine->by_id_size ? engine->by_id_size * 2 : 64, i;
    struct cf_transfer **old = engine->by_id, **table, *transfer, *next;

    if (engine->by_id_count < engine->by_id_size)
        return true;
    table = cf_zalloc(size * sizeof(struct cf_transfer *));
    if (!table)
        return old != NULL;
    engine->by_id = table;
    for (i = 0; i < engine->by_id_size; i++)
        for (transfer = old[i]; transfer; transfer = next) {
            next = transfer->chained;
            transfer->chained = table[transfer->id & (size - 1)];
            table[transfer->id & (size - 1)] = transfer;
        }
    engine->by_id_size = size;
    cf_free(old);
    return true;
}

static void engine_index(struct cf_engine *engine, struct cf_transfer *transfer)
{
    struct cf_transfer **chain = engine_chain_of(engine, transfer->id);

    transfer->chained = *chain;
    *chain = transfer;
    engine->by_id_count++;
}

static struct cf_transfer *engine_find(struct cf_engine *engine, uint64_t id)
{
    struct cf_transfer *transfer = engine->by_id_size ? *engine_chain_of(engine, id) : NULL;

    while (transfer && transfer->id != id)
        transfer = transfer->chained;
    return transfer;
}

static void engine_unindex(struct cf_engine *engine, struct cf_transfer *transfer)
{
    struct cf_transfer **at = engine_chain_of(engine, transfer->id);

    while (*at != transfer)
        at = &(*at)->chained;
    *at = transfer->chained;
    transfer->chained = NULL;
    engine->by_id_count--;
}

/* ---- the binding's calls ---- */

/* A transfer with room for it in every state that it will be in. NULL: out of memory or descriptors. */
static struct cf_transfer *engine_new_transfer(struct cf_engine *engine, struct cf_submission *submission)
{
    size_t count = cf_engine_in_flight(engine) + 1;
    struct cf_transfer *transfer;

    if (engine->closed || cf_global_problem() || !cf_multi_open_poller(engine) || !engine_reserve_index(engine) ||
        !cf_heap_reserve(&engine->instants, count) || !cf_heap_reserve(&engine->overdue, count))
        return NULL;
    transfer = engine->idle.last;
    if (transfer)
        cf_transfer_move(transfer, NULL);
    else
        transfer = cf_transfer_new(engine);
    if (!transfer)
        return NULL;
    transfer->budget = submission->budget ? submission->budget : &engine->own;
    if (!cf_transfer_fill(transfer, submission, engine->now) ||
        !(transfer->origin = cf_origin_of(&engine->origins, transfer)) ||
        !(transfer->queues = cf_budget_queues(transfer->budget, transfer->origin))) {
        cf_transfer_free(transfer);
        return NULL;
    }
    return transfer;
}

struct cf_budget *cf_engine_budget(struct cf_engine *engine, const char *key, const struct cf_rates *rates, bool counts)
{
    return cf_budget_find(&engine->own, key, rates, counts, cf_clock_now());
}

int64_t cf_engine_ordered(const struct cf_budget *budget, enum cf_bucket bucket, int64_t *all)
{
    return cf_pacer_ordered(&budget->pacer, bucket, cf_clock_now(), all);
}

const char *cf_engine_trust(struct cf_engine *engine, const char *ca_file)
{
    return cf_ca_read(&engine->cas, ca_file);
}

uint64_t cf_engine_submit(struct cf_engine *engine, struct cf_submission *submission, enum cf_failure *failure)
{
    struct cf_transfer *transfer;

    cf_multi_notice_fork(engine);
    engine->now = cf_clock_now();
    *failure = CF_FULL;
    if (cf_engine_in_flight(engine) + engine->done.count >= engine->max_queued)
        return 0;
    *failure = CF_EXHAUSTED;
    transfer = engine_new_transfer(engine, submission);
    if (!transfer)
        return 0;
    *failure = CF_OK;
    transfer->id = ++engine->last_id;
    engine_index(engine, transfer);
    engine->stats.started++;
    cf_events_warn(engine);
    cf_schedule_submit(transfer);
    /* The step begins it, and with it the time of its attempt: until then nobody would send or read for it. */
    engine->unfinished = true;
    engine_tell_poller(engine);
    return engine->last_id;
}

bool cf_engine_cancel(struct cf_engine *engine, uint64_t id, bool unsent)
{
    struct cf_transfer *transfer;
    struct cf_sigpipe guard;

    cf_multi_notice_fork(engine);
    transfer = engine_find(engine, id);
    if (!transfer || !transfer->origin || (unsent && transfer->lane))
        return false;
    engine->now = cf_clock_now();
    guard = cf_sigpipe_hold(cf_libcurl_may_raise_sigpipe());
    cf_schedule_end(engine, transfer, CF_CANCELLED, "cancelled");
    cf_sigpipe_release(guard);
    /* Another one may have its place. */
    engine->unfinished = true;
    engine_tell_poller(engine);
    return true;
}

struct cf_transfer *cf_engine_take(struct cf_engine *engine, uint64_t id)
{
    struct cf_transfer *transfer;

    /* Before a release in a child could silence the parent's descriptor. */
    cf_multi_notice_fork(engine);
    transfer = id == 0 ? engine->done.first : engine_find(engine, id);
    if (!transfer || transfer->list != &engine->done)
        return NULL;
    engine_unindex(engine, transfer);
    cf_transfer_move(transfer, &engine->taken);
    return transfer;
}

void cf_engine_put_back(struct cf_engine *engine, struct cf_transfer *transfer)
{
    engine_index(engine, transfer);
    cf_transfer_move(transfer, &engine->done);
    if (engine->closed)
        cf_secrets_redact(transfer);
    engine_tell_poller(engine);
}

void cf_engine_ending(const struct cf_transfer *transfer, struct cf_ending *ending)
{
    struct cf_outcome outcome;

    cf_attempt_outcome(transfer, transfer->started, &outcome);
    ending->id = transfer->id;
    ending->failure = transfer->failure;
    ending->error = transfer->error;
    ending->verdict = &transfer->verdict;
    ending->response = &transfer->response;
    ending->attempts = transfer->attempts;
    ending->elapsed = transfer->elapsed;
    ending->retry_after = transfer->retry_after;
    ending->retryable = cf_retry_may_help(&outcome);
    ending->body = transfer->body.data;
    ending->body_len = transfer->body.len;
    ending->path = transfer->path;
    ending->asked = transfer->asked;
    ending->secrets = transfer->secrets;
}

void cf_engine_release(struct cf_engine *engine, struct cf_transfer *transfer)
{
    cf_transfer_move(transfer, NULL);
    if (!engine->closed && engine->idle.count < POOLED) {
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

void cf_engine_wake(struct cf_engine *engine)
{
    cf_multi_notice_fork(engine);
    engine->unfinished = true;
    engine_tell_poller(engine);
}

void cf_engine_alarm(struct cf_engine *engine, int64_t wait)
{
    cf_multi_notice_fork(engine);
    engine->alarm = wait == CF_NEVER ? CF_NEVER : cf_clock_now() + wait;
    if (engine->closed || !cf_multi_open_poller(engine))
        return;
    engine_tell_poller(engine);
}

int64_t cf_engine_timeout(struct cf_engine *engine)
{
    int64_t deadline, now;

    cf_multi_notice_fork(engine);
    if (engine->done.first)
        return 0;
    deadline = cf_schedule_next(engine);
    if (deadline == CF_NEVER || (cf_engine_in_flight(engine) == 0 && engine->alarm == CF_NEVER))
        return CF_NEVER;
    now = cf_clock_now();
    return deadline > now ? deadline - now : 0;
}

void cf_engine_close(struct cf_engine *engine)
{
    static const char *const why = "the client was closed";
    struct cf_sigpipe guard = cf_sigpipe_hold(cf_libcurl_may_raise_sigpipe());
    struct cf_transfer *transfer;

    cf_multi_notice_fork(engine);
    engine->closed = true;
    engine->now = cf_clock_now();
    cf_schedule_end_all(engine, CF_CLOSED, why);
    while ((transfer = engine->idle.first)) {
        cf_transfer_move(transfer, NULL);
        cf_transfer_free(transfer);
    }
    cf_multi_close(engine);
    cf_origin_free_all(&engine->origins);
    for (transfer = engine->done.first; transfer; transfer = transfer->next)
        cf_secrets_redact(transfer);
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
    cf_budget_free_all(&engine->own);
    cf_heap_free(&engine->instants);
    cf_heap_free(&engine->overdue);
    cf_ca_free_all(&engine->cas);
    curl_slist_free_all(engine->addresses);
    cf_free(engine->by_id);
    cf_free(engine->events);
    cf_free(engine);
}
