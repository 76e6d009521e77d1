/* The engine's CURLMs, one for each lane: opening them, their callbacks, and starting anew after a fork or an error. */
#define _GNU_SOURCE 1
#include "engine/engine_private.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/generation.h"
#include "base/memory.h"
#include "engine/global.h"

#ifndef SOCK_CLOEXEC
#define SOCK_CLOEXEC 0
#endif

/* Of a server that speaks HTTP/2, this many connections carry all streams. */
#define STREAM_CONNECTIONS 4L
/* We allow ourselves this many on each; most servers allow 100 or 128. */
#define STREAMS 256L
/* As many as nghttp2 opens before the server has said how many it allows. The others that 8.23 puts on a new connection
 * until then wait in nghttp2 for an answer, while their time-out runs. */
#define STREAMS_AT_FIRST 100L
/* The idle connections that a lane keeps at least. */
#define KEPT_CONNECTIONS 16L

/* ---- sockets ---- */

static int multi_on_socket(CURL *easy, curl_socket_t fd, int what, void *lane, void *unused)
{
    struct cf_lane *self = lane;
    int wanted = (what & CURL_POLL_IN && what != CURL_POLL_REMOVE ? CF_POLLER_READ : 0) |
                 (what & CURL_POLL_OUT && what != CURL_POLL_REMOVE ? CF_POLLER_WRITE : 0);
    (void)easy, (void)unused;

    if (!cf_poller_watch(&self->engine->poller, fd, wanted, (unsigned char)(self - self->engine->lanes)))
        self->broken = true;
    return 0;
}

static int multi_on_timer(CURLM *multi, long milliseconds, void *lane)
{
    (void)multi;
    /* libcurl rounds down, and a call that comes too early does nothing: a millisecond more is sure to be late enough.
     */
    ((struct cf_lane *)lane)->due =
        milliseconds < 0 ? CF_NEVER : cf_clock_now() + (milliseconds > 0 ? (int64_t)milliseconds * 1000 + 1000 : 0);
    return 0;
}

/* A peer that has vanished acknowledges nothing: the kernel gives up on it, and the requests that wait there go
 * elsewhere, long before their time is over. The limit is the time that the peer may take to accept a connection, and a
 * little, for then libcurl's own time-out is first. */
static void multi_expect_acknowledgement(int fd, int64_t patience)
{
#ifdef TCP_USER_TIMEOUT
    bool is_endless = patience >= INT64_C(3600) * 1000000;
    unsigned limit = is_endless ? 0 : (unsigned)(patience / 1000) + 1000;
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof limit);
#else
    (void)fd, (void)patience;
#endif
}

static void multi_extend(int fd, void *engine)
{
    multi_expect_acknowledgement(fd, ((struct cf_engine *)engine)->patience);
}

void cf_multi_be_patient(struct cf_engine *engine, int64_t connect_timeout)
{
    int64_t patience = connect_timeout ? connect_timeout : CF_NEVER;

    if (patience > engine->patience) {
        engine->patience = patience;
        cf_poller_each(&engine->poller, multi_extend, engine);
    }
}

curl_socket_t cf_multi_open_socket(void *transfer, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct cf_transfer *self = transfer;
    struct cf_engine *engine = self->engine;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol), spare;
    (void)purpose;

    /* TLS reads certificates from files. It would tell of a certificate that it has no descriptor for as of a bad one.
     */
    spare = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (spare >= 0)
        close(spare);
    if (spare < 0 || !cf_poller_opened(&engine->poller, fd)) {
        self->is_starved = true;
        if (fd >= 0)
            close(fd);
        return CURL_SOCKET_BAD;
    }
    if (SOCK_CLOEXEC == 0)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    multi_expect_acknowledgement(fd, engine->patience);
    return fd;
}

int cf_multi_close_socket(void *engine, curl_socket_t fd)
{
    cf_poller_closing(&((struct cf_engine *)engine)->poller, fd);
    return close(fd);
}

/* ---- opening and closing ---- */

