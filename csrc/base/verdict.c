/* What an answer of the API says of a request: the one table of its codes and statuses. */
#include "base/verdict.h"

#include <string.h>

#include "base/envelope.h"

/* The first row that has one of the answer's codes decides: what holds for the whole list stands before what holds for
 * a part of it. `status` is the only one under which the row holds, 0 for any. `kind` holds where the status says
 * nothing of the kind (verdict_status_says).
 *
 * Each row names its source. REFERENCE is the API's (developers.cloudflare.com/api, cache/methods/purge); a name with a
 * number is a public thread on GitHub; REPORTS are gathered in spec/README.md. */
static const struct verdict_row {
    int code, status;
    enum cf_about about;
    const char *kind;
} verdict_rows[] = {
    /* The rate. */
    {10100, 0, CF_ABOUT_RATE, "rate_limited"}, /* REPORTS: the account's limit over all calls */
    {971, 0, CF_ABOUT_RATE, "rate_limited"},   /* REPORTS: "please wait and consider throttling" */
    {1134, 0, CF_ABOUT_RATE, "rate_limited"},  /* REFERENCE: its example of a 4xx */
    /* The credential. */
    {6003, 0, CF_ABOUT_CREDENTIAL, "authentication"},  /* libdns/cloudflare 12: the header is malformed */
    {6103, 0, CF_ABOUT_CREDENTIAL, "authentication"},  /* cloudflare-typescript 161: X-Auth-Key, within 6003 */
    {6111, 0, CF_ABOUT_CREDENTIAL, "authentication"},  /* libdns/cloudflare 12: Authorization, within 6003 */
    {9106, 0, CF_ABOUT_CREDENTIAL, "authentication"},  /* REPORTS: a header is missing */
    {9109, 0, CF_ABOUT_CREDENTIAL, "authentication"},  /* REPORTS: the token is invalid, or may not from here */
    {10001, 0, CF_ABOUT_CREDENTIAL, "authentication"}, /* REPORTS: unable to authenticate */
    {10000, 404, CF_ABOUT_ZONE, "not_found"},          /* REPORTS: it may also mean a zone of others */
    {10000, 0, CF_ABOUT_CREDENTIAL, "authentication"}, /* REPORTS: authentication error */
    /* The zone, the environment or the path. */
    {7000, 0, CF_ABOUT_ZONE, "not_found"}, /* REPORTS: no route for that URI */
    {7003, 0, CF_ABOUT_ZONE, "not_found"}, /* REPORTS: could not route, the identifier is invalid */
    /* The plan. */
    {1107, 0, CF_ABOUT_PLAN, "permission_denied"}, /* cloudflare-php 25: only enterprise zones can purge by tag */
    /* The size. */
    {1094, 0, CF_ABOUT_SIZE, "bad_request"}, /* REPORTS: too many files */
    {1101, 0, CF_ABOUT_SIZE, "bad_request"}, /* REPORTS: too many tags */
    {1111, 0, CF_ABOUT_SIZE, "bad_request"}, /* REPORTS: too many hosts */
    /* One item. */
    {1082, 0, CF_ABOUT_ITEM, "bad_request"}, /* REPORTS: not in this zone */
    {1100, 0, CF_ABOUT_ITEM, "bad_request"}, /* REPORTS: a tag that is too long */
    {1136, 0, CF_ABOUT_ITEM, "bad_request"}, /* REPORTS */
    {1315, 0, CF_ABOUT_ITEM, "bad_request"}, /* REPORTS: a tag that is not printable */
    /* The body: ours, so it should not come. */
    {1012, 0, CF_ABOUT_REQUEST, "bad_request"}, /* REPORTS: none of the five kinds */
    {1014, 0, CF_ABOUT_REQUEST, "bad_request"}, /* cloudflare-php 61: must be an array */
    {1092, 0, CF_ABOUT_REQUEST, "bad_request"}, /* REPORTS: everything, and something else */
};

/* opennextjs-cloudflare 655: "one or more cache purge errors", alone or behind the code that says which. */
static const struct verdict_row verdict_vague = {1016, 0, CF_ABOUT_ITEM, "bad_request"};

/* What a status says by itself, and what it is about in an envelope whose codes nobody knows. */
static const struct {
    int status;
    const char *kind;
    enum cf_about about;
} verdict_statuses[] = {{400, "bad_request", CF_ABOUT_REQUEST},
                        {401, "authentication", CF_ABOUT_CREDENTIAL},
                        {403, "permission_denied", CF_ABOUT_CREDENTIAL},
                        {404, "not_found", CF_ABOUT_ZONE},
                        {409, "conflict", CF_ABOUT_NOTHING},
                        {413, "api", CF_ABOUT_SIZE},
                        {422, "unprocessable", CF_ABOUT_REQUEST},
                        {429, "rate_limited", CF_ABOUT_RATE}};

#define ROWS_END (verdict_rows + sizeof verdict_rows / sizeof *verdict_rows)

