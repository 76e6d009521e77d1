/* An answer as it comes in: its status, the few headers that we keep, its body. */
#ifndef CFPURGE_RESPONSE_H
#define CFPURGE_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"

#define CF_RESPONSE_MAX_BODY ((size_t)1 << 20)
/* Of all its headers; libcurl before 8.3 has no cap of its own. */
#define CF_RESPONSE_MAX_HEADERS ((size_t)256 << 10)

struct cf_response {
    int status;     /* 0 until a status line came */
    bool too_big;   /* the body or the headers went over their cap */
    bool is_headed; /* the headers came to their end, those of informational answers aside */
    size_t headers_len;
    int should_retry;     /* x-should-retry: 1 true, 0 false, -1 absent */
    char ray_id[64];      /* printable ASCII; empty where absent */
    char date[64];        /* as sent; empty where absent */
    char retry_after[64]; /* the same */
    char ratelimit[160];  /* as sent; several headers joined by a comma */
    struct cf_buffer body;
};

/* Empties it for the next attempt; keeps the body's memory. */
void cf_response_reset(struct cf_response *response);
void cf_response_free(struct cf_response *response);
/* Takes one header line, with or without its line end. A status line starts the headers anew: those of an informational
 * answer (1xx) do not stay. False: they are over the cap, and too_big is set. */
bool cf_response_header(struct cf_response *response, const char *line, size_t len);
/* Takes a piece of the body. False: memory is short, or the body is over its cap and too_big is set. */
bool cf_response_body(struct cf_response *response, const char *bytes, size_t len);

#endif