static bool multi_open_share(struct cf_engine *engine)
{
    CURLSHcode code;

    if (engine->share)
        return true;
    engine->share = curl_share_init();
    if (!engine->share)
        return false;
    code = curl_share_setopt(engine->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    /* A libcurl without TLS has no sessions to share. */
    if (code == CURLSHE_OK || code == CURLSHE_NOT_BUILT_IN)
        return true;
    curl_share_cleanup(engine->share);
    engine->share = NULL;
    return false;
}

static bool multi_open_lane(struct cf_engine *engine, struct cf_lane *lane)
{
    CURLM *multi = lane->multi = curl_multi_init();

    lane->engine = engine;
    lane->due = CF_NEVER;
    lane->broken = false;
    lane->max_connections = KEPT_CONNECTIONS;
    if (!multi || curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, multi_on_socket) != CURLM_OK ||
        curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, lane) != CURLM_OK ||
        curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, multi_on_timer) != CURLM_OK ||
        curl_multi_setopt(multi, CURLMOPT_TIMERDATA, lane) != CURLM_OK ||
        curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, lane->max_connections) != CURLM_OK)
        return false;
    curl_multi_setopt(multi, CF_CURLMOPT_QUICK_EXIT, 1L);
    if (lane == &engine->lanes[CF_LANE_STREAMS]) {
        curl_multi_setopt(multi, CURLMOPT_MAX_HOST_CONNECTIONS, STREAM_CONNECTIONS);
#ifdef CF_HAVE_MAX_CONCURRENT_STREAMS
        curl_multi_setopt(multi, CURLMOPT_MAX_CONCURRENT_STREAMS,
                          cf_libcurl_fills_connections() ? STREAMS_AT_FIRST : STREAMS);
#endif
    }
    return true;
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

static void multi_close_lane(struct cf_lane *lane)
{
    if (lane->multi)
        curl_multi_cleanup(lane->multi);
    lane->multi = NULL;
    lane->due = CF_NEVER;
    lane->running = 0;
}

bool cf_multi_open(struct cf_engine *engine, enum cf_lane_name name)
{
    struct cf_lane *lane = &engine->lanes[name];

    if (engine->closed || cf_global_problem() || !cf_multi_open_poller(engine) || !multi_open_share(engine))
        return false;
    if (!lane->multi && !multi_open_lane(engine, lane)) {
        multi_close_lane(lane);
        return false;
    }
    return true;
}

static struct cf_transfer *multi_next(struct cf_engine *engine, size_t *chain, struct cf_transfer *transfer)
{
    transfer = transfer ? transfer->chained : NULL;
    while (!transfer && *chain < engine->by_id_size)
        transfer = engine->by_id[(*chain)++];
    return transfer;
}

/* Of every transfer that is in flight or done, and of the idle and taken ones. */
static void multi_each(struct cf_engine *engine, void (*visit)(struct cf_transfer *))
{
    struct cf_transfer *transfer;
    size_t chain = 0;

    for (transfer = multi_next(engine, &chain, NULL); transfer; transfer = multi_next(engine, &chain, transfer))
        visit(transfer);
    for (transfer = engine->idle.first; transfer; transfer = transfer->next)
        visit(transfer);
    for (transfer = engine->taken.first; transfer; transfer = transfer->next)
        visit(transfer);
}

/* cf_multi_notice_fork has seen to it that the handle is our own. */
static void multi_drop_easy(struct cf_transfer *transfer)
{
    if (transfer->easy)
        curl_easy_cleanup(transfer->easy);
    transfer->easy = NULL;
}

void cf_multi_close(struct cf_engine *engine)
{
    int i;

    /* An easy handle holds on to the share. */
    multi_each(engine, multi_drop_easy);
    for (i = 0; i < CF_LANES; i++)
        multi_close_lane(&engine->lanes[i]);
    if (engine->share)
        curl_share_cleanup(engine->share);
    engine->share = NULL;
}

/* ---- forks ---- */

/* Handles inherited over a fork are the parent's: a call of libcurl on them would take the parent's answers or end its
 * TLS sessions, and cleaning them up stalls it. They are left behind, reachable for the sake of leak checkers. */
struct multi_abandoned {
    struct multi_abandoned *next;
    void *handle;
};
static _Atomic(struct multi_abandoned *) multi_abandoned_handles;

static void multi_abandon(void *handle)
{
    struct multi_abandoned *entry = handle ? cf_zalloc(sizeof *entry) : NULL;

    if (entry) {
        entry->handle = handle;
        entry->next = multi_abandoned_handles;
        while (!atomic_compare_exchange_weak(&multi_abandoned_handles, &entry->next, entry))
            continue;
    }
}

static void multi_leave_easy(struct cf_transfer *transfer)
{
    multi_abandon(transfer->easy);
    transfer->easy = NULL;
}