struct verdict_codes {
    int status;
    const struct verdict_row *row; /* the first one that has a code of the answer's */
    bool is_vague, is_known;       /* it has the vague code; it has another one */
};

static void verdict_add_code(void *of, long code)
{
    struct verdict_codes *codes = of;
    const struct verdict_row *row, *end = codes->row ? codes->row : ROWS_END;

    if (cf_verdict_is_vague(code)) {
        codes->is_vague = true;
        return;
    }
    codes->is_known = true;
    for (row = verdict_rows; row < end; row++)
        if (row->code == code && (row->status == 0 || row->status == codes->status)) {
            codes->row = row;
            return;
        }
}

/* A 401 with a code of the zone is a matter of access all the same, as a 422 is one of what was asked. */
static bool verdict_status_says(int status, enum cf_about about)
{
    switch (about) {
    case CF_ABOUT_CREDENTIAL:
    case CF_ABOUT_ZONE:
    case CF_ABOUT_PLAN:
        return status == 401 || status == 403 || status == 404;
    case CF_ABOUT_ITEM:
    case CF_ABOUT_SIZE:
    case CF_ABOUT_REQUEST:
        return status == 400 || status == 413 || status == 422;
    default:
        return false;
    }
}

static void verdict_by_status(int status, bool has_envelope, struct cf_verdict *verdict)
{
    size_t i;

    verdict->kind = status >= 500 && status <= 599 ? "server" : "api";
    verdict->about = CF_ABOUT_NOTHING;
    verdict->is_overall = false;
    verdict->is_transient = status == 408 || status == 409 || status == 429 || (status >= 500 && status <= 599);
    for (i = 0; i < sizeof verdict_statuses / sizeof *verdict_statuses; i++)
        if (verdict_statuses[i].status == status) {
            verdict->kind = verdict_statuses[i].kind;
            /* These need no envelope: what stands before the API answers so for the same reason. */
            if (has_envelope || status == 401 || status == 413 || status == 429)
                verdict->about = verdict_statuses[i].about;
            return;
        }
    if (has_envelope && !verdict->is_transient && !(status >= 300 && status < 400))
        verdict->about = CF_ABOUT_REQUEST;
}

void cf_verdict_read(int status, const char *json, size_t len, struct cf_verdict *verdict)
{
    static const char bom[] = "\xef\xbb\xbf";
    struct cf_envelope envelope = {.is_object = false};
    struct verdict_codes codes = {.status = status};
    const char *body = json, *id;

    verdict->id_at = verdict->id_len = 0;
    if (json && len >= 3 && memcmp(json, bom, 3) == 0) {
        json += 3;
        len -= 3;
    }
    if (json && cf_envelope_read(json, len, &id, &verdict->id_len)) {
        verdict->id_at = (size_t)(id - body);
        envelope = (struct cf_envelope){.is_object = true, .is_envelope = true, .is_success = true};
    } else if (json) {
        cf_envelope_scan(json, len, &envelope, verdict_add_code, &codes);
    }
    verdict_by_status(status, envelope.is_envelope, verdict);
    if (status >= 200 && status < 300 && (envelope.is_success || !envelope.is_object)) {
        verdict->kind = envelope.is_success ? NULL : "bad_response";
        verdict->about = CF_ABOUT_NOTHING;
        return;
    }
    if (!codes.row && codes.is_vague && !codes.is_known)
        codes.row = &verdict_vague;
    /* A status that may pass hides what else is wrong, but for the rate: then all others are to wait as well. */
    if (!envelope.is_envelope || !codes.row || (verdict->is_transient && codes.row->about != CF_ABOUT_RATE))
        return;
    verdict->about = codes.row->about;
    if (!verdict_status_says(status, verdict->about))
        verdict->kind = codes.row->kind;
    verdict->is_transient = verdict->about == CF_ABOUT_RATE;
    verdict->is_overall = codes.row == verdict_rows;
}

const char *cf_verdict_kind(enum cf_failure failure, const struct cf_verdict *verdict)
{
    switch (failure) {
    case CF_OK:
        break;
    case CF_TLS:
        return "tls";
    case CF_TIMEOUT:
        return "timeout";
    case CF_CUT_SHORT:
    case CF_TOO_BIG:
        return "bad_response";
    case CF_HELD_BACK:
        return "rate_limited";
    case CF_CANCELLED:
        return "cancelled";
    case CF_CLOSED:
        return "closed";
    case CF_FULL:
        return "queue_full";
    case CF_CONNECTION:
    case CF_EXHAUSTED:
    case CF_PROXY_DENIED:
    case CF_REFUSED:
        return "connection";
    }
    return verdict->kind;
}

const char *cf_verdict_about(enum cf_about about)
{
    static const char *const names[] = {NULL, "item", "size", "rate", "credential", "zone", "plan", "request"};
    return names[about];
}

bool cf_verdict_is_vague(long code)
{
    return code == verdict_vague.code;
}
