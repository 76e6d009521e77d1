/* A client's requests on one CURLM: submit, step, take, cancel. */
#define _GNU_SOURCE
#include "engine.h"

#include <stdatomic.h>
#include <string.h>

#include "libcurl.h"
#include "memory.h"
#include "poller.h"
#include "process.h"
#include "sigpipe.h"
#include "transfer.h"

/* While it is not known whether the server speaks HTTP/2, no more than this go out at once over TLS: libcurl would open a
 * connection for each of them that finds no free stream (libcurl-facts: 201 connections for 300 purges). */
#define UNKNOWN_IN_FLIGHT 64
/* Once it does, this many connections carry all streams; over HTTP/1.1 each request needs its own. */
#define HTTP2_CONNECTIONS 4L
#define HTTP2_STREAMS 256L
#define POOLED 64

enum protocol { UNKNOWN, HTTP1, HTTP2 };

struct cf_engine {
    uint64_t generation;                /* of the process that owns multi and poller */
    CURLM *multi;                       /* NULL until used, and after a fatal error */
    CURLSH *share;
    struct cf_poller poller;
    bool poller_open, closed, want_events, broken, warned;
    enum protocol protocol;
    long max_connections;
    int64_t curl_due;                   /* libcurl's own next timer */
    int64_t pace_due;                   /* when the pacer lets the next queued request go */
    struct cf_pacer pacer;
    uint64_t last_id, random;
    struct cf_transfer_list queued, running, waiting, done, taken, idle;
    struct cf_event *events;
    size_t event_first, event_count, event_cap;
    struct cf_engine_stats stats;
};

struct cf_engine *cf_engine_new(void)
{
    struct cf_engine *engine = cf_zalloc(sizeof *engine);
    if (engine) {
        engine->curl_due = engine->pace_due = CF_ENGINE_NEVER;
        engine->random = (uint64_t)cf_process_now() ^ (uint64_t)(uintptr_t)engine;
        engine->generation = cf_process_generation();
    }
    return engine;
}

bool cf_engine_pace(struct cf_engine *engine, const struct cf_rates *rates)
{
    return cf_pacer_set(&engine->pacer, rates, cf_process_now());
}

/* xorshift64*: spreading retries needs no better one, and rand() belongs to the host. */
static double chance(struct cf_engine *engine)
{
    engine->random ^= engine->random >> 12;
    engine->random ^= engine->random << 25;
    engine->random ^= engine->random >> 27;
    return (double)((engine->random * UINT64_C(2685821657736338717)) >> 11) / (double)(UINT64_C(1) << 53);
}

/* ---- events ---- */

void cf_engine_want_events(struct cf_engine *engine)
{
    engine->want_events = true;
}

bool cf_engine_next_event(struct cf_engine *engine, struct cf_event *event)
{
    if (engine->event_count == 0)
        return false;
    *event = engine->events[engine->event_first++];
    if (--engine->event_count == 0)
        engine->event_first = 0;
    return true;
}

/* Out of memory, a log line is lost, never a purge. */
static struct cf_event *new_event(struct cf_engine *engine, enum cf_event_name name)
{
    struct cf_event *event;
    size_t end = engine->event_first + engine->event_count;

    if (!engine->want_events)
        return NULL;
    if (end == engine->event_cap) {
        size_t cap = end ? end * 2 : 8;
        struct cf_event *events = cf_realloc(engine->events, cap * sizeof *events);
        if (!events)
            return NULL;
        engine->events = events;
        engine->event_cap = cap;
    }
    event = &engine->events[end];
    memset(event, 0, sizeof *event);
    event->name = name;
    engine->event_count++;
    return event;
}

static void add_event(struct cf_engine *engine, const struct cf_transfer *transfer, enum cf_event_name name, int64_t wait)
{
    struct cf_event *event = new_event(engine, name);
    size_t path_len;

    if (!event)
        return;
    event->id = transfer->id;
    event->method = transfer->is_get ? "GET" : "POST";
    path_len = strcspn(transfer->path, "?");
    if (path_len >= sizeof event->path)
        path_len = sizeof event->path - 1;
    memcpy(event->path, transfer->path, path_len);
    event->attempt = transfer->attempts;
    event->wait = wait;
    if (name == CF_EVENT_REQUEST) {
        event->bytes = transfer->body.len;
    } else {
        event->status = transfer->response.status;
        memcpy(event->ray_id, transfer->response.ray_id, sizeof event->ray_id);
        event->failure = transfer->failure;
        event->elapsed = name == CF_EVENT_DONE ? transfer->elapsed : cf_process_now() - transfer->attempt_started;
        event->bytes = transfer->response.body.len;
    }
}