void cf_multi_notice_fork(struct cf_engine *engine)
{
    uint32_t generation = cf_generation();
    int i;

    if (engine->generation == generation)
        return;
    engine->generation = generation;
    /* Parent and child shall not retry at the same instants. */
    engine->random ^= ((uint64_t)cf_clock_now() * UINT64_C(0x9E3779B97F4A7C15)) ^ ((uint64_t)getpid() << 32) ^ 1;
    multi_each(engine, multi_leave_easy);
    for (i = 0; i < CF_LANES; i++) {
        multi_abandon(engine->lanes[i].multi);
        engine->lanes[i].multi = NULL;
        engine->lanes[i].due = CF_NEVER;
        engine->lanes[i].running = 0;
    }
    multi_abandon(engine->share);
    engine->share = NULL;
    if (engine->poller_open)
        cf_poller_close(&engine->poller, true);
    engine->poller_open = false;
    cf_schedule_end_all(engine, CF_CLOSED, "the process that started it goes on with it");
    engine->stats = (struct cf_engine_stats){.done = 0};
}

/* ---- moving forward ---- */

CURLcode cf_multi_add(struct cf_transfer *transfer)
{
    struct cf_lane *lane = transfer->lane;

    /* The limit counts busy connections too: below their number every request would reconnect. */
    if ((long)lane->running >= lane->max_connections) {
        lane->max_connections *= 2;
        curl_multi_setopt(lane->multi, CURLMOPT_MAXCONNECTS, lane->max_connections);
    }
    return curl_multi_add_handle(lane->multi, transfer->easy) == CURLM_OK ? CURLE_OK : CURLE_OUT_OF_MEMORY;
}

void cf_multi_remove(struct cf_transfer *transfer)
{
    long connects = 0;

    curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &connects);
    transfer->engine->stats.connections += (uint64_t)connects;
    curl_multi_remove_handle(transfer->lane->multi, transfer->easy);
}

/* Only an answer tells what a server speaks where libcurl's TLS library cannot be asked. */
static void multi_learn_protocol(struct cf_transfer *transfer)
{
    long version = 0;

    if (transfer->response.status == 0 || transfer->tls || transfer->lane != &transfer->engine->lanes[CF_LANE_STREAMS])
        return;
    if (curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_VERSION, &version) == CURLE_OK)
        cf_origin_speaks(transfer->origin, version >= CURL_HTTP_VERSION_2_0 ? CF_PROTOCOL_HTTP2 : CF_PROTOCOL_HTTP1,
                         transfer->engine->now);
}

static void multi_drain(struct cf_lane *lane)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(lane->multi, &left))) {
        struct cf_transfer *transfer = NULL;
        CURLcode code = message->data.result;

        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        multi_learn_protocol(transfer);
        cf_multi_remove(transfer);
        cf_schedule_attempt_ended(lane->engine, transfer, code);
    }
}

/* After an error libcurl's transfers would never end by themselves: all that run in this lane have failed. */
static void multi_give_up(struct cf_lane *lane)
{
    struct cf_transfer *transfer, *next;

    for (transfer = lane->engine->running.first; transfer; transfer = next) {
        next = transfer->next;
        if (transfer->lane == lane) {
            transfer->is_starved = true;
            cf_multi_remove(transfer);
            cf_schedule_attempt_ended(lane->engine, transfer, CURLE_OUT_OF_MEMORY);
        }
    }
    multi_close_lane(lane);
    lane->broken = false;
}

void cf_multi_act(struct cf_lane *lane, curl_socket_t fd, int what)
{
    struct cf_engine *engine = lane->engine;
    struct cf_origin *origin;
    CURLMcode code;
    int running;

    if (!lane->multi)
        return;
    code = curl_multi_socket_action(lane->multi, fd, what, &running);
    engine->now = cf_clock_now();
    multi_drain(lane);
    if (code != CURLM_OK || lane->broken)
        multi_give_up(lane);
    for (origin = engine->origins; origin; origin = origin->next)
        if (origin->lost_http2) {
            origin->lost_http2 = false;
            cf_schedule_put_back_unsent(engine, origin);
        }
}

void cf_multi_run_timers(struct cf_engine *engine)
{
    struct cf_lane *lane;
    long left = -1;

    for (lane = engine->lanes; lane < engine->lanes + CF_LANES; lane++)
        if (lane->multi && lane->due <= engine->now) {
            lane->due = CF_NEVER;
            cf_multi_act(lane, CURL_SOCKET_TIMEOUT, 0);
            /* libcurl is silent where its timer did not change, though it may not have been due. */
            if (lane->multi && lane->due == CF_NEVER && lane->running > 0 &&
                curl_multi_timeout(lane->multi, &left) == CURLM_OK)
                multi_on_timer(lane->multi, left, lane);
        }
}
