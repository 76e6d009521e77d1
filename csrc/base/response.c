/* An answer as it comes in: its status, the few headers that we keep, its body. */
#include "base/response.h"

#include <string.h>

#include "base/ascii.h"

static void response_reset_headers(struct cf_response *response)
{
    response->status = 0;
    response->should_retry = -1;
    response->ray_id[0] = response->date[0] = response->retry_after[0] = response->ratelimit[0] = '\0';
}

void cf_response_reset(struct cf_response *response)
{
    response_reset_headers(response);
    response->too_big = response->is_headed = false;
    response->headers_len = 0;
    response->body.len = 0;
    response->body.max = CF_RESPONSE_MAX_BODY;
}

void cf_response_free(struct cf_response *response)
{
    /* A server may have repeated a credential in it. */
    cf_buffer_wipe(&response->body);
}

/* Drops a value that is too long or not printable: we keep whole values or none. */
static void response_keep(char *field, size_t size, const char *value, size_t len)
{
    size_t used = strlen(field), at = used ? used + 1 : 0, i;

    if (len == 0 || at + len + 1 > size)
        return;
    for (i = 0; i < len; i++)
        if (value[i] < 0x20 || value[i] > 0x7e)
            return;
    if (used)
        field[used] = ',';
    memcpy(field + at, value, len);
    field[at + len] = '\0';
}

static void response_status_line(struct cf_response *response, const char *line, size_t len)
{
    const char *space = memchr(line, ' ', len);
    int status = 0, digits;

    response_reset_headers(response);
    if (!space)
        return;
    for (digits = 1; digits <= 3 && space + digits < line + len; digits++) {
        if (space[digits] < '0' || space[digits] > '9')
            return;
        status = status * 10 + (space[digits] - '0');
    }
    response->status = status;
}

bool cf_response_header(struct cf_response *response, const char *line, size_t len)
{
    /* libcurl 8.23 hands over a line that was cut, as if it were whole. */
    bool is_whole = len > 0 && line[len - 1] == '\n';
    const char *value;
    size_t name_len;

    response->headers_len += len;
    response->too_big = response->headers_len > CF_RESPONSE_MAX_HEADERS;
    if (response->too_big)
        return false;
    while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r' || line[len - 1] == ' ' || line[len - 1] == '\t'))
        len--;
    if (len > 5 && cf_ascii_same(line, "HTTP/", 5)) {
        response_status_line(response, line, len);
        return true;
    }
    response->is_headed |= len == 0 && is_whole && response->status >= 200;
    value = memchr(line, ':', len);
    if (!value)
        return true;
    name_len = (size_t)(value - line);
    for (value++; value < line + len && (*value == ' ' || *value == '\t'); value++)
        continue;
    len -= (size_t)(value - line);

    if (cf_ascii_is(line, name_len, "cf-ray")) {
        response->ray_id[0] = '\0';
        response_keep(response->ray_id, sizeof response->ray_id, value, len);
    } else if (cf_ascii_is(line, name_len, "retry-after")) {
        response->retry_after[0] = '\0';
        response_keep(response->retry_after, sizeof response->retry_after, value, len);
    } else if (cf_ascii_is(line, name_len, "date")) {
        response->date[0] = '\0';
        response_keep(response->date, sizeof response->date, value, len);
    } else if (cf_ascii_is(line, name_len, "ratelimit")) {
        response_keep(response->ratelimit, sizeof response->ratelimit, value, len);
    } else if (cf_ascii_is(line, name_len, "x-should-retry")) {
        if (cf_ascii_is(value, len, "true"))
            response->should_retry = 1;
        else if (cf_ascii_is(value, len, "false"))
            response->should_retry = 0;
    }
    return true;
}

bool cf_response_body(struct cf_response *response, const char *bytes, size_t len)
{
    enum cf_buffer_status status = cf_buffer_add(&response->body, bytes, len);
    response->too_big = status == CF_BUFFER_FULL;
    return status == CF_BUFFER_OK;
}
