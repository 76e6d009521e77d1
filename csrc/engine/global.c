/* libcurl's state of the process. */
#include "engine/global.h"

#include <pthread.h>

#include "engine/libcurl.h"
#include "engine/tls.h"

static CURLcode curl_ready = CURLE_FAILED_INIT;

const curl_version_info_data *cf_libcurl_info(void)
{
    static _Atomic(const curl_version_info_data *) info;

    if (!info)
        info = curl_version_info(CURLVERSION_NOW);
    return info;
}

static void global_init(void)
{
    cf_libcurl_info();
    curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT);
    if (curl_ready == CURLE_OK)
        cf_tls_prepare();
}

bool cf_global_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, global_init);
    return curl_ready == CURLE_OK;
}

const char *cf_global_libcurl(void)
{
    return curl_version();
}
