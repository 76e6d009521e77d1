/* One request on one easy handle: owns its copies, goes through as many attempts as it is given, fills a response. */
#define _GNU_SOURCE
#include "engine/transfer.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/clock.h"
#include "engine/global.h"
#include "engine/tls.h"

#ifndef SOCK_CLOEXEC
#define SOCK_CLOEXEC 0
#endif

/* A pooled transfer does not hold the memory of one huge purge for ever. */
#define KEPT_BODY ((size_t)64 << 10)

/* So often a handle is used as it was set up; see cf_transfer_finish. */
#define MOST_USES 100

/* What one call of libcurl may take of a transfer whose time is over. */
#define LONG_CALL 100000

struct cf_transfer *cf_transfer_new(void)
{
    return cf_zalloc(sizeof(struct cf_transfer));
}

void cf_transfer_move(struct cf_transfer *transfer, struct cf_transfer_list *list)
{
    struct cf_transfer_list *old = transfer->list;

    if (old) {
        *(transfer->previous ? &transfer->previous->next : &old->first) = transfer->next;
        *(transfer->next ? &transfer->next->previous : &old->last) = transfer->previous;
        old->count--;
    }
    transfer->list = list;
    transfer->next = transfer->previous = NULL;
    if (list) {
        transfer->previous = list->last;
        *(list->last ? &list->last->next : &list->first) = transfer;
        list->last = transfer;
        list->count++;
    }
}

double cf_transfer_cost(const struct cf_transfer *transfer)
{
    return transfer->bucket == CF_BUCKET_URLS ? (double)transfer->items : transfer->items > 0;
}

bool cf_transfer_is_tls(const struct cf_transfer *transfer)
{
    return strncmp(transfer->url, "https:", 6) == 0;
}

static const char *transfer_put(char **at, const char *text)
{
    char *start = *at;
    size_t size;

    if (!text)
        return NULL;
    size = strlen(text) + 1;
    memcpy(start, text, size);
    *at += size;
    return start;
}

