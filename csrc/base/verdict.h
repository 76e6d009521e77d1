/* How an attempt ended, and what an answer of the API says of a request: its kind, and what it is about. */
#ifndef CFPURGE_VERDICT_H
#define CFPURGE_VERDICT_H

#include <stdbool.h>
#include <stddef.h>

/* Why an attempt gave no usable answer; CF_OK where a whole one came, whatever its status. */
enum cf_failure {
    CF_OK,
    CF_CONNECTION,
    CF_TLS,
    CF_TIMEOUT,
    CF_CUT_SHORT,    /* the connection ended inside the answer */
    CF_TOO_BIG,      /* the answer went over a cap */
    CF_REFUSED,      /* libcurl would not begin */
    CF_EXHAUSTED,    /* memory or descriptors ran out */
    CF_PROXY_DENIED, /* the proxy wants another login */
    CF_FULL,         /* not taken: as many as may wait are waiting */
    CF_CANCELLED,
    CF_CLOSED,
    CF_HELD_BACK /* not sent: the server had ordered a longer wait than the request allows */
};

enum cf_about {
    CF_ABOUT_NOTHING, /* accepted, or the answer is not the API's: nothing is known */
    CF_ABOUT_ITEM,
    CF_ABOUT_SIZE, /* the same items in smaller requests may do better */
    CF_ABOUT_RATE,
    CF_ABOUT_CREDENTIAL,
    CF_ABOUT_ZONE,   /* or the environment, or the path */
    CF_ABOUT_PLAN,   /* the zone's plan has no such purge */
    CF_ABOUT_REQUEST /* anything else, an item or the size included */
};

struct cf_verdict {
    const char *kind; /* NULL: accepted */
    enum cf_about about;
    bool is_transient;    /* the same request may be accepted later */
    bool is_overall;      /* of CF_ABOUT_RATE: the account's limit over all calls */
    size_t id_at, id_len; /* in the body, where cf_envelope_read has found it; `id_at` is 0 of any other answer */
};

/* Reads an answer. `json` is its body; NULL where it is not whole, and then the status alone is read. */
void cf_verdict_read(int status, const char *json, size_t len, struct cf_verdict *verdict);
/* The error kind of a failure, or of a whole answer that is no success. */
const char *cf_verdict_kind(enum cf_failure failure, const struct cf_verdict *verdict);
/* The word for callers; NULL for CF_ABOUT_NOTHING. */
const char *cf_verdict_about(enum cf_about about);
/* Is it a code that says that something was refused, and nothing of what? */
bool cf_verdict_is_vague(long code);

#endif
