/* The engine's order of things: which request goes out when, whether one that came back goes again, and how each one
 * ends. */
#include "engine/engine_private.h"

#include <string.h>

#include "engine/secrets.h"
#include "engine/tls.h"

/* libcurl is given this many requests before it is let work on them, so that no step goes on for long without a look
 * at the clock. */
#define PORTION 4

/* xorshift64*: spreading retries needs no better one, and rand() belongs to the host. */
static double schedule_chance(struct cf_engine *engine)
{
    engine->random ^= engine->random >> 12;
    engine->random ^= engine->random << 25;
    engine->random ^= engine->random >> 27;
    return (double)((engine->random * UINT64_C(2685821657736338717)) >> 11) / (double)(UINT64_C(1) << 53);
}

/* ---- states ---- */

/* Sets the instant at which something is to be done with it: in engine->overdue for one that runs, or else in
 * engine->instants. */
static void schedule_at(struct cf_transfer *transfer, bool is_timed, int64_t at)
{
    struct cf_engine *engine = transfer->engine;

    cf_heap_remove(transfer->is_timed ? &engine->overdue : &engine->instants, &transfer->instant);
    transfer->is_timed = is_timed && at != CF_NEVER;
    if (at != CF_NEVER)
        cf_heap_put(is_timed ? &engine->overdue : &engine->instants, &transfer->instant, at);
}

static struct cf_transfer *schedule_first(const struct cf_heap *heap)
{
    struct cf_heap_node *node = cf_heap_first(heap);
    return node ? (struct cf_transfer *)(void *)((char *)node - offsetof(struct cf_transfer, instant)) : NULL;
}

static struct cf_transfer_list *schedule_queue(const struct cf_transfer *transfer)
{
    return &transfer->queues->of[transfer->bucket][transfer->is_part ? CF_RANK_PART : CF_RANK_SINGLE];
}

static bool schedule_is_queued(const struct cf_transfer *transfer)
{
    return transfer->origin && transfer->list == schedule_queue(transfer);
}

/* A request that has been out before goes ahead of those behind it: it is the older one. */
static void schedule_enqueue(struct cf_transfer *transfer, bool is_new)
{
    (is_new ? cf_transfer_move : cf_transfer_move_first)(transfer, schedule_queue(transfer));
    transfer->engine->queued++;
    transfer->budget->queued++;
    schedule_at(transfer, false, transfer->deadline ? transfer->deadline : CF_NEVER);
}

static void schedule_dequeue(struct cf_transfer *transfer, struct cf_transfer_list *list)
{
    transfer->engine->queued--;
    transfer->budget->queued--;
    cf_transfer_move(transfer, list);
}

/* libcurl has it no more; its lane has forgotten it. */
static void schedule_leave_lane(struct cf_transfer *transfer)
{
    struct cf_lane *lane = transfer->lane;

    transfer->origin->unsent -= cf_engine_is_unsent(transfer);
    transfer->origin->running--;
    if (lane->running > 0)
        lane->running--;
    transfer->lane = NULL;
}

static void schedule_done(struct cf_transfer *transfer)
{
    struct cf_engine *engine = transfer->engine;

    engine->stats.finished++;
    engine->untold = true;
    transfer->elapsed = engine->now - transfer->started;
    cf_tally_add(&engine->stats.tally, cf_verdict_kind(transfer->failure, &transfer->verdict), transfer->asked,
                 (double)transfer->elapsed / 1e6);
    transfer->origin->transfers--;
    transfer->queues->transfers--;
    transfer->origin = NULL;
    transfer->queues = NULL;
    schedule_at(transfer, false, CF_NEVER);
    cf_events_add(engine, transfer, CF_EVENT_DONE, 0);
    cf_transfer_move(transfer, &engine->done);
}

void cf_schedule_submit(struct cf_transfer *transfer)
{
    transfer->origin->transfers++;
    transfer->queues->transfers++;
    schedule_enqueue(transfer, true);
}

void cf_schedule_end(struct cf_engine *engine, struct cf_transfer *transfer, enum cf_failure failure, const char *error)
{
    if (transfer->lane) {
        /* A forked child has abandoned the CURLM that its parent's requests were in. */
        if (transfer->lane->multi && transfer->easy)
            cf_multi_remove(transfer);
        schedule_leave_lane(transfer);
        engine->stats.attempts++;
        cf_pacer_answered(&transfer->budget->pacer, transfer->bucket, cf_transfer_cost(transfer), engine->now);
    } else if (schedule_is_queued(transfer)) {
        schedule_dequeue(transfer, NULL);
    }
    transfer->failure = failure;
    transfer->verdict = (struct cf_verdict){.about = failure == CF_HELD_BACK ? CF_ABOUT_RATE : CF_ABOUT_NOTHING};
    transfer->retry_after = -1;
    strncpy(transfer->error, error, sizeof transfer->error - 1);
    cf_secrets_mask(transfer);
    schedule_done(transfer);
}