static size_t transfer_size_of(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

/* One block holds every copy, so that one wipe is sure to reach all of them. */
bool cf_transfer_fill(struct cf_transfer *transfer, struct cf_submission *submission, int64_t now)
{
    size_t lines = 0, texts, i;
    struct curl_slist *node;
    char *at;

    for (i = 0; i < submission->headers_size; i++)
        lines += submission->headers[i] == '\0';
    texts = transfer_size_of(submission->url) + transfer_size_of(submission->secrets[0]) +
            transfer_size_of(submission->secrets[1]) + transfer_size_of(submission->proxy) +
            transfer_size_of(submission->ca_file) + transfer_size_of(submission->user_agent) + submission->headers_size;
    transfer->block_size = lines * sizeof *node + texts;
    transfer->block = cf_realloc(NULL, transfer->block_size);
    if (!transfer->block)
        return false;

    at = transfer->block + lines * sizeof *node;
    transfer->url = transfer_put(&at, submission->url);
    transfer->path = transfer->url + submission->path_at;
    transfer->secrets[0] = transfer_put(&at, submission->secrets[0]);
    transfer->secrets[1] = transfer_put(&at, submission->secrets[1]);
    transfer->proxy = transfer_put(&at, submission->proxy);
    transfer->ca_file = transfer_put(&at, submission->ca_file);
    transfer->user_agent = transfer_put(&at, submission->user_agent);
    if (submission->headers_size > 0)
        memcpy(at, submission->headers, submission->headers_size);
    node = (struct curl_slist *)(void *)transfer->block;
    transfer->headers = lines ? node : NULL;
    for (i = 0; i < lines; i++) {
        node[i].data = at;
        node[i].next = i + 1 < lines ? &node[i + 1] : NULL;
        at += strlen(at) + 1;
    }

    transfer->is_get = submission->body == NULL;
    if (submission->body) {
        struct cf_buffer ours = transfer->body;
        transfer->body = *submission->body;
        ours.max = submission->body->max;
        *submission->body = ours;
    }
    transfer->direct = submission->direct;
    transfer->items = submission->items;
    transfer->bucket = submission->bucket;
    transfer->retry = submission->retry;
    transfer->timeout = submission->timeout;
    transfer->connect_timeout = submission->connect_timeout;
    transfer->deadline = submission->deadline ? now + submission->deadline : 0;
    transfer->started = now;
    transfer->attempts = 0;
    transfer->failure = CF_OK;
    transfer->retry_after = -1;
    transfer->error[0] = '\0';
    cf_response_reset(&transfer->response);
    return true;
}

/* Any other number than they were given makes libcurl end the transfer. */

static size_t transfer_on_header(char *line, size_t size, size_t count, void *transfer)
{
    return cf_response_header(&((struct cf_transfer *)transfer)->response, line, size * count) ? size * count : 0;
}

static size_t transfer_on_body(char *bytes, size_t size, size_t count, void *transfer)
{
    return cf_response_body(&((struct cf_transfer *)transfer)->response, bytes, size * count) ? size * count : 0;
}

/* libcurl 7.88 reads what a proxy says about a CONNECT it refuses a byte at a time, in one call and for as long as
 * there is more: only this is asked meanwhile. A clock for every byte would be dear. */
static int transfer_on_progress(void *transfer, curl_off_t total, curl_off_t now, curl_off_t to_send, curl_off_t sent)
{
    struct cf_transfer *self = transfer;
    (void)total, (void)now, (void)to_send, (void)sent;
    return (++self->ticks & 63) == 0 &&
           cf_clock_now() - LONG_CALL > (self->overdue > self->poller->looked ? self->overdue : self->poller->looked);
}

/* A peer that has vanished acknowledges nothing: the kernel gives up on it, and all that wait there go elsewhere, long
 * before their time is over. What it may take to accept a connection, and a little, for then libcurl's own time-out is
 * first. */
static void transfer_expect_acknowledgement(int fd, int64_t connect_timeout)
{
#ifdef TCP_USER_TIMEOUT
    if (connect_timeout > 0 && connect_timeout < INT64_C(3600) * 1000000) {
        unsigned limit = (unsigned)(connect_timeout / 1000) + 1000;
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof limit);
    }
#else
    (void)fd, (void)connect_timeout;
#endif
}

static curl_socket_t transfer_open_socket(void *self, curlsocktype purpose, struct curl_sockaddr *address)
{
    const struct cf_transfer *transfer = self;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    (void)purpose;
    if (fd < 0)
        return CURL_SOCKET_BAD;
    if (SOCK_CLOEXEC == 0)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    transfer_expect_acknowledgement(fd, transfer->connect_timeout);
    if (!cf_poller_opened(transfer->poller, fd)) {
        close(fd);
        return CURL_SOCKET_BAD;
    }
    return fd;
}

static int transfer_close_socket(void *poller, curl_socket_t fd)
{
    cf_poller_closing(poller, fd);
    return close(fd);
}

/* 0 would mean "for ever" to libcurl. */
static long transfer_milliseconds(int64_t duration)
{
    int64_t rounded = (duration + 999) / 1000;
    return rounded > 0x7fffffff ? 0x7fffffff : rounded < 1 ? 1 : (long)rounded;
}

/* CURLOPT_TIMEOUT_MS is not set: the engine ends what is overdue, for libcurl would keep the connection of an HTTP/2
 * stream, and would not read first what has come while nobody stepped. */
static CURLcode transfer_set_limits(struct cf_transfer *transfer, int64_t now)
{
    int64_t limit = transfer->timeout;

    if (transfer->deadline && (!limit || transfer->deadline - now < limit))
        limit = transfer->deadline - now > 0 ? transfer->deadline - now : 1;
    transfer->overdue = limit ? now + limit : CF_NEVER;
    /* libcurl's own default is 300 s; "none" is as long as it can be. */
    return curl_easy_setopt(transfer->easy, CURLOPT_CONNECTTIMEOUT_MS,
                            transfer->connect_timeout ? transfer_milliseconds(transfer->connect_timeout) : 0x7fffffffL);
}

