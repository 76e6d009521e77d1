/* Reads the usual answer without a decoder. */
#define _GNU_SOURCE
#include "base/envelope.h"

#include <string.h>

struct cursor {
    const char *at, *end;
};

static void envelope_skip_blanks(struct cursor *cursor)
{
    while (cursor->at < cursor->end &&
           (*cursor->at == ' ' || *cursor->at == '\n' || *cursor->at == '\r' || *cursor->at == '\t'))
        cursor->at++;
}

static bool envelope_eat(struct cursor *cursor, const char *token)
{
    size_t size = strlen(token);

    envelope_skip_blanks(cursor);
    if ((size_t)(cursor->end - cursor->at) < size || memcmp(cursor->at, token, size) != 0)
        return false;
    cursor->at += size;
    return true;
}

static bool envelope_eat_none(struct cursor *cursor)
{
    return envelope_eat(cursor, ":") && envelope_eat(cursor, "[") && envelope_eat(cursor, "]");
}

/* Cloudflare's ids are hexadecimal. Any other string is left to the decoder. */
static bool envelope_eat_id(struct cursor *cursor, const char **id, size_t *len)
{
    if (!envelope_eat(cursor, "\""))
        return false;
    *id = cursor->at;
    while (cursor->at < cursor->end &&
           ((*cursor->at >= '0' && *cursor->at <= '9') || (*cursor->at >= 'a' && *cursor->at <= 'z')))
        cursor->at++;
    *len = (size_t)(cursor->at - *id);
    return cursor->at < cursor->end && *cursor->at++ == '"';
}

bool cf_envelope_read(const char *json, size_t len, const char **id, size_t *id_len)
{
    struct cursor cursor = {json, json};
    unsigned seen = 0, member;
    bool usual;

    /* An empty body may be NULL. */
    if (len == 0)
        return false;
    cursor.end += len;
    if (!envelope_eat(&cursor, "{"))
        return false;
    do {
        if (envelope_eat(&cursor, "\"success\"")) {
            member = 1;
            usual = envelope_eat(&cursor, ":") && envelope_eat(&cursor, "true");
        } else if (envelope_eat(&cursor, "\"errors\"")) {
            member = 2;
            usual = envelope_eat_none(&cursor);
        } else if (envelope_eat(&cursor, "\"messages\"")) {
            member = 4;
            usual = envelope_eat_none(&cursor);
        } else {
            member = 8;
            usual = envelope_eat(&cursor, "\"result\"") && envelope_eat(&cursor, ":") && envelope_eat(&cursor, "{") &&
                    envelope_eat(&cursor, "\"id\"") && envelope_eat(&cursor, ":") &&
                    envelope_eat_id(&cursor, id, id_len) && envelope_eat(&cursor, "}");
        }
        if (!usual || seen & member)
            return false;
        seen |= member;
    } while (envelope_eat(&cursor, ","));
    if (seen != 15 || !envelope_eat(&cursor, "}"))
        return false;
    envelope_skip_blanks(&cursor);
    return cursor.at == cursor.end;
}

bool cf_envelope_has_code(const char *json, size_t len, const char *code)
{
    struct cursor cursor = {json, json};

    if (len == 0)
        return false;
    cursor.end += len;
    while ((cursor.at = memmem(cursor.at, (size_t)(cursor.end - cursor.at), "\"code\"", 6))) {
        cursor.at += 6;
        if (envelope_eat(&cursor, ":") && envelope_eat(&cursor, code) &&
            (cursor.at == cursor.end || *cursor.at < '0' || *cursor.at > '9'))
            return true;
    }
    return false;
}
