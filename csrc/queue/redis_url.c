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
    if (colon)
        url->port = redis_url_number(colon + 1, len - (size_t)(colon - text) - 1, 65535);
    if (url->port <= 0)
        return "the port is no number of 1 to 65535";
    url->host = end > start ? redis_url_decoded(text + start, end - start) : cf_strndup("127.0.0.1", 9);
    return url->host ? NULL : NO_MEMORY;
}

static const char *redis_url_read_db(struct cf_redis_url *url, const char *text, size_t len)
{
    url->db = redis_url_number(text, len, 1000000);
    return url->db < 0 ? "the database is no number" : NULL;
}

/* One name=value of what stands behind the question mark. */
static const char *redis_url_read_parameter(struct cf_redis_url *url, const char *text, size_t len)
{
    const struct {
        const char *name;
        char **to;
    } files[] = {{"ca_file=", &url->ca_file}, {"cert_file=", &url->cert_file}, {"key_file=", &url->key_file}};
    size_t i, name;

    if (len >= 3 && memcmp(text, "db=", 3) == 0)
        return redis_url_read_db(url, text + 3, len - 3);
    for (i = 0; url->is_tls && i < sizeof files / sizeof *files; i++) {
        name = strlen(files[i].name);
        if (len > name && memcmp(text, files[i].name, name) == 0 && !*files[i].to) {
            *files[i].to = redis_url_decoded(text + name, len - name);
            return *files[i].to ? NULL : NO_MEMORY;
        }
    }
    return url->is_tls ? "behind the ? stands something else than db=, ca_file=, cert_file=, key_file=, each once"
                       : "behind the ? stands something else than db=";
}

static const char *redis_url_read_query(struct cf_redis_url *url, const char *query)
{
    const char *problem = NULL;
    size_t len;

    for (; !problem && *query; query += len + (query[len] == '&')) {
        len = strcspn(query, "&");
        problem = redis_url_read_parameter(url, query, len);
    }
    return problem;
}

const char *cf_redis_url_read(struct cf_redis_url *url, const char *text)
{
    bool is_unix = strncmp(text, "unix://", 7) == 0;
    const char *rest, *at, *path, *problem = NULL;
    size_t len, path_len;

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
    path = rest + len;
    path_len = strcspn(path, "?");
    if (problem)
        return problem;
    if (is_unix) {
        if (path_len == 0 || len > 0)
            return "has no path of a socket";
        url->path = redis_url_decoded(path, path_len);
        problem = url->path ? NULL : NO_MEMORY;
    } else {
        problem = redis_url_read_host(url, rest, len);
        if (!problem && path_len > 1)
            problem = redis_url_read_db(url, path + 1, path_len - 1);
    }
    if (!problem && path[path_len])
        problem = redis_url_read_query(url, path + path_len + 1);
    return problem;
}

void cf_redis_url_free(struct cf_redis_url *url)
{
    cf_wipe_free(url->host);
    cf_wipe_free(url->path);
    cf_wipe_free(url->user);
    cf_wipe_free(url->password);
    cf_wipe_free(url->ca_file);
    cf_wipe_free(url->cert_file);
    cf_wipe_free(url->key_file);
    memset(url, 0, sizeof *url);
}
