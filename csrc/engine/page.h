/* Fetches pages for the command, one after another and blocking: no credential goes with them, and nothing but http(s)
 * is spoken. */
#ifndef CFPURGE_PAGE_H
#define CFPURGE_PAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"

struct cf_pages;

struct cf_page {
    int status;               /* of the last answer; 0 where none came */
    struct cf_buffer headers; /* its header lines, as they came */
    struct cf_buffer body;    /* empty where only the headers were asked for */
};

/* NULL: memory is short. Connections are kept from page to page. */
struct cf_pages *cf_pages_new(const char *user_agent);
void cf_pages_free(struct cf_pages *pages);

struct cf_page_request {
    const char *url;
    const char *const *lines; /* header lines, NULL at the end; NULL for none */
    const char *ca_file;      /* trusted beside the system's; NULL for none */
    bool head;                /* asks for the headers alone */
    bool follow;              /* goes where the server sends it, at most 5 times */
    size_t max;               /* of the body */
    double timeout;           /* seconds */
    bool (*is_over)(void);    /* true ends it; NULL */
};

/* NULL, or why there is no whole answer; the text is static or the pages'. `page` is emptied first; the caller frees
 * its buffers. */
const char *cf_pages_get(struct cf_pages *pages, const struct cf_page_request *request, struct cf_page *page);

#endif