#define SET(option, value) \
    do { \
        CURLcode set_code = curl_easy_setopt(easy, option, value); \
        if (set_code != CURLE_OK) \
            return set_code; \
    } while (0)

static bool transfer_same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* What no request changes, and the CA, which hardly any does: set once, for it takes longer than all the rest. */
static CURLcode transfer_set_up(struct cf_transfer *transfer, struct cf_poller *poller)
{
    CURL *easy = transfer->easy;
    size_t size = transfer_size_of(transfer->ca_file);

    cf_free(transfer->trusted);
    transfer->trusted = size ? cf_realloc(NULL, size) : NULL;
    if (size && !transfer->trusted)
        return CURLE_OUT_OF_MEMORY;
    if (size)
        memcpy(transfer->trusted, transfer->ca_file, size);
    SET(CURLOPT_PRIVATE, transfer);
    SET(CURLOPT_ERRORBUFFER, transfer->error);
    SET(CURLOPT_OPENSOCKETFUNCTION, transfer_open_socket);
    SET(CURLOPT_OPENSOCKETDATA, transfer);
    SET(CURLOPT_CLOSESOCKETFUNCTION, transfer_close_socket);
    SET(CURLOPT_CLOSESOCKETDATA, poller);
    SET(CURLOPT_HEADERFUNCTION, transfer_on_header);
    SET(CURLOPT_HEADERDATA, transfer);
    SET(CURLOPT_WRITEFUNCTION, transfer_on_body);
    SET(CURLOPT_WRITEDATA, transfer);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_NOPROGRESS, 0L);
    SET(CURLOPT_XFERINFOFUNCTION, transfer_on_progress);
    SET(CURLOPT_XFERINFODATA, transfer);
#ifdef CF_HAVE_PROTOCOLS_STR
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
#else
    SET(CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    /* A libcurl without HTTP/2 refuses, and speaks 1.1. */
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)CF_RESPONSE_MAX_BODY);
    /* Wiped as a whole after every request: the least that libcurl takes. Not so what it receives into: with less than
     * the 16 KiB of an HTTP/2 frame it (7.88) forgets streams whose frames come side by side. */
    SET(CURLOPT_UPLOAD_BUFFERSIZE, 16384L);
#ifdef CF_HAVE_QUICK_EXIT
    /* A libcurl that is older than its headers was refuses: the engine warns of that. */
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
    /* What is meant for the API is not shown to a proxy, and a proxy's headers are not taken for the API's. */
    SET(CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE);
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    CURLcode code = cf_tls_apply(easy, transfer->ca_file);
    transfer->is_set = code == CURLE_OK;
    return code;
}

static CURLcode transfer_set_request(struct cf_transfer *transfer, CURLSH *share)
{
    CURL *easy = transfer->easy;

    SET(CURLOPT_SHARE, share);
    SET(CURLOPT_URL, transfer->url);
    /* Over plain HTTP it would send one request after another (libcurl-facts). */
    SET(CURLOPT_PIPEWAIT, cf_transfer_is_tls(transfer) ? 1L : 0L);
    SET(CURLOPT_HTTPHEADER, transfer->headers);
    SET(CURLOPT_USERAGENT, transfer->user_agent);
    if (transfer->is_get) {
        SET(CURLOPT_HTTPGET, 1L);
    } else {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDS, transfer->body.data);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)transfer->body.len);
    }
    /* What the engine and cf_transfer_overdue set for one attempt. */
    SET(CURLOPT_FRESH_CONNECT, 0L);
    SET(CURLOPT_FORBID_REUSE, 0L);
    SET(CURLOPT_PROXY, transfer->proxy);
    /* An explicit proxy is not undone by the environment's no_proxy. */
    SET(CURLOPT_NOPROXY, transfer->direct ? "*" : transfer->proxy ? "" : NULL);
    return CURLE_OK;
}

