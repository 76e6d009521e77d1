/* Reads answers without a decoder. */
#define _GNU_SOURCE 1
#include "base/envelope.h"

#include <string.h>

struct envelope_cursor {
    const char *at, *end;
};

static void envelope_skip_blanks(struct envelope_cursor *cursor)
{
    while (cursor->at < cursor->end &&
           (*cursor->at == ' ' || *cursor->at == '\n' || *cursor->at == '\r' || *cursor->at == '\t'))
        cursor->at++;
}

static bool envelope_eat(struct envelope_cursor *cursor, const char *token)
{
    const char *at;

    envelope_skip_blanks(cursor);
    for (at = cursor->at; *token; at++, token++)
        if (at == cursor->end || *at != *token)
            return false;
    cursor->at = at;
    return true;
}

static bool envelope_eat_none(struct envelope_cursor *cursor)
{
    return envelope_eat(cursor, ":") && envelope_eat(cursor, "[") && envelope_eat(cursor, "]");
}

/* Cloudflare's ids are hexadecimal. Any other string is left to the decoder. */
static bool envelope_eat_id(struct envelope_cursor *cursor, const char **id, size_t *len)
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
    struct envelope_cursor cursor = {json, json};
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

/* ---- any answer ---- */

/* Deeper than any envelope, and far from the C stack's end. The decoder has the same limit. */
#define MAX_DEPTH 50

/* Where in an answer a value stands. */
enum envelope_place { ENVELOPE_ROOT, ENVELOPE_ERRORS, ENVELOPE_ERROR, ENVELOPE_ELSEWHERE };

struct envelope_scan {
    struct envelope_cursor cursor;
    struct cf_envelope *envelope;
    void (*on_code)(void *of, long code);
    void *of;
};

/* The text between the quotes, as it is written; false where there is no string. */
static bool envelope_eat_string(struct envelope_cursor *cursor, const char **text, size_t *len)
{
    if (!envelope_eat(cursor, "\""))
        return false;
    *text = cursor->at;
    while (cursor->at < cursor->end && *cursor->at != '"')
        cursor->at += *cursor->at == '\\' && cursor->end - cursor->at > 1 ? 2 : 1;
    *len = (size_t)(cursor->at - *text);
    return cursor->at < cursor->end && *cursor->at++ == '"';
}

/* A number or a word, up to what ends it. */
static void envelope_eat_word(struct envelope_cursor *cursor, const char **text, size_t *len)
{
    envelope_skip_blanks(cursor);
    *text = cursor->at;
    while (cursor->at < cursor->end && !strchr(",]}: \t\r\n", *cursor->at))
        cursor->at++;
    *len = (size_t)(cursor->at - *text);
}

static bool envelope_is(const char *text, size_t len, const char *word)
{
    return len == strlen(word) && memcmp(text, word, len) == 0;
}

static void envelope_read_code(const struct envelope_scan *scan, const char *text, size_t len)
{
    long code = 0;
    size_t i;

    for (i = 0; i < len && i < 9; i++) {
        if (text[i] < '0' || text[i] > '9')
            return;
        code = code * 10 + (text[i] - '0');
    }
    if (len > 0 && i == len)
        scan->on_code(scan->of, code);
}

static bool envelope_scan_value(struct envelope_scan *scan, enum envelope_place place, int depth);

/* A member of the object at `place`: what its value is to be read as. */
static bool envelope_scan_member(struct envelope_scan *scan, enum envelope_place place, int depth)
{
    struct envelope_cursor *cursor = &scan->cursor;
    enum envelope_place inner = ENVELOPE_ELSEWHERE;
    const char *name, *word;
    size_t name_len, len;

    if (!envelope_eat_string(cursor, &name, &name_len) || !envelope_eat(cursor, ":"))
        return false;
    envelope_skip_blanks(cursor);
    if (place == ENVELOPE_ROOT && envelope_is(name, name_len, "success")) {
        struct envelope_cursor before = *cursor;
        envelope_eat_word(cursor, &word, &len);
        scan->envelope->is_success = envelope_is(word, len, "true");
        scan->envelope->is_envelope |= scan->envelope->is_success || envelope_is(word, len, "false");
        *cursor = before;
    } else if (place == ENVELOPE_ERROR && envelope_is(name, name_len, "code")) {
        struct envelope_cursor before = *cursor;
        envelope_eat_word(cursor, &word, &len);
        envelope_read_code(scan, word, len);
        *cursor = before;
    } else if ((place == ENVELOPE_ROOT && envelope_is(name, name_len, "errors")) ||
               (place == ENVELOPE_ERROR && envelope_is(name, name_len, "error_chain"))) {
        inner = ENVELOPE_ERRORS;
        scan->envelope->is_envelope |= cursor->at < cursor->end && *cursor->at == '[';
    }
    return envelope_scan_value(scan, inner, depth);
}

/* False: it is no JSON, or too deep. */
static bool envelope_scan_value(struct envelope_scan *scan, enum envelope_place place, int depth)
{
    struct envelope_cursor *cursor = &scan->cursor;
    const char *text;
    size_t len;

    if (depth > MAX_DEPTH)
        return false;
    if (envelope_eat(cursor, "{")) {
        scan->envelope->is_object |= place == ENVELOPE_ROOT;
        if (envelope_eat(cursor, "}"))
            return true;
        do
            if (!envelope_scan_member(scan, place, depth + 1))
                return false;
        while (envelope_eat(cursor, ","));
        return envelope_eat(cursor, "}");
    }
    if (envelope_eat(cursor, "[")) {
        if (envelope_eat(cursor, "]"))
            return true;
        do
            if (!envelope_scan_value(scan, place == ENVELOPE_ERRORS ? ENVELOPE_ERROR : ENVELOPE_ELSEWHERE, depth + 1))
                return false;
        while (envelope_eat(cursor, ","));
        return envelope_eat(cursor, "]");
    }
    if (cursor->at < cursor->end && *cursor->at == '"')
        return envelope_eat_string(cursor, &text, &len);
    envelope_eat_word(cursor, &text, &len);
    return len > 0;
}

void cf_envelope_scan(const char *json, size_t len, struct cf_envelope *envelope, void (*on_code)(void *of, long code),
                      void *of)
{
    struct envelope_scan scan = {{json, json}, envelope, on_code, of};

    *envelope = (struct cf_envelope){.is_object = false};
    if (len == 0)
        return;
    scan.cursor.end += len;
    if (envelope_scan_value(&scan, ENVELOPE_ROOT, 1)) {
        envelope_skip_blanks(&scan.cursor);
        if (scan.cursor.at == scan.cursor.end)
            return;
    }
    *envelope = (struct cf_envelope){.is_object = false};
}