static void schedule_end_list(struct cf_engine *engine, struct cf_transfer_list *list, enum cf_failure failure,
                              const char *error)
{
    while (list->first)
        cf_schedule_end(engine, list->first, failure, error);
}

void cf_schedule_end_all(struct cf_engine *engine, enum cf_failure failure, const char *error)
{
    struct cf_budget *budget;
    struct cf_queues *queues;
    int bucket, rank;

    schedule_end_list(engine, &engine->running, failure, error);
    schedule_end_list(engine, &engine->waiting, failure, error);
    for (budget = &engine->own; budget; budget = budget->next)
        for (queues = budget->queues; queues; queues = queues->next)
            for (bucket = 0; bucket < CF_BUCKETS; bucket++)
                for (rank = 0; rank < CF_RANKS; rank++)
                    schedule_end_list(engine, &queues->of[bucket][rank], failure, error);
}

/* ---- an attempt has ended ---- */

/* A refusal about the rate stops all that draw from the same bucket, not only the request that met it. */
static void schedule_heed(struct cf_engine *engine, const struct cf_transfer *transfer, int64_t wait)
{
    const struct cf_response *response = &transfer->response;

    if (!response->is_headed)
        return;
    if (response->ratelimit[0])
        cf_pacer_heard(&transfer->budget->pacer, transfer->bucket, response->ratelimit, engine->now);
    if (transfer->verdict.about == CF_ABOUT_RATE)
        cf_pacer_refused(&transfer->budget->pacer, transfer->bucket, transfer->verdict.is_overall, wait, engine->now);
}

/* While others of its bucket are accepted, a request that was told to slow down has only had bad luck. */
static void schedule_count_limits(struct cf_engine *engine, struct cf_transfer *transfer)
{
    int64_t *accepted = &transfer->budget->accepted[transfer->bucket];

    if (transfer->failure == CF_OK && !transfer->verdict.kind)
        *accepted = engine->now;
    if (transfer->verdict.about != CF_ABOUT_RATE)
        return;
    if (transfer->limited > 1 && *accepted > transfer->limited_at)
        transfer->limited = 1;
    transfer->limited_at = engine->now;
}

/* It was never sent: it goes back as if libcurl had never had it. */
static void schedule_put_back(struct cf_transfer *transfer)
{
    schedule_leave_lane(transfer);
    transfer->attempts--;
    transfer->tries--;
    transfer->is_set = transfer->is_set && transfer->refusal == CF_REFUSAL_NONE;
    cf_pacer_returned(&transfer->budget->pacer, transfer->bucket, cf_transfer_cost(transfer));
    schedule_enqueue(transfer, false);
    /* This step may have looked through its queues already. */
    transfer->engine->pace_due = transfer->engine->now;
}

void cf_schedule_put_back_unsent(struct cf_engine *engine, struct cf_origin *origin)
{
    struct cf_transfer *transfer, *previous;

    /* From the last one on: each goes to the head of its queue, and the first is the first again. */
    for (transfer = engine->running.last; transfer && origin->unsent > 0; transfer = previous) {
        previous = transfer->previous;
        if (transfer->origin == origin && cf_engine_is_unsent(transfer)) {
            cf_multi_remove(transfer);
            schedule_put_back(transfer);
        }
    }
}

