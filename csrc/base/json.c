/* Writes JSON strings, and refuses bytes that are no text. */
#include "base/json.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define EVERY(byte) (UINT64_C(0x0101010101010101) * (byte))

/* May these eight bytes be copied as they are? They may where none is a control character, a quote, a backslash or part
 * of a longer character. Each term sets a byte's highest bit where it is one of these. A byte may borrow from the next
 * one, but only where a bit is set already. */
static bool json_is_plain(const char *text)
{
    uint64_t word;
    memcpy(&word, text, sizeof word);
    return !((word | (word - EVERY(0x20)) | ((word ^ EVERY('"')) - EVERY(1)) | ((word ^ EVERY('\\')) - EVERY(1)) |
              (word + EVERY(1))) &
             EVERY(0x80));
}

/* The same for one. */
static bool json_is_plain_byte(unsigned char byte)
{
    return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
}

/* How many bytes the UTF-8 character at `text` has; 0 where there is none (RFC 3629, section 4). */
static size_t json_utf8_length(const unsigned char *text, size_t len)
{
    unsigned char lead = text[0], least = 0x80, most = 0xbf;
    size_t size = lead >= 0xc2 && lead <= 0xdf   ? 2
                  : lead >= 0xe0 && lead <= 0xef ? 3
                  : lead >= 0xf0 && lead <= 0xf4 ? 4
                                                 : 0;
    size_t i;

    if (size == 0 || size > len)
        return 0;
    if (lead == 0xe0)
        least = 0xa0;
    else if (lead == 0xed)
        most = 0x9f;
    else if (lead == 0xf0)
        least = 0x90;
    else if (lead == 0xf4)
        most = 0x8f;
    if (text[1] < least || text[1] > most)
        return 0;
    for (i = 2; i < size; i++)
        if (text[i] < 0x80 || text[i] > 0xbf)
            return 0;
    return size;
}

enum cf_json_status cf_json_string(struct cf_buffer *buffer, const char *text, size_t len)
{
    const char *end = text + len;
    char *out;

    if (len > SIZE_MAX / 2 - 2 || cf_buffer_reserve(buffer, 2 * len + 2) != CF_BUFFER_OK)
        return CF_JSON_NO_MEMORY;
    out = buffer->data + buffer->len;
    *out++ = '"';
    while (text < end) {
        size_t size = 1;
        unsigned char byte;

        for (; end - text >= 8 && json_is_plain(text); text += 8, out += 8)
            memcpy(out, text, 8);
        if (text == end)
            break;
        /* The last ones, fewer than eight, are copied together with those before them. */
        if (end - text < 8 && len >= 8 && json_is_plain(end - 8)) {
            out += end - text;
            memcpy(out - 8, end - 8, 8);
            break;
        }
        byte = (unsigned char)*text;
        if (json_is_plain_byte(byte)) {
            *out++ = *text++;
            continue;
        }
        if (byte < 0x20 || byte == 0x7f) {
            return CF_JSON_CONTROL;
        } else if (byte >= 0x80) {
            size = json_utf8_length((const unsigned char *)text, (size_t)(end - text));
            if (size == 0)
                return CF_JSON_NOT_UTF8;
        } else if (byte == '"' || byte == '\\') {
            *out++ = '\\';
        }
        while (size-- > 0)
            *out++ = *text++;
    }
    *out++ = '"';
    buffer->len = (size_t)(out - buffer->data);
    return CF_JSON_OK;
}
