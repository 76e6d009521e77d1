/* Preloaded before libcurl: of the calls that libcurl may refuse, the one fails whose number SPEC_FAIL says; a new
 * number starts the count again. SPEC_FAILED then names the one that did: the function, and an option's number.
 * SPEC_CODE is what a refused option of an easy handle returns; without it memory is short.
 *
 * With SPEC_WITHOUT it is as a libcurl that was built without HTTP/2, and where that is "tls", without TLS too: it says
 * so, and refuses what such a one refuses. SPEC_VERSION is the version that it says it has, as 0x081700. */
#define _GNU_SOURCE
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#undef curl_easy_setopt
#undef curl_multi_setopt
#undef curl_share_setopt

/* libcurl comes with a module that Lua loads, in a scope that RTLD_NEXT does not see. */
static void find(const char *name, void *function)
{
    static void *libcurl;
    void *symbol;

    if (!libcurl)
        libcurl = dlopen("libcurl.so.4", RTLD_LAZY);
    symbol = dlsym(libcurl, name);
    memcpy(function, &symbol, sizeof symbol);
}

static int fails(const char *name, int option)
{
    static char number[16];
    static int calls;
    const char *now = getenv("SPEC_FAIL");
    char text[64];

    if (!now || strlen(now) >= sizeof number)
        return 0;
    if (strcmp(now, number) != 0) {
        strcpy(number, now);
        calls = 0;
    }
    if (++calls != atoi(number))
        return 0;
    snprintf(text, sizeof text, "%s %d", name, option);
    setenv("SPEC_FAILED", text, 1);
    return 1;
}

static CURLcode code(void)
{
    const char *given = getenv("SPEC_CODE");
    return given ? (CURLcode)atoi(given) : CURLE_OUT_OF_MEMORY;
}

static int lacks_tls(void)
{
    const char *without = getenv("SPEC_WITHOUT");
    return without && strcmp(without, "tls") == 0;
}

curl_version_info_data *curl_version_info(CURLversion age)
{
    static curl_version_info_data info;
    curl_version_info_data *(*real)(CURLversion);

    find("curl_version_info", &real);
    info = *real(age);
    if (getenv("SPEC_VERSION"))
        info.version_num = (unsigned)strtoul(getenv("SPEC_VERSION"), NULL, 0);
    if (getenv("SPEC_WITHOUT"))
        info.features &= ~CURL_VERSION_HTTP2;
    if (lacks_tls()) {
        info.features &= ~CURL_VERSION_SSL;
        info.ssl_version = NULL;
    }
    return &info;
}

/* How an option ends in a libcurl that was built without what SPEC_WITHOUT says. */
static CURLcode built(CURLoption option, const void *value)
{
    switch (option) {
    case CURLOPT_HTTP_VERSION:
        return getenv("SPEC_WITHOUT") && (long)value >= CURL_HTTP_VERSION_2_0 ? CURLE_UNSUPPORTED_PROTOCOL : CURLE_OK;
    case CURLOPT_PROTOCOLS_STR:
    case CURLOPT_REDIR_PROTOCOLS_STR:
        return lacks_tls() && strstr(value, "https") ? CURLE_UNSUPPORTED_PROTOCOL : CURLE_OK;
    case CURLOPT_CAPATH:
    case CURLOPT_CAINFO_BLOB:
    case CURLOPT_SSL_CTX_FUNCTION:
        return lacks_tls() ? CURLE_NOT_BUILT_IN : CURLE_OK;
    default:
        return CURLE_OK;
    }
}

/* A pointer and a long are of one size on the systems of the specs; a curl_off_t may be longer. */
CURLcode curl_easy_setopt(CURL *easy, CURLoption option, ...)
{
    int is_longer = option >= CURLOPTTYPE_OFF_T && option < CURLOPTTYPE_BLOB;
    CURLcode (*real)(CURL *, CURLoption, ...), refusal;
    curl_off_t number = 0;
    void *value = NULL;
    va_list arguments;

    va_start(arguments, option);
    if (is_longer)
        number = va_arg(arguments, curl_off_t);
    else
        value = va_arg(arguments, void *);
    va_end(arguments);
    find("curl_easy_setopt", &real);
    refusal = fails("curl_easy_setopt", (int)option) ? code() : built(option, value);
    if (refusal != CURLE_OK)
        return refusal;
    return is_longer ? real(easy, option, number) : real(easy, option, value);
}

CURLMcode curl_multi_setopt(CURLM *multi, CURLMoption option, ...)
{
    CURLMcode (*real)(CURLM *, CURLMoption, ...);
    va_list arguments;
    void *value;

    va_start(arguments, option);
    value = va_arg(arguments, void *);
    va_end(arguments);
    find("curl_multi_setopt", &real);
    return fails("curl_multi_setopt", (int)option) ? CURLM_OUT_OF_MEMORY : real(multi, option, value);
}

CURLSHcode curl_share_setopt(CURLSH *share, CURLSHoption option, ...)
{
    CURLSHcode (*real)(CURLSH *, CURLSHoption, ...);
    va_list arguments;
    void *value;

    va_start(arguments, option);
    value = va_arg(arguments, void *);
    va_end(arguments);
    find("curl_share_setopt", &real);
    if (fails("curl_share_setopt", (int)option))
        return CURLSHE_NOMEM;
    return lacks_tls() && (long)value == CURL_LOCK_DATA_SSL_SESSION ? CURLSHE_NOT_BUILT_IN : real(share, option, value);
}

#define MAKE(type, function) \
    type *function(void) \
    { \
        type *(*real)(void); \
        find(#function, &real); \
        return fails(#function, 0) ? NULL : real(); \
    }

MAKE(CURL, curl_easy_init)
MAKE(CURLM, curl_multi_init)
MAKE(CURLSH, curl_share_init)
MAKE(CURLU, curl_url)

CURLMcode curl_multi_add_handle(CURLM *multi, CURL *easy)
{
    CURLMcode (*real)(CURLM *, CURL *);
    find("curl_multi_add_handle", &real);
    return fails("curl_multi_add_handle", 0) ? CURLM_OUT_OF_MEMORY : real(multi, easy);
}

CURLMcode curl_multi_socket_action(CURLM *multi, curl_socket_t fd, int what, int *running)
{
    CURLMcode (*real)(CURLM *, curl_socket_t, int, int *);
    find("curl_multi_socket_action", &real);
    return fails("curl_multi_socket_action", 0) ? CURLM_OUT_OF_MEMORY : real(multi, fd, what, running);
}

CURLUcode curl_url_set(CURLU *url, CURLUPart part, const char *text, unsigned int flags)
{
    CURLUcode (*real)(CURLU *, CURLUPart, const char *, unsigned int);
    find("curl_url_set", &real);
    if (fails("curl_url_set", (int)part))
        return CURLUE_OUT_OF_MEMORY;
    return lacks_tls() && part == CURLUPART_URL && strncmp(text, "https:", 6) == 0 &&
                   !(flags & CURLU_NON_SUPPORT_SCHEME)
               ? CURLUE_UNSUPPORTED_SCHEME
               : real(url, part, text, flags);
}
