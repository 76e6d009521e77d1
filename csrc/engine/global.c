/* libcurl's state of the process. */
#include "engine/global.h"

#include <pthread.h>

#include "engine/libcurl.h"
#include "engine/tls.h"

static const char *global_problem;

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
    global_problem = cf_tls_problem();
    if (!global_problem && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        global_problem = "curl_global_init failed";
    if (!global_problem)
        cf_tls_prepare();
}

const char *cf_global_problem(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, global_init);
    return global_problem;
}

const char *cf_global_libcurl(void)
{
    return curl_version();
}