CURLcode cf_transfer_prepare(struct cf_transfer *transfer, CURLSH *share, struct cf_poller *poller, int64_t now)
{
    uint64_t generation = cf_global_generation();
    CURLcode code = CURLE_OK;

    /* First: what the last attempt was answered says nothing of one that cannot be made. */
    cf_response_reset(&transfer->response);
    transfer->error[0] = '\0';
    transfer->attempt_started = now;
    transfer->poller = poller;
    transfer->is_refused = true;
    if (transfer->easy && transfer->generation == generation &&
        !(transfer->is_set && transfer_same_text(transfer->trusted, transfer->ca_file))) {
        /* Not curl_easy_reset: where memory is short that leaves half of the defaults out, and does not say so. */
        curl_easy_cleanup(transfer->easy);
        transfer->easy = NULL;
    }
    if (!transfer->easy || transfer->generation != generation) {
        transfer->generation = generation;
        transfer->is_set = false;
        transfer->uses = 0;
        transfer->easy = curl_easy_init();
        if (!transfer->easy)
            return CURLE_OUT_OF_MEMORY;
        code = transfer_set_up(transfer, poller);
    }
    if (code == CURLE_OK)
        code = transfer_set_request(transfer, share);
    if (code == CURLE_OK)
        code = transfer_set_limits(transfer, now);
    if (code == CURLE_OK) {
        transfer->is_refused = false;
        transfer->attempts++;
    }
    return code;
}

static enum cf_failure transfer_failure_of(CURLcode code, const struct cf_transfer *transfer)
{
    bool answering = transfer->response.status >= 200;

    if (transfer->is_refused)
        return CF_REFUSED;
    switch (code) {
    case CURLE_OK:
        /* libcurl takes headers that break off for whole ones. */
        return transfer->response.is_headed ? CF_OK : CF_CUT_SHORT;
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_ABORTED_BY_CALLBACK:
        return CF_TIMEOUT;
    case CURLE_FILESIZE_EXCEEDED:
        return CF_TOO_BIG;
    case CURLE_WRITE_ERROR:
        return transfer->response.too_big ? CF_TOO_BIG : CF_REFUSED;
    case CURLE_OUT_OF_MEMORY:
        /* libcurl's dynamic buffers say so too where a header line passes their cap. */
        return answering ? CF_TOO_BIG : CF_REFUSED;
    case CURLE_SSL_CONNECT_ERROR:
        /* A handshake that the network broke is no verdict about the peer. */
        if (strstr(transfer->error, "SYSCALL") || strstr(transfer->error, "reset by peer") ||
            strstr(transfer->error, "unexpected eof") || strstr(transfer->error, "Broken pipe"))
            return CF_CONNECTION;
        return CF_TLS;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_ENGINE_SETFAILED:
    case CURLE_USE_SSL_FAILED:
        return CF_TLS;
    default:
        return answering ? CF_CUT_SHORT : CF_CONNECTION;
    }
}

void cf_transfer_overdue(struct cf_transfer *transfer, int64_t now)
{
    double found = 0, sent = 0;

    curl_easy_getinfo(transfer->easy, CURLINFO_NAMELOOKUP_TIME, &found);
    curl_easy_getinfo(transfer->easy, CURLINFO_PRETRANSFER_TIME, &sent);
    (void)snprintf(transfer->error, sizeof transfer->error, "timed out after %lld ms, %s",
                   (long long)(now - transfer->attempt_started) / 1000,
                   transfer->response.status ? "within the answer"
                   : sent > 0                ? "waiting for an answer"
                   : found > 0               ? "connecting"
                                             : "looking the name up");
    /* Where nobody else uses its connection, that is closed: it may be dead. */
    curl_easy_setopt(transfer->easy, CURLOPT_FORBID_REUSE, 1L);
}

/* A server that repeats what it was shown would put the credential into errors and logs. */
static void transfer_mask(char *text, const char *const secrets[2])
{
    char *at, *found;
    size_t i;

    for (i = 0; i < 2; i++)
        for (at = text; secrets[i] && *secrets[i] && (found = strstr(at, secrets[i])); at = found + strlen(secrets[i]))
            memset(found, '*', strlen(secrets[i]));
}