/* Once a client, before its first request: what it promises depends on the libcurl that runs. */
static void warn_of_resolver(struct cf_engine *engine)
{
    const char *problem = engine->warned ? NULL : cf_libcurl_resolver_problem();
    struct cf_event *event = problem ? new_event(engine, CF_EVENT_WARNING) : NULL;

    if (event)
        event->message = problem;
    engine->warned = true;
}

/* ---- opening, and starting anew ---- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *engine, void *unused)
{
    struct cf_engine *self = engine;
    (void)easy, (void)unused;
    if (!cf_poller_watch(&self->poller, fd,
                         (what & CURL_POLL_IN && what != CURL_POLL_REMOVE ? CF_POLLER_READ : 0) |
                             (what & CURL_POLL_OUT && what != CURL_POLL_REMOVE ? CF_POLLER_WRITE : 0)))
        self->broken = true;
    return 0;
}

static int on_timer(CURLM *multi, long milliseconds, void *engine)
{
    (void)multi;
    /* libcurl rounds down, and a call that comes too early does nothing: a millisecond more is sure to be late enough. */
    ((struct cf_engine *)engine)->curl_due =
        milliseconds < 0 ? CF_ENGINE_NEVER
                         : cf_process_now() + (milliseconds > 0 ? (int64_t)milliseconds * 1000 + 1000 : 0);
    return 0;
}

static bool open_multi(struct cf_engine *engine)
{
    CURLM *multi = engine->multi = curl_multi_init();

    if (!engine->share) {
        engine->share = curl_share_init();
        if (engine->share &&
            curl_share_setopt(engine->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) != CURLSHE_OK)
            return false;
    }
    engine->max_connections = 16;
    engine->broken = false;
    if (!multi || !engine->share || curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket) != CURLM_OK ||
        curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, engine) != CURLM_OK ||
        curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer) != CURLM_OK ||
        curl_multi_setopt(multi, CURLMOPT_TIMERDATA, engine) != CURLM_OK ||
        curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, engine->max_connections) != CURLM_OK)
        return false;
#ifdef CF_HAVE_MAX_CONCURRENT_STREAMS
    curl_multi_setopt(multi, CURLMOPT_MAX_CONCURRENT_STREAMS, HTTP2_STREAMS);
#endif
    if (engine->protocol == HTTP2)
        curl_multi_setopt(multi, CURLMOPT_MAX_HOST_CONNECTIONS, HTTP2_CONNECTIONS);
    return true;
}

/* notice_fork has seen to it that they are our own. */
static void drop_easy(struct cf_transfer_list *list)
{
    struct cf_transfer *transfer;
    for (transfer = list->first; transfer; transfer = transfer->next) {
        if (transfer->easy)
            curl_easy_cleanup(transfer->easy);
        transfer->easy = NULL;
    }
}

static void close_multi(struct cf_engine *engine)
{
    struct cf_transfer *transfer;

    /* An easy handle holds on to the share. */
    while ((transfer = engine->idle.first)) {
        cf_transfer_move(transfer, NULL);
        cf_transfer_free(transfer);
    }
    drop_easy(&engine->done);
    drop_easy(&engine->taken);
    drop_easy(&engine->waiting);
    drop_easy(&engine->queued);
    if (engine->multi)
        curl_multi_cleanup(engine->multi);
    if (engine->share)
        curl_share_cleanup(engine->share);
    engine->multi = NULL;
    engine->share = NULL;
    engine->curl_due = CF_ENGINE_NEVER;
}

static void end(struct cf_engine *engine, struct cf_transfer *transfer)
{
    engine->stats.finished++;
    transfer->elapsed = cf_process_now() - transfer->started;
    add_event(engine, transfer, CF_EVENT_DONE, 0);
    cf_transfer_move(transfer, &engine->done);
}

