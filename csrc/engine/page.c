/* Fetches pages for the command, one after another and blocking. */
#include "engine/page.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "engine/ca.h"
#include "engine/libcurl.h"
#include "engine/tls.h"

#define MAX_HEADERS ((size_t)256 << 10)
#define MAX_REDIRECTS 5L
#define CONNECT_TIMEOUT 10L

struct cf_pages {
    CURL *easy;
    const char *user_agent; /* static */
    struct cf_ca *cas;      /* as long as `easy` */
    char error[CURL_ERROR_SIZE];
};

struct page_work {
    struct cf_page *page;
    bool (*is_over)(void);
    bool is_too_big, is_ended;
};

struct cf_pages *cf_pages_new(const char *user_agent)
{
    struct cf_pages *pages = cf_zalloc(sizeof *pages);

    if (!pages)
        return NULL;
    pages->user_agent = user_agent;
    pages->easy = curl_easy_init();
    if (!pages->easy) {
        cf_free(pages);
        return NULL;
    }
    return pages;
}

void cf_pages_free(struct cf_pages *pages)
{
    if (pages) {
        curl_easy_cleanup(pages->easy);
        cf_ca_free_all(&pages->cas);
        cf_free(pages);
    }
}

/* A status line begins the headers anew: those of a redirect do not stay. */
static size_t page_on_header(char *line, size_t size, size_t count, void *data)
{
    struct page_work *work = data;
    size_t len = size * count;

    if (len > 5 && memcmp(line, "HTTP/", 5) == 0)
        work->page->headers.len = work->page->body.len = 0;
    work->is_too_big = cf_buffer_add(&work->page->headers, line, len) != CF_BUFFER_OK;
    return work->is_too_big ? 0 : len;
}

static size_t page_on_body(char *bytes, size_t size, size_t count, void *data)
{
    struct page_work *work = data;
    size_t len = size * count;

    work->is_too_big = cf_buffer_add(&work->page->body, bytes, len) != CF_BUFFER_OK;
    return work->is_too_big ? 0 : len;
}

static int page_on_progress(void *data, curl_off_t total, curl_off_t now, curl_off_t to_send, curl_off_t sent)
{
    struct page_work *work = data;

    (void)total;
    (void)now;
    (void)to_send;
    (void)sent;
    work->is_ended = work->is_over && work->is_over();
    return work->is_ended;
}

/* A libcurl that is older than its headers were does not know the names. */
static CURLcode page_set_protocols(CURL *easy)
{
#ifdef CF_HAVE_PROTOCOLS_STR
    const char *protocols = cf_libcurl_protocols();
    CURLcode code = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, protocols);
    return code != CURLE_OK ? code : curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
#else
    CURLcode code = curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
    return code != CURLE_OK ? code
                            : curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
}

/* Without one of them another variant would be asked for. */
static bool page_add_lines(struct curl_slist **list, const char *const *lines)
{
    struct curl_slist *longer;

    for (; lines && *lines; lines++) {
        longer = curl_slist_append(*list, *lines);
        if (!longer)
            return false;
        *list = longer;
    }
    return true;
}

/* The options without which a page must not be asked for. */
static CURLcode page_set_up(struct cf_pages *pages, const struct cf_page_request *request, struct curl_slist *lines)
{
    CURL *easy = pages->easy;
    CURLcode code = page_set_protocols(easy);

    if (code == CURLE_OK)
        code = cf_tls_apply(easy, request->ca_file ? cf_ca_find(pages->cas, request->ca_file) : NULL);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_URL, request->url);
    return code != CURLE_OK ? code : curl_easy_setopt(easy, CURLOPT_HTTPHEADER, lines);
}

const char *cf_pages_get(struct cf_pages *pages, const struct cf_page_request *request, struct cf_page *page)
{
    struct page_work work = {page, request->is_over, false, false};
    struct curl_slist *lines = NULL;
    CURL *easy = pages->easy;
    CURLcode code;
    const char *problem;
    long status = 0;

    page->headers.len = page->body.len = 0;
    page->headers.max = MAX_HEADERS;
    page->body.max = request->max;
    problem = request->ca_file ? cf_ca_read(&pages->cas, request->ca_file) : NULL;
    if (problem) {
        (void)snprintf(pages->error, sizeof pages->error, "%s %s", request->ca_file, problem);
        return pages->error;
    }
    /* Keeps the connections, and forgets the last page. */
    curl_easy_reset(easy);
    pages->error[0] = '\0';
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, pages->error);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, pages->user_agent);
    curl_easy_setopt(easy, CURLOPT_NOBODY, request->head ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, request->follow ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_MAXREDIRS, MAX_REDIRECTS);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(request->timeout * 1000) + 1);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, page_on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, &work);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, page_on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &work);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, page_on_progress);
    curl_easy_setopt(easy, CURLOPT_XFERINFODATA, &work);
    code = page_add_lines(&lines, request->lines) ? page_set_up(pages, request, lines) : CURLE_OUT_OF_MEMORY;
    if (code == CURLE_OK)
        code = curl_easy_perform(easy);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    page->status = (int)status;
    curl_slist_free_all(lines);
    if (code == CURLE_OK)
        return NULL;
    return work.is_ended     ? "interrupted"
           : work.is_too_big ? "the answer is too large"
           : pages->error[0] ? pages->error
                             : curl_easy_strerror(code);
}