void cf_transfer_mask(struct cf_transfer *transfer)
{
    transfer_mask(transfer->response.ray_id, transfer->secrets);
    transfer_mask(transfer->error, transfer->secrets);
}

void cf_transfer_finish(struct cf_transfer *transfer, CURLcode code)
{
    long connects = 0;

    /* libcurl counts how often it sent again what a dying connection had not taken, over all that a handle does, and
     * gives up at the fifth: whatever made a connection may have been such a case. */
    if (transfer->easy)
        curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &connects);
    if (connects > 0 || ++transfer->uses >= MOST_USES)
        transfer->is_set = false;
    if (code == CURLE_ABORTED_BY_CALLBACK)
        cf_transfer_overdue(transfer, cf_clock_now());
    if (code != CURLE_OK && !transfer->error[0])
        strncpy(transfer->error, curl_easy_strerror(code), sizeof transfer->error - 1);
    transfer->failure = transfer_failure_of(code, transfer);
    if (transfer->failure == CF_CUT_SHORT && !transfer->error[0])
        strcpy(transfer->error, "the connection closed within the headers");
    cf_transfer_mask(transfer);
    transfer->retry_after =
        transfer->response.is_headed ? cf_retry_after(transfer->response.retry_after, time(NULL)) : -1;
}

/* Only an answer is ever decoded, and that shows the secret where it stands in it in plain bytes or in escaped ones. */
static bool transfer_may_show(const struct cf_transfer *transfer, const char *secret)
{
    const struct cf_buffer *body = &transfer->response.body;
    return transfer->failure == CF_OK && body->len > 0 &&
           (memchr(body->data, '\\', body->len) || memmem(body->data, body->len, secret, strlen(secret)));
}

void cf_transfer_redact(struct cf_transfer *transfer)
{
    struct cf_response *response = &transfer->response;
    const char *kept = transfer->url + transfer_size_of(transfer->url);
    size_t i, used;

    for (i = 0; i < 2; i++) {
        const char *secret = transfer->secrets[i];
        if (secret && transfer_may_show(transfer, secret)) {
            kept = secret + transfer_size_of(secret);
        } else if (secret) {
            cf_wipe(transfer->block + (secret - transfer->block), strlen(secret));
            transfer->secrets[i] = NULL;
        }
    }
    /* The proxy and the headers stand behind them. */
    used = (size_t)(kept - transfer->block);
    cf_wipe(transfer->block + used, transfer->block_size - used);
    transfer->headers = NULL;
    transfer->proxy = transfer->ca_file = transfer->user_agent = NULL;
    if (transfer->failure != CF_OK)
        response->body.len = 0;
    if (response->body.data)
        cf_wipe(response->body.data + response->body.len, response->body.cap - response->body.len);
    cf_wipe(response->retry_after, sizeof response->retry_after);
    cf_wipe(response->ratelimit, sizeof response->ratelimit);
}

void cf_transfer_clear(struct cf_transfer *transfer)
{
    if (transfer->easy && transfer->generation == cf_global_generation()) {
        /* It must not be left with pointers into what is freed. */
        curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, NULL);
        curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDS, NULL);
    }
    if (transfer->block) {
        cf_wipe(transfer->block, transfer->block_size);
        cf_free(transfer->block);
        transfer->block = NULL;
    }
    transfer->headers = NULL;
    transfer->url = transfer->path = transfer->proxy = transfer->ca_file = transfer->user_agent = NULL;
    transfer->secrets[0] = transfer->secrets[1] = NULL;
    transfer->body.len = 0;
    if (transfer->body.cap > KEPT_BODY)
        cf_buffer_free(&transfer->body);
    if (transfer->response.body.cap > KEPT_BODY)
        cf_buffer_free(&transfer->response.body);
}

void cf_transfer_free(struct cf_transfer *transfer)
{
    cf_transfer_clear(transfer);
    if (transfer->easy && transfer->generation == cf_global_generation())
        curl_easy_cleanup(transfer->easy);
    cf_buffer_free(&transfer->body);
    cf_response_free(&transfer->response);
    cf_free(transfer->trusted);
    cf_free(transfer);
}
