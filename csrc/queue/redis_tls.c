/* TLS to a store in Redis, where hiredis has it: whose certificate we trust, and that it is the host's. */
#include "queue/redis_private.h"

#ifdef CF_HAVE_HIREDIS_SSL

#include <string.h>

#include <hiredis/hiredis_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/memory.h"
#include "base/openssl.h"

struct cf_redis_tls {
    SSL_CTX *context;
    SSL *connection; /* hiredis' own: the latest */
};

/* Where libcurl has another TLS library, the core knows of no conflict. */
const char *cf_redis_tls_missing(void)
{
    const char *version = OpenSSL_version(OPENSSL_VERSION);

    return cf_openssl_problem(cf_openssl_library((void (*)(void))cf_redis_tls_missing),
                              version + strcspn(version, "0123456789"), "TLS to Redis", "");
}

/* The files of the URL, or the system's CAs. */
static const char *redis_tls_read_files(SSL_CTX *context, const struct cf_redis_url *url)
{
    if (url->ca_file ? SSL_CTX_load_verify_locations(context, url->ca_file, NULL) != 1
                     : SSL_CTX_set_default_verify_paths(context) != 1)
        return "ca_file cannot be read";
    if (url->cert_file && SSL_CTX_use_certificate_chain_file(context, url->cert_file) != 1)
        return "cert_file cannot be read";
    if (url->key_file && SSL_CTX_use_PrivateKey_file(context, url->key_file, SSL_FILETYPE_PEM) != 1)
        return "key_file cannot be read, or is not that of cert_file";
    return NULL;
}

static const char *redis_tls_open(struct redis *redis)
{
    const char *problem = "not enough memory";

    redis->tls = cf_zalloc(sizeof *redis->tls);
    if (redis->tls)
        redis->tls->context = SSL_CTX_new(TLS_client_method());
    if (redis->tls && redis->tls->context) {
        SSL_CTX_set_min_proto_version(redis->tls->context, TLS1_2_VERSION);
        SSL_CTX_set_verify(redis->tls->context, SSL_VERIFY_PEER, NULL);
        problem = redis_tls_read_files(redis->tls->context, &redis->url);
    }
    if (problem)
        cf_redis_tls_free(redis);
    return problem;
}

/* hiredis looks at the chain alone: whose certificate it is, is checked because of this. */
static bool redis_tls_expect(SSL *connection, const char *host)
{
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(connection), host) == 1)
        return true;
    SSL_set_hostflags(connection, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(connection, host) == 1 && SSL_set_tlsext_host_name(connection, host) == 1;
}

/* OpenSSL keeps the reason in the thread's queue, which hiredis empties when a handshake begins. */
static const char *redis_tls_why(const SSL *connection)
{
    long verified = SSL_get_verify_result(connection);
    unsigned long code = ERR_peek_last_error();

    return verified != X509_V_OK ? X509_verify_cert_error_string(verified)
           : code                ? ERR_reason_error_string(code)
                                 : NULL;
}

/* A handshake may fail in its first call already. */
const char *cf_redis_tls_begin(struct redis *redis)
{
    const char *problem = redis->tls ? NULL : redis_tls_open(redis);
    SSL *connection = problem ? NULL : SSL_new(redis->tls->context);

    if (problem)
        return problem;
    if (!connection || !redis_tls_expect(connection, redis->url.host)) {
        problem = "not enough memory";
    } else if (redisInitiateSSL(&redis->context->c, connection) != REDIS_OK) {
        problem = redis_tls_why(connection);
        problem = problem ? problem : "TLS cannot be set up";
    }
    if (problem)
        SSL_free(connection);
    else
        redis->tls->connection = connection;
    return problem;
}

const char *cf_redis_tls_problem(const struct redis *redis)
{
    return redis->tls && redis->state != REDIS_READY ? redis_tls_why(redis->tls->connection) : NULL;
}

void cf_redis_tls_free(struct redis *redis)
{
    if (redis->tls) {
        SSL_CTX_free(redis->tls->context);
        cf_free(redis->tls);
        redis->tls = NULL;
    }
}

#else

const char *cf_redis_tls_missing(void)
{
    return "this cfpurge was built without TLS to Redis (hiredis_ssl, in Debian from 13 on)";
}

const char *cf_redis_tls_begin(struct redis *redis)
{
    (void)redis;
    return cf_redis_tls_missing();
}

const char *cf_redis_tls_problem(const struct redis *redis)
{
    (void)redis;
    return NULL;
}

void cf_redis_tls_free(struct redis *redis)
{
    (void)redis;
}

#endif