static void end_because(struct cf_engine *engine, struct cf_transfer *transfer, enum cf_failure failure, const char *error)
{
    if (transfer->list == &engine->running && transfer->easy)
        curl_multi_remove_handle(engine->multi, transfer->easy);
    transfer->failure = failure;
    transfer->retry_after = -1;
    strncpy(transfer->error, error, sizeof transfer->error - 1);
    end(engine, transfer);
}

static void end_all(struct cf_engine *engine, struct cf_transfer_list *list, enum cf_failure failure, const char *error)
{
    while (list->first)
        end_because(engine, list->first, failure, error);
}

/* Handles inherited over a fork are the parent's: a call of libcurl on them would take the parent's answers or end its TLS
 * sessions, and cleaning them up stalls it (libcurl-facts). They are left behind, reachable for the sake of leak checkers. */
struct abandoned {
    struct abandoned *next;
    CURLM *multi;
    CURLSH *share;
    CURL *easy;
};
static _Atomic(struct abandoned *) abandoned_handles;

static void abandon(CURLM *multi, CURLSH *share, CURL *easy)
{
    struct abandoned *entry = cf_zalloc(sizeof *entry);
    if (entry) {
        entry->multi = multi;
        entry->share = share;
        entry->easy = easy;
        entry->next = abandoned_handles;
        while (!atomic_compare_exchange_weak(&abandoned_handles, &entry->next, entry))
            continue;
    }
}

static void leave_easy(struct cf_transfer_list *list)
{
    struct cf_transfer *transfer;
    for (transfer = list->first; transfer; transfer = transfer->next) {
        if (transfer->easy)
            abandon(NULL, NULL, transfer->easy);
        transfer->easy = NULL;
    }
}

static void notice_fork(struct cf_engine *engine)
{
    static const char *const why = "the process that started it goes on with it";
    uint64_t generation = cf_process_generation();

    if (engine->generation == generation)
        return;
    engine->generation = generation;
    leave_easy(&engine->idle);
    leave_easy(&engine->done);
    leave_easy(&engine->taken);
    leave_easy(&engine->running);
    leave_easy(&engine->waiting);
    leave_easy(&engine->queued);
    if (engine->multi)
        abandon(engine->multi, engine->share, NULL);
    engine->multi = NULL;
    engine->share = NULL;
    engine->curl_due = CF_ENGINE_NEVER;
    if (engine->poller_open)
        cf_poller_close(&engine->poller, true);
    engine->poller_open = false;
    end_all(engine, &engine->running, CF_CLOSED, why);
    end_all(engine, &engine->waiting, CF_CLOSED, why);
    end_all(engine, &engine->queued, CF_CLOSED, why);
}

static bool open_poller(struct cf_engine *engine)
{
    if (!engine->poller_open) {
        engine->poller_open = cf_poller_open(&engine->poller);
        if (!engine->poller_open)
            cf_poller_close(&engine->poller, false);
    }
    return engine->poller_open;
}

static bool ensure_open(struct cf_engine *engine)
{
    if (engine->closed || !cf_process_init() || !open_poller(engine))
        return false;
    if (!engine->multi && !open_multi(engine)) {
        close_multi(engine);
        return false;
    }
    return true;
}

/* After an error libcurl's transfers would never end by themselves (libcurl-facts). */
static void give_up(struct cf_engine *engine, CURLMcode code)
{
    end_all(engine, &engine->running, CF_NO_MEMORY, curl_multi_strerror(code));
    close_multi(engine);
    engine->broken = false;
}

/* ---- moving forward ---- */

/* A 429 stops all that draw from the same bucket, not only the request that met it. */
static void heed(struct cf_engine *engine, const struct cf_transfer *transfer, int64_t wait, int64_t now)
{
    const struct cf_response *response = &transfer->response;

    if (transfer->failure != CF_OK)
        return;
    if (response->ratelimit[0])
        cf_pacer_heard(&engine->pacer, transfer->bucket, response->ratelimit, now);
    if (response->status == 429)
        /* 10100 is the account's limit over all calls. */
        cf_pacer_refused(&engine->pacer, transfer->bucket,
                         response->body.len > 0 && memmem(response->body.data, response->body.len, "10100", 5), wait, now);
}

