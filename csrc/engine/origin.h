/* An address that requests go to, and the protocol it speaks. */
#ifndef CFPURGE_ORIGIN_H
#define CFPURGE_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/transfer.h"

enum cf_protocol { CF_PROTOCOL_UNKNOWN, CF_PROTOCOL_HTTP1, CF_PROTOCOL_HTTP2 };

/* The origin of a URL (scheme, host and port) as it is reached through one proxy. The same host behind another proxy
 * may speak another protocol, and is another origin.
 *
 * `transfers` counts all that are in flight to it, queued or elsewhere; the engine forgets an origin only where
 * there is none. `running` counts those that libcurl has, `unsent` those of them in the lane of streams whose request
 * libcurl has not begun to send: they wait for a connection or a stream. */
struct cf_origin {
    struct cf_origin *next;
    enum cf_protocol protocol;
    bool is_tls;
    bool asks;          /* the next request makes a connection, to learn whether there is HTTP/2 again */
    bool lost_http2;    /* since libcurl was let work last: requests that wait for a stream wait in vain */
    bool look_up_again; /* the last connection failed: the host may have moved */
    int64_t ask_again;  /* HTTP/1.1 over TLS: when HTTP/2 is offered once more */
    int64_t answered;   /* when the last answer came */
    size_t transfers, running, unsent;
    size_t url_len; /* how much of `key` is of the URL; the proxy's follows */
    char key[];
};

/* The origin of a filled transfer, made where it is not in the list yet. NULL: out of memory. */
struct cf_origin *cf_origin_of(struct cf_origin **origins, const struct cf_transfer *transfer);
/* An answer or a handshake has told what the origin speaks; `now` is the clock's. */
void cf_origin_speaks(struct cf_origin *origin, enum cf_protocol protocol, int64_t now);
/* A connection was not made. Where it was to tell whether there is HTTP/2 again, what was known stands. The others that
 * wait would else be told so one after another, each when its own connection has failed. */
void cf_origin_says_nothing(struct cf_origin *origin, int64_t now);
/* May one more request be given to libcurl? `most` is max_connections. */
bool cf_origin_has_room(const struct cf_origin *origin, size_t most);
/* Frees all of them; nothing may be in flight. */
void cf_origin_free_all(struct cf_origin **origins);

#endif
