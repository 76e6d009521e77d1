/* Whether a request may be sent on the connection that libcurl has chosen for it: asked before each sending. */
#define _GNU_SOURCE 1
#include <poll.h>

#include "base/clock.h"
#include "engine/engine_private.h"
#include "engine/tls.h"

/* Linux and FreeBSD tell by it that the peer will say nothing more. */
#ifndef POLLRDHUP
#define POLLRDHUP 0
#endif

/* libcurl before 8.5.0 takes all connections to a host for HTTP/2 once one of them is, and hands a busy HTTP/1.1
 * connection to a second request: the two are told each other's answers (curl's issue 4885, mended by its commit
 * 1c37d472a0). This goes when the oldest libcurl that serves is 8.5.0. */
static bool sending_is_shared(const struct cf_transfer *transfer)
{
    const struct cf_transfer *other;

    if (!transfer->tls || !cf_libcurl_mixes_answers())
        return false;
    for (other = transfer->engine->running.first; other; other = other->next)
        if (other != transfer && other->tls == transfer->tls && cf_tls_of(other->easy) == transfer->tls)
            return true;
    return false;
}

static bool sending_speaks_http1(struct cf_transfer *transfer)
{
    struct cf_origin *origin = transfer->origin;
    enum cf_tls_protocol protocol;

    if (transfer->lane != &transfer->engine->lanes[CF_LANE_STREAMS])
        return false;
    transfer->tls = cf_tls_of(transfer->easy);
    protocol = cf_tls_protocol(transfer->tls);
    transfer->is_stream = protocol == CF_TLS_HTTP2;
    if (protocol == CF_TLS_OTHER)
        cf_origin_speaks(origin, CF_PROTOCOL_HTTP1, transfer->engine->now);
    else if (protocol == CF_TLS_HTTP2)
        cf_origin_speaks(origin, CF_PROTOCOL_HTTP2, transfer->engine->now);
    return protocol == CF_TLS_OTHER;
}

/* Has the server closed this connection while it was idle? Then nothing is sent, and another one serves. */
static bool sending_is_stale(const struct cf_transfer *transfer, bool is_http1)
{
    struct pollfd ready = {.fd = -1, .events = POLLIN | POLLRDHUP};
    curl_socket_t fd = CURL_SOCKET_BAD;
    long connects = 1;

    if (!cf_libcurl_trusts_connections() ||
        curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &connects) != CURLE_OK || connects > 0 ||
        curl_easy_getinfo(transfer->easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK || fd == CURL_SOCKET_BAD)
        return false;
    ready.fd = fd;
    /* Whatever HTTP/1.1 has to say before it was asked, TLS's "close notify" among it, is an end. */
    return poll(&ready, 1, 0) > 0 && (is_http1 || (ready.revents & (POLLRDHUP | POLLHUP | POLLERR)));
}

/* Has a server refused the stream on which libcurl had sent the request? It then says that it has done nothing about it
 * (RFC 9113, section 8.7), and libcurl sends it again. Every other end of a connection has left its words in the
 * error's text by now. */
static bool sending_was_stream_refused(const struct cf_transfer *transfer)
{
    return transfer->is_stream && transfer->error[0] == '\0' && cf_libcurl_tells_refused_streams();
}

int cf_sending_begins(void *transfer, char *ip, char *local_ip, int port, int local_port)
{
    struct cf_transfer *self = transfer;
    long connects = 1;
    bool is_http1;
    (void)ip, (void)local_ip, (void)port, (void)local_port;

    if (self->sendings > 0 && !sending_was_stream_refused(self)) {
        self->refusal = CF_REFUSAL_AGAIN;
        /* This one was kept too, and may be as dead. It would stay as one that was used just now. */
        if (curl_easy_getinfo(self->easy, CURLINFO_NUM_CONNECTS, &connects) == CURLE_OK && connects == 0)
            curl_easy_setopt(self->easy, CURLOPT_FORBID_REUSE, 1L);
    } else {
        is_http1 = sending_speaks_http1(self);
        if (is_http1 && sending_is_shared(self))
            self->refusal = CF_REFUSAL_SHARED;
        else if (sending_is_stale(self, is_http1 || self->lane != &self->engine->lanes[CF_LANE_STREAMS]))
            self->refusal = CF_REFUSAL_STALE;
    }
    if (self->refusal != CF_REFUSAL_NONE)
        return 1; /* CURL_PREREQFUNC_ABORT */
    self->origin->unsent -= cf_engine_is_unsent(self);
    if (self->sendings++ == 0) {
        /* Its time begins: until now it may have waited for a connection that others use. */
        self->attempt_started = cf_clock_now();
        if (self->is_timed)
            cf_heap_put(&self->engine->overdue, &self->instant, cf_attempt_overdue_at(self));
    }
    return 0;
}
