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

#endif
