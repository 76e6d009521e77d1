/* Why an attempt gave no usable answer: libcurl's verdict, and where it is wrong. */
#define _GNU_SOURCE 1
#include "engine/failure.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* The process has no descriptor left: whatever libcurl says has failed, that is the cause. */
static bool failure_lacks_descriptors(void)
{
    int fd = open("/", O_RDONLY | O_CLOEXEC), problem = errno;

    if (fd >= 0)
        close(fd);
    return fd < 0 && (problem == EMFILE || problem == ENFILE);
}

static bool failure_is_login_refused(CURL *easy, CURLcode code)
{
    long status = 0;

    curl_easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &status);
#ifdef CF_HAVE_PROXY_ERROR
    long problem = 0;
    if (code == CURLE_PROXY && curl_easy_getinfo(easy, CURLINFO_PROXY_ERROR, &problem) == CURLE_OK)
        return problem == CURLPX_USER_REJECTED || problem == CURLPX_NO_AUTH || problem == CURLPX_REPLY_NOT_ALLOWED;
#else
    (void)code;
#endif
    return status == 407;
}

/* Whether the network broke a handshake, which is no verdict about the peer: OpenSSL's words, then GnuTLS's,
 * which says of half a packet that it cannot decode it. */
static bool failure_is_cut(const char *error)
{
    static const char *const words[] = {"SYSCALL",
                                        "reset by peer",
                                        "unexpected eof",
                                        "Broken pipe",
                                        "non-properly terminated",
                                        "pull function",
                                        "push function",
                                        "decoding the received TLS packet"};
    size_t i;

    for (i = 0; i < sizeof words / sizeof *words; i++)
        if (strstr(error, words[i]))
            return true;
    return false;
}

/* Why libcurl's words for a failed connection or handshake need not be about the peer. */
static enum cf_failure failure_cause_of(enum cf_failure failure, CURLcode code, const struct cf_transfer *transfer)
{
    if (transfer->response.status == 0 && failure_is_login_refused(transfer->easy, code))
        return CF_PROXY_DENIED;
    return transfer->is_starved || failure_lacks_descriptors() || strstr(transfer->error, "malloc failure")
               ? CF_EXHAUSTED
               : failure;
}

enum cf_failure cf_failure_of(CURLcode code, const struct cf_transfer *transfer)
{
    bool answering = transfer->response.status >= 200;

    if (transfer->is_refused)
        return code == CURLE_OUT_OF_MEMORY ? CF_EXHAUSTED : CF_REFUSED;
    if (transfer->refusal == CF_REFUSAL_AGAIN)
        return CF_CONNECTION;
    /* A number: libcurl may be newer than its headers were. */
    switch ((int)code) {
    case CURLE_OK:
        /* libcurl takes headers that break off for whole ones. */
        return transfer->response.is_headed ? CF_OK : CF_CUT_SHORT;
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_ABORTED_BY_CALLBACK:
        return CF_TIMEOUT;
    case CURLE_FILESIZE_EXCEEDED:
    case 100: /* CURLE_TOO_LARGE, of 8.6 and newer: a header line that passes its cap */
        return CF_TOO_BIG;
    case CURLE_WRITE_ERROR:
        return transfer->response.too_big ? CF_TOO_BIG : CF_EXHAUSTED;
    case CURLE_OUT_OF_MEMORY:
        /* Older ones say so where a header line passes its cap. */
        return answering && !transfer->is_starved ? CF_TOO_BIG : CF_EXHAUSTED;
    case CURLE_SSL_CONNECT_ERROR:
        return failure_cause_of(failure_is_cut(transfer->error) ? CF_CONNECTION : CF_TLS, code, transfer);
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
        return failure_cause_of(CF_TLS, code, transfer);
    default:
        return answering ? CF_CUT_SHORT : failure_cause_of(CF_CONNECTION, code, transfer);
    }
}

/* The texts that libcurl has none for, or a wrong one. */
const char *cf_failure_text(CURLcode code, const struct cf_transfer *transfer)
{
    if (transfer->failure == CF_EXHAUSTED)
        return "out of memory or descriptors";
    if (transfer->refusal == CF_REFUSAL_AGAIN || code == CURLE_SEND_FAIL_REWIND)
        return "the connection closed before an answer came";
    if (transfer->failure == CF_CUT_SHORT && code == CURLE_OK)
        return "the connection closed within the headers";
    return code != CURLE_OK && !transfer->error[0] ? curl_easy_strerror(code) : NULL;
}
