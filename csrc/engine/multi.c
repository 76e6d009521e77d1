/* The engine's CURLM: opening it, ending what is on it, and starting anew after a fork or an error. */
#define _GNU_SOURCE
#include "engine/engine_private.h"

#include <string.h>

#include <stdatomic.h>

#include "base/memory.h"
#include "base/clock.h"
#include "engine/global.h"

#define HTTP2_STREAMS 256L

static int multi_on_socket(CURL *easy, curl_socket_t fd, int what, void *engine, void *unused)
{
    struct cf_engine *self = engine;
    (void)easy, (void)unused;
    if (!cf_poller_watch(&self->poller, fd,
                         (what & CURL_POLL_IN && what != CURL_POLL_REMOVE ? CF_POLLER_READ : 0) |
                             (what & CURL_POLL_OUT && what != CURL_POLL_REMOVE ? CF_POLLER_WRITE : 0)))
        self->broken = true;
    return 0;
}

int cf_multi_timer(CURLM *multi, long milliseconds, void *engine)
{
    (void)multi;
    /* libcurl rounds down, and a call that comes too early does nothing: a millisecond more is sure to be late enough.
     */
    ((struct cf_engine *)engine)->curl_due =
        milliseconds < 0 ? CF_NEVER : cf_clock_now() + (milliseconds > 0 ? (int64_t)milliseconds * 1000 + 1000 : 0);
    return 0;
}

static bool multi_open_multi(struct cf_engine *engine)
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
    if (!multi || !engine->share || curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, multi_on_socket) != CURLM_OK ||
        curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, engine) != CURLM_OK ||
        curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, cf_multi_timer) != CURLM_OK ||
        curl_multi_setopt(multi, CURLMOPT_TIMERDATA, engine) != CURLM_OK ||
        curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, engine->max_connections) != CURLM_OK)
        return false;
#ifdef CF_HAVE_MAX_CONCURRENT_STREAMS
    curl_multi_setopt(multi, CURLMOPT_MAX_CONCURRENT_STREAMS, HTTP2_STREAMS);
#endif
    if (engine->protocol == HTTP2)
        curl_multi_setopt(multi, CURLMOPT_MAX_HOST_CONNECTIONS, CF_HTTP2_CONNECTIONS);
    return true;
}

/* notice_fork has seen to it that they are our own. */
static void multi_drop_easy(struct cf_transfer_list *list)
{
    struct cf_transfer *transfer;
    for (transfer = list->first; transfer; transfer = transfer->next) {
        if (transfer->easy)
            curl_easy_cleanup(transfer->easy);
        transfer->easy = NULL;
    }
}

void cf_multi_close(struct cf_engine *engine)
{
    struct cf_transfer *transfer;

    /* An easy handle holds on to the share. */
    while ((transfer = engine->idle.first)) {
        cf_transfer_move(transfer, NULL);
        cf_transfer_free(transfer);
    }
    multi_drop_easy(&engine->done);
    multi_drop_easy(&engine->taken);
    multi_drop_easy(&engine->waiting);
    multi_drop_easy(&engine->queued);
    if (engine->multi)
        curl_multi_cleanup(engine->multi);
    if (engine->share)
        curl_share_cleanup(engine->share);
    engine->multi = NULL;
    engine->share = NULL;
    engine->curl_due = CF_NEVER;
}

void cf_multi_protocol(struct cf_engine *engine, enum protocol protocol)
{
    if (protocol != engine->protocol)
        curl_multi_setopt(engine->multi, CURLMOPT_MAX_HOST_CONNECTIONS, protocol == HTTP2 ? CF_HTTP2_CONNECTIONS : 0L);
    engine->protocol = protocol;
}

void cf_multi_count(struct cf_engine *engine, const struct cf_transfer *transfer)
{
    long connects = 0;
    curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &connects);
    engine->stats.connections += (uint64_t)connects;
}