static void attempt_ended(struct cf_engine *engine, struct cf_transfer *transfer, CURLcode code)
{
    struct cf_outcome outcome;
    int64_t wait = 0, now = cf_process_now();
    bool again;

    cf_transfer_finish(transfer, code);
    engine->stats.bytes_sent += transfer->body.len;
    engine->stats.bytes_received += transfer->response.body.len;
    add_event(engine, transfer, CF_EVENT_RESPONSE, 0);
    outcome.failure = transfer->failure;
    outcome.status = transfer->response.status;
    outcome.should_retry = transfer->response.should_retry;
    outcome.retry_after = transfer->retry_after;
    again = cf_retry_decide(&transfer->retry, transfer->attempts, &outcome, chance(engine), &wait);
    heed(engine, transfer, transfer->retry_after >= 0 ? transfer->retry_after : wait, now);
    if (again && (!transfer->deadline || now + wait < transfer->deadline)) {
        transfer->due = now + wait;
        engine->stats.retries++;
        add_event(engine, transfer, CF_EVENT_RETRY, wait);
        cf_transfer_move(transfer, &engine->waiting);
    } else {
        end(engine, transfer);
    }
}

static void learn_protocol(struct cf_engine *engine, const struct cf_transfer *transfer)
{
    long version = 0;
    enum protocol protocol;

    if (transfer->response.status == 0 || engine->protocol == HTTP1 ||
        curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_VERSION, &version) != CURLE_OK)
        return;
    protocol = version >= CURL_HTTP_VERSION_2_0 ? HTTP2 : HTTP1;
    if (protocol != engine->protocol) {
        engine->protocol = protocol;
        curl_multi_setopt(engine->multi, CURLMOPT_MAX_HOST_CONNECTIONS, protocol == HTTP2 ? HTTP2_CONNECTIONS : 0L);
    }
}

static void drain(struct cf_engine *engine)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(engine->multi, &left))) {
        struct cf_transfer *transfer = NULL;
        long connects = 0;
        CURLcode code = message->data.result;
        CURL *easy = message->easy_handle;

        curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
        learn_protocol(engine, transfer);
        curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &connects);
        engine->stats.connections += (uint64_t)connects;
        curl_multi_remove_handle(engine->multi, easy);
        attempt_ended(engine, transfer, code);
    }
}

/* False: the multi is gone. */
static bool act(struct cf_engine *engine, curl_socket_t fd, int what)
{
    int running;
    CURLMcode code = curl_multi_socket_action(engine->multi, fd, what, &running);

    drain(engine);
    if (code == CURLM_OK && !engine->broken)
        return true;
    give_up(engine, code == CURLM_OK ? CURLM_OUT_OF_MEMORY : code);
    return false;
}

static bool may_start(const struct cf_engine *engine, const struct cf_transfer *transfer)
{
    return engine->protocol != UNKNOWN || engine->running.count < UNKNOWN_IN_FLIGHT ||
           strncmp(transfer->url, "https:", 6) != 0;
}

/* Its tokens: its URLs, or one for a purge by anything else, however many items it has. */
static double cost_of(const struct cf_transfer *transfer)
{
    return transfer->bucket == CF_BUCKET_URLS ? (double)transfer->items : transfer->items > 0;
}

/* What the pacer says of a queued request: it may go, it waits, or it was ended, for nobody would wait that long. */
static bool may_go(struct cf_engine *engine, struct cf_transfer *transfer, int64_t now)
{
    int64_t ordered, when = cf_pacer_when(&engine->pacer, transfer->bucket, cost_of(transfer), now, &ordered);

    if (when <= now)
        return true;
    if (ordered - now > transfer->retry.max_wait) {
        end_because(engine, transfer, CF_HELD_BACK, "the server ordered to wait longer than max_retry_wait");
        transfer->retry_after = ordered - now;
    } else if (transfer->deadline && when > transfer->deadline) {
        end_because(engine, transfer, CF_TIMEOUT, "the deadline would pass before it may be sent");
    } else if (when < engine->pace_due) {
        engine->pace_due = when;
    }
    return false;
}

