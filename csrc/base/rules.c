/* The rules for an item, as the API's pages on purging by URL, tag, host and prefix give them, and what can match
 * nothing at Cloudflare. */
#include "base/rules.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/ascii.h"

#define MAX_TAG 1024
#define MAX_SEPARATORS 31

/* Stands for bytes that are no UTF-8, which are refused elsewhere. */
#define NO_TEXT 0xfffd

/* White space, and characters that nobody sees. The joiners U+200C and U+200D are none: names in Persian and
 * in languages of India have them. Sorted. */
static const struct rules_unseen {
    uint32_t first, last;
    const char *name; /* NULL: of a character that has its number alone */
} rules_unseen[] = {{0x00, 0x00, "NUL"},
                    {0x01, 0x08, NULL},
                    {0x09, 0x09, "tab"},
                    {0x0a, 0x0a, "line feed"},
                    {0x0b, 0x0c, NULL},
                    {0x0d, 0x0d, "carriage return"},
                    {0x0e, 0x1f, NULL},
                    {0x20, 0x20, "space"},
                    {0x7f, 0x9f, NULL},
                    {0xa0, 0xa0, "no-break space"},
                    {0xad, 0xad, "soft hyphen"},
                    {0x1680, 0x1680, NULL},
                    {0x180e, 0x180e, NULL},
                    {0x2000, 0x200a, NULL},
                    {0x200b, 0x200b, "zero width space"},
                    {0x200e, 0x200e, "left-to-right mark"},
                    {0x200f, 0x200f, "right-to-left mark"},
                    {0x2028, 0x202e, NULL},
                    {0x202f, 0x202f, "narrow no-break space"},
                    {0x205f, 0x205f, NULL},
                    {0x2060, 0x2060, "word joiner"},
                    {0x2061, 0x206f, NULL},
                    {0x3000, 0x3000, "ideographic space"},
                    {0xfeff, 0xfeff, "byte order mark"}};

/* What is known of a character that nobody sees; NULL of all others. */
static const struct rules_unseen *rules_find_unseen(uint32_t character)
{
    size_t i;
    for (i = 0; i < sizeof rules_unseen / sizeof *rules_unseen; i++)
        if (character <= rules_unseen[i].last)
            return character >= rules_unseen[i].first ? &rules_unseen[i] : NULL;
    return NULL;
}

void cf_rule_name(uint32_t character, char name[CF_RULE_NAME])
{
    const struct rules_unseen *unseen = rules_find_unseen(character);

    if (unseen && unseen->name)
        (void)snprintf(name, CF_RULE_NAME, "U+%04lX (%s)", (unsigned long)character, unseen->name);
    else
        (void)snprintf(name, CF_RULE_NAME, character == NO_TEXT ? "U+%04lX, or bytes that are no UTF-8" : "U+%04lX",
                       (unsigned long)character);
}

/* The character at `text`, whose bytes it takes. */
static uint32_t rules_next(const char **text, const char *end)
{
    /* A smaller character has no business with so many bytes. */
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    const unsigned char *at = (const unsigned char *)*text;
    uint32_t character = *at;
    size_t more = character < 0x80 ? 0 : character < 0xc0 ? 4 : character < 0xe0 ? 1 : character < 0xf0 ? 2 : 3, i;

    *text += 1;
    if (more == 0)
        return character;
    if (more > 3 || (size_t)(end - *text) < more)
        return NO_TEXT;
    character &= 0x3fu >> more;
    for (i = 1; i <= more; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return NO_TEXT;
        character = character << 6 | (at[i] & 0x3fu);
    }
    if (character < least[more])
        return NO_TEXT;
    *text += more;
    return character;
}

/* Is the first character of the `len` bytes white space, or one that nobody sees? */
static bool rules_begins_unseen(const char *text, size_t len, uint32_t *found)
{
    const char *at = text;
    uint32_t character = len > 0 ? rules_next(&at, text + len) : NO_TEXT;

    if (!rules_find_unseen(character))
        return false;
    *found = character;
    return true;
}

