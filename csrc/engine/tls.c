/* Which CA certificates a transfer trusts, found and read so that no connection stalls its host; and what else OpenSSL
 * is told.
 *
 * libcurl with OpenSSL parses the system's bundle for every connection while a CA directory is set too: 45 to 64 ms in
 * one call. A hashed directory alone costs 2 ms, once (libcurl-facts). Where there is only a bundle, the first
 * connection of the process parses it here, and its X509_STORE serves all later ones. */
#define _GNU_SOURCE
#include "engine/tls.h"

#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* For the specs: as if the system had no directory. */
#ifdef CF_TLS_BUNDLE_ONLY
static const bool bundle_only = true;
#else
static const bool bundle_only = false;
#endif

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const char *directory, *bundle;
static bool is_openssl;

/* OpenSSL's calls as libcurl's own OpenSSL has them: found at run time, for we are not linked with it. */
static struct {
    uint64_t (*set_options)(void *ctx, uint64_t options);
    long (*control)(void *ctx, int command, long number, void *pointer);
    void (*set_keylog_callback)(void *ctx, void (*callback)(const void *ssl, const char *line));
    void *(*get_cert_store)(const void *ctx);
    void (*set1_cert_store)(void *ctx, void *store);
    int (*load_verify_locations)(void *ctx, const char *file, const char *path);
    int (*up_ref)(void *store);
} openssl;
static _Atomic(void *) shared_store;

static bool tls_is_hashed(const char *path)
{
    DIR *dir = path ? opendir(path) : NULL;
    const struct dirent *entry;
    bool found = false;

    while (dir && !found && (entry = readdir(dir)))
        found = strspn(entry->d_name, "0123456789abcdef") == 8 && entry->d_name[8] == '.' && entry->d_name[9] >= '0' &&
                entry->d_name[9] <= '9';
    if (dir)
        closedir(dir);
    return found;
}

static void tls_resolve(void *libcurl, void *function, const char *name)
{
    void *symbol = libcurl ? dlsym(libcurl, name) : NULL;
    memcpy(function, &symbol, sizeof symbol);
}

/* OpenSSL fetches its algorithms when the first context is made: 3 ms that the first connection would have to bear. */
static void tls_warm_up(void *libcurl)
{
    const void *(*client_method)(void);
    void *(*new_context)(const void *method);
    void (*free_context)(void *ctx);
    void *ctx;

    tls_resolve(libcurl, &client_method, "TLS_client_method");
    tls_resolve(libcurl, &new_context, "SSL_CTX_new");
    tls_resolve(libcurl, &free_context, "SSL_CTX_free");
    if (client_method && new_context && free_context && (ctx = new_context(client_method())))
        free_context(ctx);
}

void *cf_tls_libcurl(void)
{
    const char *(*function)(CURLcode) = curl_easy_strerror;
    const void *address;
    Dl_info info;

    memcpy(&address, &function, sizeof address);
    return dladdr(address, &info) ? dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD) : NULL;
}

static void tls_look(void)
{
    const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);
    void *libcurl = cf_tls_libcurl();
    /* Other TLS libraries read the whole directory at every connection. */
    if (!info->ssl_version || !(strstr(info->ssl_version, "OpenSSL") || strstr(info->ssl_version, "LibreSSL")))
        return;
    tls_warm_up(libcurl);
    is_openssl = true;
    tls_resolve(libcurl, &openssl.set_options, "SSL_CTX_set_options");
    tls_resolve(libcurl, &openssl.control, "SSL_CTX_ctrl");
    tls_resolve(libcurl, &openssl.set_keylog_callback, "SSL_CTX_set_keylog_callback");
#ifdef CF_HAVE_CA_PATHS
    if (info->age >= CURLVERSION_SEVENTH) {
        if (!bundle_only && tls_is_hashed(info->capath)) {
            directory = info->capath;
            return;
        }
        bundle = info->cainfo;
    }
