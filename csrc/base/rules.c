/* The rules for an item, as the API's pages on purging by URL, tag, host and prefix give them. */
#include "base/rules.h"

#include <string.h>

#include "base/ascii.h"

#define MAX_TAG 1024
#define MAX_SEPARATORS 31

const char *cf_rule_url(const char *url, size_t len)
{
    size_t scheme = len > 8 && (memcmp(url, "https://", 8) == 0 || cf_ascii_same(url, "https://", 8)) ? 8
                    : len > 7 && cf_ascii_same(url, "http://", 7)                                     ? 7
                                                                                                      : 0;
    char next = url[scheme];
    return scheme && next != '/' && next != '?' && next != '#' && next != ':' && next
               ? NULL
               : "must be an absolute http(s) URL";
}

const char *cf_rule_tag(const char *tag, size_t len)
{
    size_t i;
    if (len < 1 || len > MAX_TAG)
        return "must have 1 to 1024 characters";
    for (i = 0; i < len; i++)
        if (tag[i] <= 0x20 || tag[i] >= 0x7f)
            return "must be printable ASCII without spaces";
    return NULL;
}

const char *cf_rule_host(const char *host, size_t len)
{
    if (len == 0)
        return "must not be empty";
    if (memchr(host, '/', len))
        return "must be a host name, without scheme and path";
    return memchr(host, ' ', len) ? "must be a host name, without spaces" : NULL;
}

const char *cf_rule_prefix(const char *prefix, size_t len)
{
    size_t i, separators = 0;

    if (len == 0 || prefix[0] == '/')
        return "must begin with a host name";
    for (i = 0; i < len; i++) {
        if (prefix[i] == '?' || prefix[i] == '#')
            return "must not have a query or fragment";
        if (separators == 0 && prefix[i] == '/' && prefix[i - 1] == ':' && i + 1 < len && prefix[i + 1] == '/')
            return "must not have a scheme";
        separators += prefix[i] == '/';
    }
    return separators > MAX_SEPARATORS ? "must not have more than 31 path separators" : NULL;
}