void cf_schedule_attempt_ended(struct cf_engine *engine, struct cf_transfer *transfer, CURLcode code)
{
    struct cf_origin *origin = transfer->origin;
    struct cf_outcome outcome;
    int64_t wait = 0;
    bool again;

    if (transfer->refusal == CF_REFUSAL_SHARED || transfer->refusal == CF_REFUSAL_STALE) {
        schedule_put_back(transfer);
        return;
    }
    cf_attempt_finish(transfer, code);
    schedule_count_limits(engine, transfer);
    if (cf_engine_is_unsent(transfer))
        cf_origin_says_nothing(origin, engine->now);
    schedule_leave_lane(transfer);
    cf_pacer_answered(&transfer->budget->pacer, transfer->bucket, cf_transfer_cost(transfer), engine->now);
    engine->stats.attempts += !transfer->is_refused;
    engine->stats.rate_limited += transfer->verdict.about == CF_ABOUT_RATE;
    engine->stats.bytes_sent += transfer->body.len;
    engine->stats.bytes_received += transfer->response.body.len;
    if (transfer->response.status > 0)
        origin->answered = engine->now;
    origin->look_up_again = transfer->response.status == 0 && (origin->look_up_again || transfer->sendings == 0);
    cf_events_add(engine, transfer, CF_EVENT_RESPONSE, 0);
    cf_attempt_outcome(transfer, engine->now, &outcome);
    again = cf_retry_decide(&transfer->retry, &outcome, schedule_chance(engine), &wait);
    schedule_heed(engine, transfer, transfer->retry_after >= 0 ? transfer->retry_after : wait);
    if (again && (!transfer->deadline || engine->now + wait < transfer->deadline)) {
        engine->stats.retries++;
        cf_events_add(engine, transfer, CF_EVENT_RETRY, wait);
        cf_transfer_move(transfer, &engine->waiting);
        schedule_at(transfer, false, engine->now + wait);
    } else {
        schedule_done(transfer);
    }
}

/* Not left to libcurl: it would keep the connection, which the next attempt would meet again (HTTP/2), and where a
 * socket has news in the last millisecond of a transfer's time it (7.88 at least) drops the timer, and hangs. */
void cf_schedule_overdue(struct cf_engine *engine)
{
    struct cf_transfer *transfer;

    /* Nobody may have stepped since: the answers that have come meanwhile are read first. */
    while (!engine->unread && (transfer = schedule_first(&engine->overdue)) &&
           transfer->instant.at <= engine->poller.looked) {
        bool is_past = transfer->deadline && transfer->deadline <= engine->now;
        if (!is_past && cf_engine_is_unsent(transfer) && transfer->origin->answered > transfer->attempt_started) {
            /* It waits for a stream of a server that answers others: its time has not begun. */
            transfer->attempt_started = engine->now;
            cf_heap_put(&engine->overdue, &transfer->instant, cf_attempt_overdue_at(transfer));
            continue;
        }
        cf_attempt_overdue(transfer, engine->now);
        cf_multi_remove(transfer);
        cf_schedule_attempt_ended(engine, transfer, CURLE_OPERATION_TIMEDOUT);
        engine->suspect = true;
    }
}

/* ---- queues ---- */

/* May this head of a queue go, by the pacer? Where nobody would wait that long it is ended. */
static bool schedule_may_go(struct cf_engine *engine, struct cf_transfer *transfer)
{
    double cost = cf_transfer_cost(transfer);
    int64_t ordered, when = cf_pacer_when(&transfer->budget->pacer, transfer->bucket, cost, engine->now, &ordered);

    if (when <= engine->now)
        return true;
    if (ordered - engine->now > transfer->retry.max_wait) {
        cf_schedule_end(engine, transfer, CF_HELD_BACK, "the server ordered to wait longer than max_retry_wait");
        transfer->retry_after = ordered - engine->now;
    } else if (transfer->deadline && when > transfer->deadline) {
        cf_schedule_end(engine, transfer, CF_TIMEOUT, "the deadline would pass before it may be sent");
    } else if (when < engine->pace_due && !cf_pacer_awaits_answer(&transfer->budget->pacer, transfer->bucket, cost)) {
        engine->pace_due = when;
    }
    return false;
}

static void schedule_start(struct cf_engine *engine, struct cf_transfer *transfer)
{
    struct cf_origin *origin = transfer->origin;
    /* A request that is alone shares no connection: where it needs a new one, that tells whether the server has HTTP/2
     * by now. */
    bool is_alone = origin->is_tls && origin->running == 0 && cf_tls_may_stream();
    enum cf_lane_name name = origin->protocol == CF_PROTOCOL_HTTP1 && !is_alone ? CF_LANE_HTTP1 : CF_LANE_STREAMS;
    struct cf_lane *lane = &engine->lanes[name];
    bool is_open = cf_multi_open(engine, name), is_fresh;
    CURLcode code;

    cf_multi_be_patient(engine, transfer->connect_timeout);
    cf_pacer_take(&transfer->budget->pacer, transfer->bucket, cf_transfer_cost(transfer), engine->now);
    engine->suspect = engine->suspect && engine->running.first;
    /* Other connections that were kept may be as dead as the last one, or as silent. A fresh one for each stream would
     * be too many: see attempt_set_request. */
    is_fresh = (transfer->was_kept && name == CF_LANE_HTTP1) || (engine->suspect && transfer->failure == CF_TIMEOUT);
    is_fresh = is_fresh || origin->asks || transfer->refusal == CF_REFUSAL_STALE;
    origin->asks = false;
    schedule_dequeue(transfer, &engine->running);
    transfer->lane = lane;
    code = cf_attempt_prepare(transfer, lane, is_fresh, engine->now);
    schedule_at(transfer, true, cf_attempt_overdue_at(transfer));
    /* An older libcurl does not ask: it counts as sent from here on. */
    transfer->sendings = !cf_libcurl_asks_before_sending();
    origin->unsent += cf_engine_is_unsent(transfer);
    origin->running++;
    cf_events_add(engine, transfer, CF_EVENT_REQUEST, 0);
    if (code == CURLE_OK)
        code = is_open ? cf_multi_add(transfer) : CURLE_OUT_OF_MEMORY;
    lane->running++;
    if (code != CURLE_OK)
        cf_schedule_attempt_ended(engine, transfer, code);
}