/* The same of any of them. */
static const char *rules_unseen_problem(const char *text, size_t len, uint32_t *found)
{
    size_t i;
    for (i = 0; i < len; i++)
        if (!(text[i] > 0x20 && text[i] < 0x7f) && rules_begins_unseen(text + i, len - i, found))
            return "must not have white space or invisible characters";
    return NULL;
}

static const char *rules_host_problem(const char *host, size_t len, uint32_t *found)
{
    size_t i;
    bool is_plain = true;

    for (i = 0; i < len; i++) {
        if (host[i] > ',' && host[i] < 0x7f)
            continue;
        is_plain = false;
        switch (host[i]) {
        case '*':
            return "must not have a wildcard in the host name";
        case ',':
            return "must not have a comma in the host name: give several one by one";
        case '"':
            return "must not have a quote in the host name";
        default:
            break;
        }
    }
    return is_plain ? NULL : rules_unseen_problem(host, len, found);
}

/* Does white space and then another URL stand in this one? Its path and query may have either. */
static bool rules_is_several(const char *url, size_t from, size_t len, uint32_t *found)
{
    const char *at = url + from, *end = url + len, *second;

    for (; (at = memchr(at, ':', (size_t)(end - at))) != NULL; at++) {
        if (end - at < 3 || at[1] != '/' || at[2] != '/')
            continue;
        second = at - (at[-1] == 's' || at[-1] == 'S' ? 5 : 4);
        if (second <= url + from || !cf_ascii_same(second, "http", 4))
            continue;
        do
            second--;
        while ((*second & 0xc0) == 0x80 && second > url + from);
        if (rules_begins_unseen(second, (size_t)(end - second), found))
            return true;
    }
    return false;
}

const char *cf_rule_url(const char *url, size_t len, uint32_t *found)
{
    size_t scheme = len > 8 && (memcmp(url, "https://", 8) == 0 || cf_ascii_same(url, "https://", 8)) ? 8
                    : len > 7 && cf_ascii_same(url, "http://", 7)                                     ? 7
                                                                                                      : 0;
    char next = url[scheme];

    *found = CF_RULE_NONE;
    if (!scheme || next == '/' || next == '?' || next == '#' || next == ':' || !next) {
        rules_begins_unseen(url, len, found);
        return "must be an absolute http(s) URL";
    }
    if (rules_is_several(url, scheme, len, found))
        return "must be one URL: give several one by one";
    return rules_host_problem(url + scheme, strcspn(url + scheme, "/?#"), found);
}

const char *cf_rule_tag(const char *tag, size_t len, uint32_t *found)
{
    const char *at = tag, *end = tag + len;

    *found = CF_RULE_NONE;
    if (len < 1 || len > MAX_TAG)
        return "must have 1 to 1024 characters";
    for (; at < end; at++) {
        if (*at == ',')
            return "must not have a comma: no tag has one, give several one by one";
        if (*at == '"')
            return "must not have a quote: no tag has one";
        if (*at <= 0x20 || *at >= 0x7f) {
            *found = rules_next(&at, end);
            return "must be printable ASCII without spaces";
        }
    }
    return NULL;
}

const char *cf_rule_host(const char *host, size_t len, uint32_t *found)
{
    *found = CF_RULE_NONE;
    if (len == 0)
        return "must not be empty";
    return memchr(host, '/', len) ? "must be a host name, without scheme and path"
                                  : rules_host_problem(host, len, found);
}

const char *cf_rule_prefix(const char *prefix, size_t len, uint32_t *found)
{
    const char *problem;
    size_t i, separators = 0;

    *found = CF_RULE_NONE;
    if (len == 0 || prefix[0] == '/')
        return "must begin with a host name";
    for (i = 0; i < len; i++) {
        if (prefix[i] == '?' || prefix[i] == '#')
            return "must not have a query or fragment";
        if (separators == 0 && prefix[i] == '/' && prefix[i - 1] == ':' && i + 1 < len && prefix[i + 1] == '/')
            return "must not have a scheme";
        separators += prefix[i] == '/';
    }
    if (separators > MAX_SEPARATORS)
        return "must not have more than 31 path separators";
    problem = rules_host_problem(prefix, strcspn(prefix, "/"), found);
    return problem ? problem : rules_unseen_problem(prefix, len, found);
}
