/* Which CA certificates a transfer trusts, found and read so that no connection stalls its host.
 *
 * With OpenSSL, libcurl parses the system's bundle for every connection while a CA directory is set too: 45 to 64 ms in
 * one call. A hashed directory alone costs 2 ms, once. Where the system has only a bundle, the first connection of the
 * process parses it here, and all later ones share its X509_STORE. Other TLS libraries read a whole directory for every
 * connection: for them libcurl's own choice stands. */
#define _GNU_SOURCE 1
#include "engine/tls.h"

#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "base/openssl.h"

/* The specs build it as if the system had no directory. */
#ifdef CF_TLS_BUNDLE_ONLY
static const bool tls_bundle_only = true;
#else
static const bool tls_bundle_only = false;
#endif

/* One of them at most is set, before the first connection. NULL, NULL: libcurl chooses. */
static const char *tls_directory, *tls_bundle;

/* The functions of the OpenSSL that libcurl is linked with. We are not linked with it, and the host may have another
 * one: they are found through libcurl. */
static struct {
    void *(*get_cert_store)(const void *ctx);
    void (*set1_cert_store)(void *ctx, void *store);
    int (*load_verify_locations)(void *ctx, const char *file, const char *path);
    int (*up_ref)(void *store);
    void (*get_protocol)(const void *ssl, const unsigned char **name, unsigned *len);
} tls_openssl;
/* The one of the GnuTLS that libcurl is linked with. 0: there is a protocol. */
struct tls_datum {
    const unsigned char *data;
    unsigned size;
};
static int (*tls_gnutls_get_protocol)(const void *session, struct tls_datum *name);
/* Whose connections can be asked; CURLSSLBACKEND_NONE: another library's. */
static curl_sslbackend tls_library;
/* It is not OpenSSL, whose configuration says which versions of TLS are too old: libcurl allows all to the others. */
static bool tls_is_other;
static _Atomic(void *) tls_shared_store;

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

/* Makes a context, does with it what `use` does, and frees it. OpenSSL fetches its algorithms when the first one is
 * made. That takes 3 ms, which the first connection would have to bear. */
static void tls_with_context(void *libcurl, void (*use)(void *ctx))
{
    const void *(*client_method)(void);
    void *(*new_context)(const void *method);
    void (*free_context)(void *ctx);
    void *ctx;

    tls_resolve(libcurl, &client_method, "TLS_client_method");
    tls_resolve(libcurl, &new_context, "SSL_CTX_new");
    tls_resolve(libcurl, &free_context, "SSL_CTX_free");
    if (client_method && new_context && free_context && (ctx = new_context(client_method()))) {
        if (use)
            use(ctx);
        free_context(ctx);
    }
}

/* The version of the TLS library that libcurl uses, where it is of this name: "3.0.9" of "OpenSSL". NULL: another one.
 * A libcurl with several names all of them, and puts those that it does not use in parentheses:
 * "(OpenSSL/3.0.9) wolfSSL/5.6.0". */
static const char *tls_version_of(const char *name)
{
    const char *version = cf_libcurl_info()->ssl_version;
    size_t len = strlen(name);

    while (version && *version == '(') {
        version += strcspn(version, " ");
        version += strspn(version, " ");
    }
    return version && strncmp(version, name, len) == 0 && version[len] == '/' ? version + len + 1 : NULL;
}

static const char *tls_openssl_version(void)
{
    const char *version = tls_version_of("OpenSSL");
    return version ? version : tls_version_of("LibreSSL");
}

static bool tls_can_share(void *libcurl)
{
    tls_resolve(libcurl, &tls_openssl.get_cert_store, "SSL_CTX_get_cert_store");
    tls_resolve(libcurl, &tls_openssl.set1_cert_store, "SSL_CTX_set1_cert_store");
    tls_resolve(libcurl, &tls_openssl.load_verify_locations, "SSL_CTX_load_verify_locations");
    tls_resolve(libcurl, &tls_openssl.up_ref, "X509_STORE_up_ref");
    return tls_openssl.get_cert_store && tls_openssl.set1_cert_store && tls_openssl.load_verify_locations &&
           tls_openssl.up_ref;
}

static void tls_look(void)
{
    const curl_version_info_data *info = cf_libcurl_info();
    void *libcurl = cf_openssl_library((void (*)(void))curl_easy_strerror);

    if (tls_version_of("GnuTLS")) {
        tls_resolve(libcurl, &tls_gnutls_get_protocol, "gnutls_alpn_get_selected_protocol");
        tls_library = tls_gnutls_get_protocol ? CURLSSLBACKEND_GNUTLS : CURLSSLBACKEND_NONE;
    }
    tls_is_other = !tls_openssl_version();
    if (tls_is_other)
        return;
    tls_with_context(libcurl, NULL);
    tls_resolve(libcurl, &tls_openssl.get_protocol, "SSL_get0_alpn_selected");
    tls_library = tls_openssl.get_protocol ? CURLSSLBACKEND_OPENSSL : CURLSSLBACKEND_NONE;
#ifdef CF_HAVE_CA_PATHS
    if (info->age >= CURLVERSION_SEVENTH) {
        if (!tls_bundle_only && tls_is_hashed(info->capath)) {
            tls_directory = info->capath;
            return;
        }
        tls_bundle = info->cainfo;
    }
#endif
    if (!tls_can_share(libcurl))
        tls_bundle = NULL;
}

/* libcurl calls one of these two for every connection, before OpenSSL asks a store. */

/* Only a store that is whole is shared. A thread that comes while it is read waits for it: an empty one would trust
 * nobody. */