/* The head that goes next of all that draw from this bucket: single requests first, then the oldest. */
static struct cf_transfer *schedule_head(const struct cf_engine *engine, const struct cf_budget *budget, int bucket)
{
    struct cf_transfer *best = NULL, *head;
    const struct cf_queues *queues;
    int rank;

    for (rank = 0; rank < CF_RANKS && !best; rank++)
        for (queues = budget->queues; queues; queues = queues->next)
            if ((head = queues->of[bucket][rank].first) && (!best || head->id < best->id) &&
                cf_origin_has_room(queues->origin, engine->max_connections))
                best = head;
    return best;
}

/* Starts the requests of one bucket that may go. False: the step has worked long enough. */
static bool schedule_start_some(struct cf_engine *engine, const struct cf_budget *budget, int bucket, int64_t until)
{
    struct cf_transfer *head;
    int started = 0;

    while ((head = schedule_head(engine, budget, bucket))) {
        if (schedule_may_go(engine, head))
            schedule_start(engine, head);
        else if (schedule_is_queued(head))
            return true;
        if (++started % PORTION == 0) {
            cf_multi_run_timers(engine);
            if (cf_engine_is_late(engine, until))
                return false;
        }
    }
    return true;
}

/* Retries that are due, and deadlines that have passed. False: the step has worked long enough. */
static bool schedule_due(struct cf_engine *engine, int64_t until)
{
    struct cf_transfer *transfer;
    int done = 0;

    while ((transfer = schedule_first(&engine->instants)) && transfer->instant.at <= engine->now) {
        if (transfer->list == &engine->waiting)
            schedule_enqueue(transfer, false);
        else
            cf_schedule_end(engine, transfer, CF_TIMEOUT, "the deadline passed before it could be sent");
        if (++done % PORTION == 0 && cf_engine_is_late(engine, until))
            return false;
    }
    return true;
}

/* One budget's requests must not take all connections for as long as it has some: another one begins in each step. */
static void schedule_start_all(struct cf_engine *engine, int64_t until)
{
    struct cf_budget *begun = engine->turn, *budget = begun;
    int bucket;

    do {
        engine->turn = budget->next ? budget->next : &engine->own;
        for (bucket = 0; bucket < CF_BUCKETS && budget->queued > 0; bucket++)
            if (!schedule_start_some(engine, budget, bucket, until))
                return;
        budget = engine->turn;
    } while (budget != begun);
    engine->turn = begun->next ? begun->next : &engine->own;
}

void cf_schedule_run(struct cf_engine *engine, int64_t until)
{
    struct cf_origin *origin;

    engine->pace_due = CF_NEVER;
    for (origin = engine->origins; origin; origin = origin->next)
        if (origin->protocol == CF_PROTOCOL_HTTP1 && origin->ask_again <= engine->now) {
            origin->protocol = CF_PROTOCOL_UNKNOWN;
            origin->asks = true;
        }
    if (schedule_due(engine, until))
        schedule_start_all(engine, until);
}

int64_t cf_schedule_next(const struct cf_engine *engine)
{
    int64_t next = engine->pace_due < engine->alarm ? engine->pace_due : engine->alarm;
    const struct cf_transfer *transfer;
    int i;

    if (engine->unfinished)
        return 0;
    for (i = 0; i < CF_LANES; i++)
        if (engine->lanes[i].due < next)
            next = engine->lanes[i].due;
    if ((transfer = schedule_first(&engine->overdue)) && transfer->instant.at < next)
        next = transfer->instant.at;
    if ((transfer = schedule_first(&engine->instants)) && transfer->instant.at < next)
        next = transfer->instant.at;
    return next;
}