#endif
    tls_resolve(libcurl, &openssl.get_cert_store, "SSL_CTX_get_cert_store");
    tls_resolve(libcurl, &openssl.set1_cert_store, "SSL_CTX_set1_cert_store");
    tls_resolve(libcurl, &openssl.load_verify_locations, "SSL_CTX_load_verify_locations");
    tls_resolve(libcurl, &openssl.up_ref, "X509_STORE_up_ref");
    if (!openssl.get_cert_store || !openssl.set1_cert_store || !openssl.load_verify_locations || !openssl.up_ref)
        bundle = NULL;
}

/* Each of these runs in every connection, before a store is asked. */

/* Whoever can set SSLKEYLOGFILE for us is not to read the credential off the wire with what libcurl would write there;
 * and what was decrypted does not stay in OpenSSL's buffers: kept as long as the connection, of them no more is wiped
 * than was used, where all 17 KB would be after every record (a sixth of a purge's instructions). */
static CURLcode tls_guard(CURL *easy, void *ctx, void *unused)
{
    static const uint64_t cleanse_plaintext = 2;      /* SSL_OP_CLEANSE_PLAINTEXT, of 3.0 and newer; nothing before */
    enum { CLEAR_MODE = 78, RELEASE_BUFFERS = 0x10 }; /* SSL_CTRL_CLEAR_MODE, SSL_MODE_RELEASE_BUFFERS */
    (void)easy, (void)unused;

    if (openssl.set_options)
        openssl.set_options(ctx, cleanse_plaintext);
    if (openssl.control)
        openssl.control(ctx, CLEAR_MODE, RELEASE_BUFFERS, NULL);
    if (openssl.set_keylog_callback)
        openssl.set_keylog_callback(ctx, NULL);
    return CURLE_OK;
}

/* Only a store that is whole is shared: a thread that comes meanwhile
 * waits for it, instead of trusting nobody. */
static CURLcode tls_share_store(CURL *easy, void *ctx, void *unused)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    CURLcode code = CURLE_OK;
    void *store;

    tls_guard(easy, ctx, unused);
    if (!shared_store) {
        pthread_mutex_lock(&lock);
        if (!shared_store) {
            if (!openssl.load_verify_locations(ctx, bundle, NULL))
                code = CURLE_SSL_CACERT_BADFILE;
            else if ((store = openssl.get_cert_store(ctx)) && openssl.up_ref(store))
                shared_store = store;
        }
        pthread_mutex_unlock(&lock);
    }
    if (shared_store)
        openssl.set1_cert_store(ctx, shared_store);
    return code;
}

/* A private CA stands beside the bundle, which is then parsed for each connection. */
static CURLcode tls_add_bundle(CURL *easy, void *ctx, void *unused)
{
    openssl.load_verify_locations(ctx, bundle, NULL);
    return tls_guard(easy, ctx, unused);
}

static CURLcode tls_set_paths(CURL *easy, const char *file, const char *path)
{
    CURLcode code = curl_easy_setopt(easy, CURLOPT_CAINFO, file);
    /* Not every libcurl speaks TLS to a proxy; one that does not needs no certificates for it. */
    curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, file);
    curl_easy_setopt(easy, CURLOPT_PROXY_CAPATH, path);
    return code != CURLE_OK ? code : curl_easy_setopt(easy, CURLOPT_CAPATH, path);
}

void cf_tls_prepare(void)
{
    pthread_once(&once, tls_look);
}

CURLcode cf_tls_apply(CURL *easy, const char *ca_file)
{
    curl_ssl_ctx_callback hook;
    CURLcode code = CURLE_OK;

    cf_tls_prepare();
    hook = is_openssl ? tls_guard : NULL;
    if (directory) {
        code = tls_set_paths(easy, ca_file, directory);
    } else if (bundle) {
        code = tls_set_paths(easy, ca_file, NULL);
        hook = ca_file ? tls_add_bundle : tls_share_store;
    } else if (ca_file) {
        code = curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file);
    }
    return code != CURLE_OK || !hook ? code : curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, hook);
}