void cf_multi_ended(struct cf_engine *engine, struct cf_transfer *transfer)
{
    engine->stats.finished++;
    engine->untold = true;
    transfer->elapsed = cf_clock_now() - transfer->started;
    cf_events_add(engine, transfer, CF_EVENT_DONE, 0);
    cf_transfer_move(transfer, &engine->done);
}

void cf_multi_end(struct cf_engine *engine, struct cf_transfer *transfer, enum cf_failure failure, const char *error)
{
    if (transfer->list == &engine->running) {
        if (transfer->easy)
            curl_multi_remove_handle(engine->multi, transfer->easy);
        cf_pacer_answered(&engine->pacer, transfer->bucket, cf_transfer_cost(transfer), cf_clock_now());
    }
    transfer->failure = failure;
    transfer->retry_after = -1;
    strncpy(transfer->error, error, sizeof transfer->error - 1);
    cf_transfer_mask(transfer);
    cf_multi_ended(engine, transfer);
}

void cf_multi_end_all(struct cf_engine *engine, struct cf_transfer_list *list, enum cf_failure failure,
                      const char *error)
{
    while (list->first)
        cf_multi_end(engine, list->first, failure, error);
}

/* Handles inherited over a fork are the parent's: a call of libcurl on them would take the parent's answers or end its
 * TLS sessions, and cleaning them up stalls it (libcurl-facts). They are left behind, reachable for the sake of leak
 * checkers. */
struct abandoned {
    struct abandoned *next;
    CURLM *multi;
    CURLSH *share;
    CURL *easy;
};
static _Atomic(struct abandoned *) abandoned_handles;

static void multi_abandon(CURLM *multi, CURLSH *share, CURL *easy)
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

static void multi_leave_easy(struct cf_transfer_list *list)
{
    struct cf_transfer *transfer;
    for (transfer = list->first; transfer; transfer = transfer->next) {
        if (transfer->easy)
            multi_abandon(NULL, NULL, transfer->easy);
        transfer->easy = NULL;
    }
}

void cf_multi_notice_fork(struct cf_engine *engine)
{
    static const char *const why = "the process that started it goes on with it";
    uint64_t generation = cf_global_generation();

    if (engine->generation == generation)
        return;
    engine->generation = generation;
    multi_leave_easy(&engine->idle);
    multi_leave_easy(&engine->done);
    multi_leave_easy(&engine->taken);
    multi_leave_easy(&engine->running);
    multi_leave_easy(&engine->waiting);
    multi_leave_easy(&engine->queued);
    if (engine->multi)
        multi_abandon(engine->multi, engine->share, NULL);
    engine->multi = NULL;
    engine->share = NULL;
    engine->curl_due = CF_NEVER;
    if (engine->poller_open)
        cf_poller_close(&engine->poller, true);
    engine->poller_open = false;
    cf_multi_end_all(engine, &engine->running, CF_CLOSED, why);
    cf_multi_end_all(engine, &engine->waiting, CF_CLOSED, why);
    cf_multi_end_all(engine, &engine->queued, CF_CLOSED, why);
}

bool cf_multi_open_poller(struct cf_engine *engine)
{
    if (!engine->poller_open) {
        engine->poller_open = cf_poller_open(&engine->poller);
        if (!engine->poller_open)
            cf_poller_close(&engine->poller, false);
    }
    return engine->poller_open;
}

bool cf_multi_open(struct cf_engine *engine)
{
    if (engine->closed || !cf_global_init() || !cf_multi_open_poller(engine))
        return false;
    if (!engine->multi && !multi_open_multi(engine)) {
        cf_multi_close(engine);
        return false;
    }
    return true;
}

/* After an error libcurl's transfers would never end by themselves (libcurl-facts). */
void cf_multi_give_up(struct cf_engine *engine, CURLMcode code)
{
    cf_multi_end_all(engine, &engine->running, CF_REFUSED, curl_multi_strerror(code));
    cf_multi_close(engine);
    engine->broken = false;
}
