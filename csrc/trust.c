/* Which CA certificates a transfer trusts, found and read so that no connection stalls its host.
 *
 * libcurl with OpenSSL parses the system's bundle for every connection while a CA directory is set too: 45 to 64 ms in one
 * call. A hashed directory alone costs 2 ms, once (libcurl-facts). Where there is only a bundle, the first connection of
 * the process parses it, and its X509_STORE serves all later ones. */
#define _GNU_SOURCE
#include "trust.h"

#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const char *directory, *bundle;

/* OpenSSL's calls as libcurl's own OpenSSL has them: found at run time, for we are not linked with it. */
static struct {
    void *(*get_cert_store)(const void *ctx);
    void (*set1_cert_store)(void *ctx, void *store);
    int (*load_verify_locations)(void *ctx, const char *file, const char *path);
    int (*up_ref)(void *store);
    void (*free)(void *store);
} openssl;
static _Atomic(void *) shared_store;

static bool is_hashed(const char *path)
{
    DIR *dir = path ? opendir(path) : NULL;
    const struct dirent *entry;
    bool found = false;

    while (dir && !found && (entry = readdir(dir)))
        found = strspn(entry->d_name, "0123456789abcdef") == 8 && entry->d_name[8] == '.' &&
                entry->d_name[9] >= '0' && entry->d_name[9] <= '9';
    if (dir)
        closedir(dir);
    return found;
}

static void resolve(void *function, const char *name)
{
    void *symbol = dlsym(RTLD_DEFAULT, name);
    memcpy(function, &symbol, sizeof symbol);
}

static void look(void)
{
    const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);
    /* Other TLS libraries read the whole directory at every connection. */
    if (!info->ssl_version || !(strstr(info->ssl_version, "OpenSSL") || strstr(info->ssl_version, "LibreSSL")))
        return;
#ifdef CF_HAVE_CA_PATHS
    if (info->age >= CURLVERSION_SEVENTH) {
#ifndef CF_TRUST_BUNDLE_ONLY
        if (is_hashed(info->capath)) {
            directory = info->capath;
            return;
        }
#endif
        bundle = info->cainfo;
    }
#endif
    resolve(&openssl.get_cert_store, "SSL_CTX_get_cert_store");
    resolve(&openssl.set1_cert_store, "SSL_CTX_set1_cert_store");
    resolve(&openssl.load_verify_locations, "SSL_CTX_load_verify_locations");
    resolve(&openssl.up_ref, "X509_STORE_up_ref");
    resolve(&openssl.free, "X509_STORE_free");
    if (!openssl.get_cert_store || !openssl.set1_cert_store || !openssl.load_verify_locations ||
        !openssl.up_ref || !openssl.free)
        bundle = NULL;
}

/* Runs in the first connections, after libcurl has parsed the bundle into their store. */
static CURLcode keep_store(CURL *easy, void *ctx, void *unused)
{
    void *store = openssl.get_cert_store(ctx), *none = NULL;
    (void)easy, (void)unused;
    if (store && openssl.up_ref(store) && !atomic_compare_exchange_strong(&shared_store, &none, store))
        openssl.free(store);
    return CURLE_OK;
}

static CURLcode use_store(CURL *easy, void *ctx, void *store)
{
    (void)easy;
    openssl.set1_cert_store(ctx, store);
    return CURLE_OK;
}

/* A private CA stands beside the bundle, which is then parsed for each connection. */
static CURLcode add_bundle(CURL *easy, void *ctx, void *unused)
{
    (void)easy, (void)unused;
    openssl.load_verify_locations(ctx, bundle, NULL);
    return CURLE_OK;
}

static CURLcode set_hook(CURL *easy, curl_ssl_ctx_callback hook, void *data)
{
    CURLcode code = curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, hook);
    return code != CURLE_OK ? code : curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, data);
}

static CURLcode set_paths(CURL *easy, const char *file, const char *path)
{
    CURLcode code = curl_easy_setopt(easy, CURLOPT_CAINFO, file);
    /* Not every libcurl speaks TLS to a proxy; one that does not needs no certificates for it. */
    curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, file);
    curl_easy_setopt(easy, CURLOPT_PROXY_CAPATH, path);
    return code != CURLE_OK ? code : curl_easy_setopt(easy, CURLOPT_CAPATH, path);
}

CURLcode cf_trust_apply(CURL *easy, const char *ca_file)
{
    void *store = shared_store;
    CURLcode code;

    pthread_once(&once, look);
    if (directory)
        return set_paths(easy, ca_file, directory);
    if (!bundle)
        return ca_file ? curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file) : CURLE_OK;
    code = set_paths(easy, ca_file ? ca_file : store ? NULL : bundle, NULL);
    if (code != CURLE_OK)
        return code;
    return set_hook(easy, ca_file ? add_bundle : store ? use_store : keep_store, store);
}
