/* The oldest libcurl that serves, and every difference between versions of it. */
#ifndef CFPURGE_LIBCURL_H
#define CFPURGE_LIBCURL_H

#include <curl/curl.h>

/* 7.62.0 brought curl_url, which checks base_url with the parser that will send it.
 * https://curl.se/libcurl/c/symbols-in-versions.html */
#if LIBCURL_VERSION_NUM < 0x073E00
#error "cfpurge needs libcurl 7.62.0 or newer"
#endif

/* 7.67: how many streams we allow ourselves on one HTTP/2 connection. */
#if LIBCURL_VERSION_NUM >= 0x074300
#define CF_HAVE_MAX_CONCURRENT_STREAMS 1
#endif

/* 7.85 replaced the protocol bit masks by names and deprecated the masks. */
#if LIBCURL_VERSION_NUM >= 0x075500
#define CF_HAVE_PROTOCOLS_STR 1
#endif

/* 7.87: a time-out or cancel does not join a resolver thread that still looks a name up. */
#if LIBCURL_VERSION_NUM >= 0x075700
#define CF_HAVE_QUICK_EXIT 1
#endif

/* 7.70 tells where libcurl was built to look for CA certificates. */
#if LIBCURL_VERSION_NUM >= 0x074600
#define CF_HAVE_CA_PATHS 1
#endif

/* NULL, or how the running libcurl blocks its caller while a name is looked up. */
static inline const char *cf_libcurl_resolver_problem(void)
{
    const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);

    if (!(info->features & CURL_VERSION_ASYNCHDNS))
        return "this libcurl looks names up in the thread that calls it: a slow name server stops the host";
#ifdef CF_HAVE_QUICK_EXIT
    if (info->version_num >= 0x075700)
        return NULL;
#endif
    /* c-ares has no thread that could be waited for. */
    return info->ares
               ? NULL
               : "this libcurl waits for a name look-up to end before a time-out, cancel or close takes effect: 7.87 "
                 "or newer does not";
}

#endif
