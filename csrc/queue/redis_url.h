/* Where a store in Redis is: redis://[user[:password]@]host[:port][/db][?db=n],
 * unix://[user[:password]@]/path[?db=n], and for TLS rediss://, which may have ca_file=, cert_file= and key_file= too.
 */
#ifndef CFPURGE_REDIS_URL_H
#define CFPURGE_REDIS_URL_H

#include <stdbool.h>

/* The texts are its own; NULL where the URL has none. */
struct cf_redis_url {
    char *host, *path; /* one of the two */
    char *user, *password;
    char *ca_file, *cert_file, *key_file;
    int port, db;
    bool is_tls;
};

/* NULL, or what is wrong with the text. Free it in either case. */
const char *cf_redis_url_read(struct cf_redis_url *url, const char *text);
void cf_redis_url_free(struct cf_redis_url *url);

#endif
