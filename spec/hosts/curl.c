/* Preloaded before libcurl: counts curl_global_init, and lets a spec say what "the system's CA certificates" are, by
 * SPEC_CAINFO and SPEC_CAPATH (empty: there is none), and which TLS libraries libcurl names, by SPEC_SSL_VERSION. */
#define _GNU_SOURCE
#include <curl/curl.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

int spec_global_inits;

/* libcurl comes with a module that Lua loads, in a scope that RTLD_NEXT does not see. */
static void *real(const char *name)
{
    void *gnutls = dlopen("libcurl-gnutls.so.4", RTLD_LAZY | RTLD_NOLOAD);

    return dlsym(gnutls ? gnutls : dlopen("libcurl.so.4", RTLD_LAZY), name);
}

CURLcode curl_global_init(long flags)
{
    CURLcode (*init)(long);
    void *symbol = real("curl_global_init");

    memcpy(&init, &symbol, sizeof init);
    __atomic_add_fetch(&spec_global_inits, 1, __ATOMIC_SEQ_CST);
    return init(flags);
}

curl_version_info_data *curl_version_info(CURLversion version)
{
    static curl_version_info_data data;
    curl_version_info_data *(*info)(CURLversion);
    void *symbol = real("curl_version_info");
    const char *cainfo = getenv("SPEC_CAINFO"), *capath = getenv("SPEC_CAPATH"), *ssl = getenv("SPEC_SSL_VERSION");

    memcpy(&info, &symbol, sizeof info);
    data = *info(version);
    if (cainfo)
        data.cainfo = *cainfo ? cainfo : NULL;
    if (capath)
        data.capath = *capath ? capath : NULL;
    if (ssl)
        data.ssl_version = ssl;
    return &data;
}
