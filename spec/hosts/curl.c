/* Preloaded before libcurl: counts curl_global_init_mem, and lets a spec say what "the system's CA certificates" are, by
 * SPEC_CAINFO and SPEC_CAPATH (empty: there is none). */
#define _GNU_SOURCE
#include <curl/curl.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

int spec_global_inits;

/* libcurl comes with a module that Lua loads, in a scope that RTLD_NEXT does not see. */
static void *real(const char *name)
{
    return dlsym(dlopen("libcurl.so.4", RTLD_LAZY), name);
}

CURLcode curl_global_init_mem(long flags, curl_malloc_callback allocate, curl_free_callback release,
                              curl_realloc_callback reallocate, curl_strdup_callback copy, curl_calloc_callback zeros)
{
    CURLcode (*init)(long, curl_malloc_callback, curl_free_callback, curl_realloc_callback, curl_strdup_callback,
                     curl_calloc_callback);
    void *symbol = real("curl_global_init_mem");

    memcpy(&init, &symbol, sizeof init);
    __atomic_add_fetch(&spec_global_inits, 1, __ATOMIC_SEQ_CST);
    return init(flags, allocate, release, reallocate, copy, zeros);
}

curl_version_info_data *curl_version_info(CURLversion version)
{
    static curl_version_info_data data;
    curl_version_info_data *(*info)(CURLversion);
    void *symbol = real("curl_version_info");
    const char *cainfo = getenv("SPEC_CAINFO"), *capath = getenv("SPEC_CAPATH");

    memcpy(&info, &symbol, sizeof info);
    data = *info(version);
    if (cainfo)
        data.cainfo = *cainfo ? cainfo : NULL;
    if (capath)
        data.capath = *capath ? capath : NULL;
    return &data;
}
