/* An address that requests go to, and the protocol it speaks. */
#include "engine/origin.h"

#include <string.h>

#include "base/memory.h"
#include "engine/tls.h"

/* The list remembers this many that nothing is in flight to. A program has one, or one for each machine that it tries.
 */
#define REMEMBERED 8

/* "https://host:port" of a URL that has passed its check. */
static size_t origin_length(const char *url)
{
    const char *host = strstr(url, "://");
    return host ? (size_t)(host - url) + 3 + strcspn(host + 3, "/") : strlen(url);
}

/* The proxy in its key may hold a password. */
static void origin_free(struct cf_origin *origin)
{
    cf_wipe(origin->key, strlen(origin->key));
    cf_free(origin);
}

/* The last one that nothing is in flight to, where there are many. */
static void origin_forget_oldest(struct cf_origin **origins)
{
    struct cf_origin **at, **last = NULL, *oldest;
    size_t idle = 0;

    for (at = origins; *at; at = &(*at)->next)
        if ((*at)->transfers == 0) {
            idle++;
            last = at;
        }
    if (idle >= REMEMBERED) {
        oldest = *last;
        *last = oldest->next;
        origin_free(oldest);
    }
}

/* A server may be given HTTP/2, or lose it, at any time. While requests run all the time it is asked again as often as
 * this. */
#ifndef CF_ASK_AGAIN
#define CF_ASK_AGAIN (INT64_C(10) * 1000000)
#endif
/* While it is not known whether the server speaks HTTP/2, and how many streams it allows, no more than this wait inside
 * libcurl: it would open a connection for each that finds no stream. */
#define MOST_UNSENT 64
/* No server lets more streams run at once on the connections that we have to it. */
#define MOST_STREAMS 1024

void cf_origin_speaks(struct cf_origin *origin, enum cf_protocol protocol, int64_t now)
{
    if (origin->protocol != protocol && protocol == CF_PROTOCOL_HTTP1) {
        origin->ask_again = now + CF_ASK_AGAIN;
        origin->lost_http2 = true;
    }
    origin->protocol = protocol;
}

void cf_origin_says_nothing(struct cf_origin *origin, int64_t now)
{
    if (origin->protocol == CF_PROTOCOL_UNKNOWN && origin->ask_again != CF_NEVER)
        cf_origin_speaks(origin, CF_PROTOCOL_HTTP1, now);
}

bool cf_origin_has_room(const struct cf_origin *origin, size_t most)
{
    if (origin->protocol == CF_PROTOCOL_HTTP2)
        return origin->running < MOST_STREAMS && origin->unsent < MOST_UNSENT;
    /* While one asks whether there is HTTP/2 again the others wait: on a connection that was kept they would hear that
     * there is none. */
    if (origin->protocol == CF_PROTOCOL_UNKNOWN && origin->ask_again != CF_NEVER)
        return origin->unsent == 0;
    return origin->running < most && origin->unsent < MOST_UNSENT;
}

struct cf_origin *cf_origin_of(struct cf_origin **origins, const struct cf_transfer *transfer)
{
    /* Requests past every proxy and those through the environment's are told apart as well. */
    const char *proxy = transfer->direct ? "-" : transfer->proxy ? transfer->proxy : "+";
    size_t url_len = origin_length(transfer->url), size = url_len + strlen(proxy) + 1;
    struct cf_origin *origin;

    for (origin = *origins; origin; origin = origin->next)
        if (origin->url_len == url_len && memcmp(origin->key, transfer->url, url_len) == 0 &&
            strcmp(origin->key + url_len, proxy) == 0)
            return origin;
    origin_forget_oldest(origins);
    origin = cf_zalloc(sizeof *origin + size);
    if (!origin)
        return NULL;
    origin->url_len = url_len;
    memcpy(origin->key, transfer->url, url_len);
    memcpy(origin->key + url_len, proxy, size - url_len);
    origin->is_tls = cf_transfer_is_tls(transfer);
    origin->protocol = origin->is_tls && cf_tls_may_stream() ? CF_PROTOCOL_UNKNOWN : CF_PROTOCOL_HTTP1;
    origin->ask_again = CF_NEVER;
    origin->next = *origins;
    *origins = origin;
    return origin;
}

void cf_origin_free_all(struct cf_origin **origins)
{
    struct cf_origin *origin;

    while ((origin = *origins)) {
        *origins = origin->next;
        origin_free(origin);
    }
}
