/* Where a store in Redis is: redis://, rediss:// and unix:// URLs. */
#define _GNU_SOURCE 1
#include "queue/redis_url.h"

#include <string.h>

#include "base/memory.h"

#define NO_MEMORY "not enough memory"

static int redis_url_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* A copy of the piece with its %XX decoded (RFC 3986, 2.1). NULL: memory is short. */
static char *redis_url_decoded(const char *text, size_t len)
{
    char *copy = cf_strndup(text, len);
    size_t from, to = 0;

    for (from = 0; copy && from < len; from++)
        if (copy[from] == '%' && from + 2 < len && redis_url_digit(copy[from + 1]) >= 0 &&
            redis_url_digit(copy[from + 2]) >= 0) {
            copy[to++] = (char)(redis_url_digit(copy[from + 1]) * 16 + redis_url_digit(copy[from + 2]));
            from += 2;
        } else {
            copy[to++] = copy[from];
        }
    if (copy)
        copy[to] = '\0';
    return copy;
}

/* The number that the text is, or -1. */
static int redis_url_number(const char *text, size_t len, int most)
{
    int number = 0;
    size_t i;

    for (i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || number > most)
            return -1;
        number = number * 10 + (text[i] - '0');
    }
    return len > 0 && number <= most ? number : -1;
}

static const char *redis_url_read_login(struct cf_redis_url *url, const char *login, size_t len)
{
    const char *colon = memchr(login, ':', len);
    size_t user = colon ? (size_t)(colon - login) : len;

    if (user > 0 && !(url->user = redis_url_decoded(login, user)))
        return NO_MEMORY;
    if (colon && !(url->password = redis_url_decoded(colon + 1, len - user - 1)))
        return NO_MEMORY;
    return NULL;
}

static const char *redis_url_read_host(struct cf_redis_url *url, const char *text, size_t len)
{
    const char *close = len > 0 && text[0] == '[' ? memchr(text, ']', len) : NULL, *colon;
    size_t start = close ? 1 : 0, end;

    colon = close ? memchr(close, ':', len - (size_t)(close - text)) : memrchr(text, ':', len);
    end = close ? (size_t)(close - text) : colon ? (size_t)(colon - text) : len;
    if (colon && (url->port = redis_url_number(colon + 1, len - (size_t)(colon - text) - 1, 65535)) <= 0)
        return "the port is no number of 1 to 65535";
    url->host = end > start ? redis_url_decoded(text + start, end - start) : cf_strndup("127.0.0.1", 9);
    return url->host ? NULL : NO_MEMORY;
}

const char *cf_redis_url_read(struct cf_redis_url *url, const char *text)
{
    bool is_unix = strncmp(text, "unix://", 7) == 0;
    const char *rest, *at, *slash, *db, *problem = NULL;
    size_t len;

    memset(url, 0, sizeof *url);
    url->port = 6379;
    url->is_tls = strncmp(text, "rediss://", 9) == 0;
    if (!is_unix && !url->is_tls && strncmp(text, "redis://", 8) != 0)
        return "begins with none of redis://, rediss:// and unix://";
    rest = strstr(text, "://") + 3;
    len = strcspn(rest, "/?");
    at = memrchr(rest, '@', len);
    if (at) {
        problem = redis_url_read_login(url, rest, (size_t)(at - rest));
        rest = at + 1;
        len = strcspn(rest, "/?");
    }
    slash = rest + len;
    db = is_unix ? strstr(slash, "?db=") : *slash == '/' ? slash + 1 : NULL;
    if (problem)
        return problem;
    if (is_unix) {
        if (*slash != '/' || len > 0)
            return "has no path of a socket";
        url->path = redis_url_decoded(slash, strcspn(slash, "?"));
        problem = url->path ? NULL : NO_MEMORY;
        db = db ? db + 4 : NULL;
    } else {
        problem = redis_url_read_host(url, rest, len);
    }
    if (!problem && db && *db && (url->db = redis_url_number(db, strlen(db), 1000000)) < 0)
        return "the database is no number";
    return problem;
}

void cf_redis_url_free(struct cf_redis_url *url)
{
    cf_wipe_free(url->host);
    cf_wipe_free(url->path);
    cf_wipe_free(url->user);
    cf_wipe_free(url->password);
    memset(url, 0, sizeof *url);
}