static CURLcode tls_read_store(void *ctx, const char *file)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    CURLcode code = CURLE_OK;
    void *store;

    pthread_mutex_lock(&lock);
    if (!tls_shared_store) {
        if (!tls_openssl.load_verify_locations(ctx, file, NULL))
            code = CURLE_SSL_CACERT_BADFILE;
        else if ((store = tls_openssl.get_cert_store(ctx)) && tls_openssl.up_ref(store))
            tls_shared_store = store;
    }
    pthread_mutex_unlock(&lock);
    return code;
}

static CURLcode tls_share_store(CURL *easy, void *ctx, void *unused)
{
    CURLcode code = tls_shared_store ? CURLE_OK : tls_read_store(ctx, tls_bundle);
    (void)easy, (void)unused;

    if (tls_shared_store)
        tls_openssl.set1_cert_store(ctx, tls_shared_store);
    return code;
}

/* A private CA stands beside the bundle, which is then parsed for each connection. */
static CURLcode tls_add_bundle(CURL *easy, void *ctx, void *unused)
{
    (void)easy, (void)unused;
    tls_openssl.load_verify_locations(ctx, tls_bundle, NULL);
    return CURLE_OK;
}

/* The CAs of an option; NULL for none. Not every libcurl speaks TLS to a proxy: one that does not needs none for it.
 * Not every TLS library takes them from memory: libcurl reads the file for such a one. */
static CURLcode tls_set_ca(CURL *easy, const struct cf_ca *ca)
{
#ifdef CF_HAVE_CA_BLOB
    if (ca && cf_libcurl_is_since(0x074D00)) {
        struct curl_blob blob = {ca->pem, ca->len, CURL_BLOB_NOCOPY};
        CURLcode code = curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob);
        if (code != CURLE_NOT_BUILT_IN) {
            curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO_BLOB, &blob);
            return code;
        }
    }
#endif
    curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, ca ? ca->path : NULL);
    return curl_easy_setopt(easy, CURLOPT_CAINFO, ca ? ca->path : NULL);
}

static CURLcode tls_set_places(CURL *easy, const struct cf_ca *ca, const char *path)
{
    CURLcode code = tls_set_ca(easy, NULL);

    if (code == CURLE_OK && ca)
        code = tls_set_ca(easy, ca);
    curl_easy_setopt(easy, CURLOPT_PROXY_CAPATH, path);
    return code != CURLE_OK ? code : curl_easy_setopt(easy, CURLOPT_CAPATH, path);
}

const char *cf_tls_problem(void)
{
    const char *version = tls_openssl_version();

    return version ? cf_openssl_problem(cf_openssl_library((void (*)(void))curl_easy_strerror), version, "libcurl",
                                        ", or cfpurge with a libcurl that has no shared OpenSSL")
                   : NULL;
}

void cf_tls_prepare(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, tls_look);
}

static void tls_read_bundle(void *ctx)
{
#ifdef CF_HAVE_CA_PATHS
    const curl_version_info_data *info = cf_libcurl_info();

    if (info->age >= CURLVERSION_SEVENTH && info->cainfo)
        (void)tls_read_store(ctx, info->cainfo);
#endif
    (void)ctx;
}

void cf_tls_read_bundle(void)
{
    void *libcurl = cf_openssl_library((void (*)(void))curl_easy_strerror);

    cf_tls_prepare();
    if (!tls_is_other && tls_can_share(libcurl))
        tls_with_context(libcurl, tls_read_bundle);
}

CURLcode cf_tls_apply(CURL *easy, const struct cf_ca *ca)
{
    CURLcode code = CURLE_OK;

    cf_tls_prepare();
    if (!cf_libcurl_has(CURL_VERSION_SSL))
        return CURLE_OK;
    if (tls_directory && (ca || !tls_shared_store))
        return tls_set_places(easy, ca, tls_directory);
    if (tls_is_other) {
        curl_easy_setopt(easy, CURLOPT_PROXY_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
        code = curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
        if (code != CURLE_OK && code != CURLE_NOT_BUILT_IN)
            return code;
    }
    if (!tls_bundle && !tls_shared_store)
        return ca ? tls_set_ca(easy, ca) : CURLE_OK;
    code = tls_set_places(easy, ca, NULL);
    return code != CURLE_OK ? code
                            : curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, ca ? tls_add_bundle : tls_share_store);
}

bool cf_tls_may_stream(void)
{
    cf_tls_prepare();
    if (!cf_libcurl_has(CURL_VERSION_HTTP2))
        return false;
    return !cf_libcurl_mixes_answers() || (tls_library != CURLSSLBACKEND_NONE && cf_libcurl_asks_before_sending());
}

const void *cf_tls_of(CURL *easy)
{
    struct curl_tlssessioninfo *info = NULL;

    if (tls_library == CURLSSLBACKEND_NONE || curl_easy_getinfo(easy, CURLINFO_TLS_SSL_PTR, &info) != CURLE_OK ||
        !info || info->backend != tls_library)
        return NULL;
    return info->internals;
}

enum cf_tls_protocol cf_tls_protocol(const void *connection)
{
    struct tls_datum name = {NULL, 0};

    if (!connection)
        return CF_TLS_UNKNOWN;
    if (tls_library == CURLSSLBACKEND_OPENSSL)
        tls_openssl.get_protocol(connection, &name.data, &name.size);
    else if (tls_gnutls_get_protocol(connection, &name) != 0)
        name.size = 0;
    return name.size == 2 && memcmp(name.data, "h2", 2) == 0 ? CF_TLS_HTTP2 : CF_TLS_OTHER;
}
