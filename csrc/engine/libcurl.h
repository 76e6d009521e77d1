/* The oldest libcurl that serves, and every difference between versions of it. */
#ifndef CFPURGE_LIBCURL_H
#define CFPURGE_LIBCURL_H

#include <stdbool.h>

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

/* 8.20: a multi handle has the resolver's threads, and its cleaning up joins them where this is not set. A number: the
 * running libcurl may be newer than its headers were. An older one refuses it. */
#define CF_CURLMOPT_QUICK_EXIT ((CURLMoption)21)

/* 7.65: how long a connection may have been idle that is used again. */
#if LIBCURL_VERSION_NUM >= 0x074100
#define CF_HAVE_MAXAGE 1
#endif

/* 7.70 tells where libcurl was built to look for CA certificates. */
#if LIBCURL_VERSION_NUM >= 0x074600
#define CF_HAVE_CA_PATHS 1
#endif

/* 7.77 takes CA certificates from memory. */
#if LIBCURL_VERSION_NUM >= 0x074D00
#define CF_HAVE_CA_BLOB 1
#endif

/* 7.80: a callback that is asked before each sending. */
#if LIBCURL_VERSION_NUM >= 0x075000 && !defined(CF_NO_PREREQ)
#define CF_HAVE_PREREQ 1
#endif

/* 7.73 tells why a proxy refused. */
#if LIBCURL_VERSION_NUM >= 0x074900
#define CF_HAVE_PROXY_ERROR 1
#endif

/* What the running libcurl is. It is asked once, by cf_global_init: curl_version_info writes the names of all its
 * libraries anew with each call, where another thread may read them. */
const curl_version_info_data *cf_libcurl_info(void);

/* Does the running libcurl have this version or a newer one? */
static inline bool cf_libcurl_is_since(unsigned version)
{
    return cf_libcurl_info()->version_num >= version;
}

/* Was the running libcurl built with this, one of CURL_VERSION_SSL and its kind? */
static inline bool cf_libcurl_has(int feature)
{
    return (cf_libcurl_info()->features & feature) != 0;
}

/* The names of the protocols that we speak: libcurl refuses those that it was built without. */
static inline const char *cf_libcurl_protocols(void)
{
    return cf_libcurl_has(CURL_VERSION_SSL) ? "http,https" : "http";
}

/* The running libcurl calls CURLOPT_PREREQFUNCTION. */
static inline bool cf_libcurl_asks_before_sending(void)
{
#ifdef CF_HAVE_PREREQ
    return cf_libcurl_is_since(0x075000);
#else
    return false;
#endif
}

/* The running libcurl may give an HTTP/1.1 connection that is busy to a second request (sending_is_shared says why). */
static inline bool cf_libcurl_mixes_answers(void)
{
    return !cf_libcurl_is_since(0x080500);
}

/* Up to 8.14 libcurl sends a request again without a word where a server has refused its stream, and nowhere else. 8.23
 * also does where an HTTP/2 connection ends; versions between them were not run. */
static inline bool cf_libcurl_tells_refused_streams(void)
{
    return !cf_libcurl_is_since(0x080F00);
}

/* 8.23 puts requests on a connection before its server has said how many streams it allows, up to our own limit. 8.14
 * was not seen to; versions between them were not run. */
static inline bool cf_libcurl_fills_connections(void)
{
    return cf_libcurl_is_since(0x080F00);
}

/* From 8.22 on libcurl does not look whether a connection still lives that it looked at within the last second. */
static inline bool cf_libcurl_trusts_connections(void)
{
    return cf_libcurl_is_since(0x081501);
}

/* From 7.87 on every send carries MSG_NOSIGNAL. */
static inline bool cf_libcurl_may_raise_sigpipe(void)
{
#ifdef CF_SIGPIPE_ALWAYS
    return true;
#else
    return !cf_libcurl_is_since(0x075700);
#endif
}

/* NULL, or how the running libcurl blocks its caller while a name is looked up. */
static inline const char *cf_libcurl_resolver_problem(void)
{
    const curl_version_info_data *info = cf_libcurl_info();

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