static void start_one(struct cf_engine *engine, struct cf_transfer *transfer, int64_t now)
{
    CURLcode code;

    if (!ensure_open(engine)) {
        end_because(engine, transfer, CF_NO_MEMORY, "out of memory or descriptors");
        return;
    }
    cf_pacer_take(&engine->pacer, transfer->bucket, cost_of(transfer), now);
    cf_transfer_move(transfer, &engine->running);
    /* The cap counts busy connections too: below their number every purge would reconnect. */
    if ((long)engine->running.count > engine->max_connections) {
        engine->max_connections *= 2;
        curl_multi_setopt(engine->multi, CURLMOPT_MAXCONNECTS, engine->max_connections);
    }
    code = cf_transfer_prepare(transfer, engine->share, &engine->poller, now);
    engine->stats.attempts++;
    add_event(engine, transfer, CF_EVENT_REQUEST, 0);
    if (code == CURLE_OK && curl_multi_add_handle(engine->multi, transfer->easy) != CURLM_OK)
        code = CURLE_OUT_OF_MEMORY;
    if (code != CURLE_OK)
        attempt_ended(engine, transfer, code);
}

/* A request that has to wait for its bucket holds up those behind it that draw from the same one, and no others. */
static void start_queued(struct cf_engine *engine)
{
    struct cf_transfer *transfer, *next;
    bool held[CF_BUCKETS] = {false};

    engine->pace_due = CF_ENGINE_NEVER;
    for (transfer = engine->queued.first; transfer && may_start(engine, transfer); transfer = next) {
        int64_t now = cf_process_now();
        next = transfer->next;
        if (held[transfer->bucket])
            continue;
        if (may_go(engine, transfer, now))
            start_one(engine, transfer, now);
        else
            held[transfer->bucket] = transfer->list == &engine->queued;
    }
}

static void start_due(struct cf_engine *engine)
{
    struct cf_transfer *transfer, *next;
    int64_t now = engine->waiting.first || engine->queued.first ? cf_process_now() : 0;

    for (transfer = engine->waiting.first; transfer; transfer = next) {
        next = transfer->next;
        if (transfer->due <= now)
            cf_transfer_move(transfer, &engine->queued);
    }
    /* Those behind one that may not start yet as well: next_deadline counts them all. */
    for (transfer = engine->queued.first; transfer; transfer = next) {
        next = transfer->next;
        if (transfer->deadline && transfer->deadline <= now)
            end_because(engine, transfer, CF_TIMEOUT, "the deadline passed before it could be sent");
    }
    start_queued(engine);
}

static void run_timers(struct cf_engine *engine)
{
    start_due(engine);
    if (engine->multi && engine->curl_due <= cf_process_now()) {
        engine->curl_due = CF_ENGINE_NEVER;
        if (act(engine, CURL_SOCKET_TIMEOUT, 0) && engine->curl_due == CF_ENGINE_NEVER && engine->running.count > 0) {
            /* libcurl is silent where its timer did not change, though it may not have been due. */
            long left = -1;
            if (curl_multi_timeout(engine->multi, &left) == CURLM_OK)
                on_timer(engine->multi, left, engine);
        }
        start_queued(engine);
    }
}

static int64_t next_deadline(const struct cf_engine *engine)
{
    int64_t deadline = engine->curl_due < engine->pace_due ? engine->curl_due : engine->pace_due;
    const struct cf_transfer *transfer;

    for (transfer = engine->waiting.first; transfer; transfer = transfer->next)
        if (transfer->due < deadline)
            deadline = transfer->due;
    for (transfer = engine->queued.first; transfer; transfer = transfer->next)
        if (transfer->deadline && transfer->deadline < deadline)
            deadline = transfer->deadline;
    return deadline;
}

static void tell_poller(struct cf_engine *engine)
{
    if (engine->poller_open) {
        cf_poller_deadline(&engine->poller, next_deadline(engine));
        cf_poller_ring(&engine->poller, engine->done.first != NULL);
    }
}

static void wait_for_events(struct cf_engine *engine, int64_t timeout)
{
    struct cf_poller_event events[CF_POLLER_BATCH];
    int count = cf_poller_wait(&engine->poller, events, timeout), i;

    for (i = 0; i < count && engine->multi; i++)
        if (!act(engine, events[i].fd,
                 (events[i].what & CF_POLLER_READ ? CURL_CSELECT_IN : 0) |
                     (events[i].what & CF_POLLER_WRITE ? CURL_CSELECT_OUT : 0) |
                     (events[i].what & CF_POLLER_ERROR ? CURL_CSELECT_ERR : 0)))
            return;
}

