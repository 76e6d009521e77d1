/* Where a store in Redis is: redis://[user[:password]@]host[:port][/db], rediss:// for TLS,
 * unix://[user[:password]@]/path[?db=n]. */
#ifndef CFPURGE_REDIS_URL_H
#define CFPURGE_REDIS_URL_H

#include <stdbool.h>

/* The texts are its own; NULL where the URL has none. */
struct cf_redis_url {
    char *host, *path; /* one of the two */
    char *user, *password;
    int port, db;
    bool is_tls;
};

/* NULL, or what is wrong with the text. Free it in either case. */
const char *cf_redis_url_read(struct cf_redis_url *url, const char *text);
void cf_redis_url_free(struct cf_redis_url *url);

#endif
