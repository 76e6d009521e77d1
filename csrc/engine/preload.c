/* For a host that takes threads and files away from its worker, as HAProxy does: what requests need of them is fetched
 * before. */
#define _GNU_SOURCE 1
#include "engine/preload.h"

#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/engine_private.h"
#include "engine/libcurl.h"
#include "engine/tls.h"

/* libcurl's own for a proxy without one. */
#define PROXY_PORT "1080"

static const char preload_no_memory[] = "out of memory";

/* "HOST:PORT:ADDRESS,ADDRESS...", as CURLOPT_RESOLVE takes it. As many addresses as have room. */
static void preload_write(char *line, size_t size, const struct addrinfo *found)
{
    char address[NI_MAXHOST];
    size_t len = strlen(line);
    const char *comma = "";

    for (; found; found = found->ai_next) {
        bool is_long = found->ai_family == AF_INET6;
        int written;
        if (getnameinfo(found->ai_addr, found->ai_addrlen, address, sizeof address, NULL, 0, NI_NUMERICHOST) != 0)
            continue;
        written = snprintf(line + len, size - len, "%s%s%s%s", comma, is_long ? "[" : "", address, is_long ? "]" : "");
        if (written < 0 || (size_t)written >= size - len) {
            line[len] = '\0';
            return;
        }
        len += (size_t)written;
        comma = ",";
    }
}

static const char *preload_host(struct cf_engine *engine, const char *host, const char *port)
{
    char line[4096];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    struct curl_slist *list;
    int code, len = snprintf(line, sizeof line, "%s:%s:", host, port);

    /* An address is no name. */
    if (*host == '[' || len < 0 || (size_t)len >= sizeof line / 2)
        return NULL;
    code = getaddrinfo(host, NULL, &hints, &found);
    if (code != 0)
        return gai_strerror(code);
    preload_write(line, sizeof line, found);
    freeaddrinfo(found);
    list = curl_slist_append(engine->addresses, line);
    if (!list)
        return preload_no_memory;
    engine->addresses = list;
    return NULL;
}

static const char *preload_url(struct cf_engine *engine, const char *text, bool is_proxy)
{
    CURLU *url = curl_url();
    char *host = NULL, *port = NULL, *scheme = NULL;
    const char *problem = preload_no_memory;

    if (url && curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME | CURLU_GUESS_SCHEME) == CURLUE_OK &&
        curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK) {
        unsigned flags = is_proxy && strcmp(scheme, "https") != 0 ? 0 : CURLU_DEFAULT_PORT;
        CURLUcode code = curl_url_get(url, CURLUPART_PORT, &port, flags);
        if (code == CURLUE_OK || code == CURLUE_NO_PORT)
            problem = preload_host(engine, host, port ? port : PROXY_PORT);
    }
    curl_free(host);
    curl_free(port);
    curl_free(scheme);
    curl_url_cleanup(url);
    return problem;
}

const char *cf_engine_preload(struct cf_engine *engine, const char *base_url, const char *proxy)
{
    const char *problem = preload_url(engine, base_url, false);

    if (!problem && proxy && *proxy)
        problem = preload_url(engine, proxy, true);
    cf_tls_read_bundle();
    return problem;
}