size_t cf_engine_in_flight(struct cf_engine *engine)
{
    return engine->queued.count + engine->running.count + engine->waiting.count;
}

size_t cf_engine_step(struct cf_engine *engine, int64_t timeout)
{
    uint64_t finished = engine->stats.finished;

    notice_fork(engine);
    if (engine->poller_open) {
        struct cf_sigpipe guard = cf_sigpipe_hold();
        run_timers(engine);
        if (engine->stats.finished != finished || cf_engine_in_flight(engine) == 0)
            timeout = 0;
        cf_poller_deadline(&engine->poller, next_deadline(engine));
        /* What was left untaken must not keep this wait from waiting. */
        cf_poller_ring(&engine->poller, false);
        wait_for_events(engine, timeout);
        run_timers(engine);
        tell_poller(engine);
        cf_sigpipe_release(guard);
    }
    return cf_engine_in_flight(engine);
}

/* ---- what the binding calls ---- */

uint64_t cf_engine_submit(struct cf_engine *engine, struct cf_submission *submission)
{
    struct cf_transfer *transfer;

    notice_fork(engine);
    if (!ensure_open(engine))
        return 0;
    transfer = engine->idle.last;
    if (transfer)
        cf_transfer_move(transfer, NULL);
    else
        transfer = cf_transfer_new();
    if (!transfer)
        return 0;
    if (!cf_transfer_fill(transfer, submission, cf_process_now())) {
        cf_transfer_free(transfer);
        return 0;
    }
    transfer->id = ++engine->last_id;
    engine->stats.started++;
    warn_of_resolver(engine);
    cf_transfer_move(transfer, &engine->queued);
    start_queued(engine);
    tell_poller(engine);
    return engine->last_id;
}

bool cf_engine_cancel(struct cf_engine *engine, uint64_t id)
{
    struct cf_transfer_list *lists[3];
    struct cf_transfer *transfer;
    int i;

    struct cf_sigpipe guard;

    notice_fork(engine);
    lists[0] = &engine->running, lists[1] = &engine->waiting, lists[2] = &engine->queued;
    for (i = 0; i < 3; i++)
        for (transfer = lists[i]->first; transfer; transfer = transfer->next)
            if (transfer->id == id) {
                guard = cf_sigpipe_hold();
                end_because(engine, transfer, CF_CANCELLED, "cancelled");
                cf_sigpipe_release(guard);
                start_queued(engine);
                tell_poller(engine);
                return true;
            }
    return false;
}

struct cf_transfer *cf_engine_take(struct cf_engine *engine, uint64_t id)
{
    struct cf_transfer *transfer;

    /* Before a release in a child could silence the parent's descriptor. */
    notice_fork(engine);
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
    tell_poller(engine);
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
        tell_poller(engine);
}

int cf_engine_fd(struct cf_engine *engine)
{
    notice_fork(engine);
    if (engine->closed || !open_poller(engine))
        return -1;
    tell_poller(engine);
    return cf_poller_show(&engine->poller);
}

int64_t cf_engine_timeout(struct cf_engine *engine)
{
    int64_t deadline, now;

    notice_fork(engine);
    if (engine->done.first)
        return 0;
    deadline = next_deadline(engine);
    if (deadline == CF_ENGINE_NEVER || cf_engine_in_flight(engine) == 0)
        return CF_ENGINE_NEVER;
    now = cf_process_now();
    return deadline > now ? deadline - now : 0;
}

void cf_engine_stats(struct cf_engine *engine, struct cf_engine_stats *stats)
{
    int64_t now = cf_process_now(), ordered;
    int i;

    notice_fork(engine);
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

    notice_fork(engine);
    engine->closed = true;
    end_all(engine, &engine->running, CF_CLOSED, why);
    end_all(engine, &engine->waiting, CF_CLOSED, why);
    end_all(engine, &engine->queued, CF_CLOSED, why);
    close_multi(engine);
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
