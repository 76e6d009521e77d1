/* Preloaded before libcurl: of the calls that libcurl may refuse, the one fails whose number SPEC_FAIL says; a new number
 * starts the count again. SPEC_FAILED then names the one that did: the function, and an option's number. SPEC_CODE is what a
 * refused option of an easy handle returns; without it memory is short. */
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

/* A pointer, a long and a curl_off_t are all of one size on the systems of the specs. */
#define SETOPT(type, function, option_type, result, failure)             \
    result function(type *handle, option_type option, ...)               \
    {                                                                    \
        result (*real)(type *, option_type, ...);                        \
        va_list arguments;                                               \
        void *value;                                                     \
        va_start(arguments, option);                                     \
        value = va_arg(arguments, void *);                               \
        va_end(arguments);                                               \
        find(#function, &real);                                          \
        return fails(#function, (int)option) ? failure : real(handle, option, value); \
    }

static CURLcode code(void)
{
    const char *given = getenv("SPEC_CODE");
    return given ? (CURLcode)atoi(given) : CURLE_OUT_OF_MEMORY;
}

SETOPT(CURL, curl_easy_setopt, CURLoption, CURLcode, code())
SETOPT(CURLM, curl_multi_setopt, CURLMoption, CURLMcode, CURLM_OUT_OF_MEMORY)
SETOPT(CURLSH, curl_share_setopt, CURLSHoption, CURLSHcode, CURLSHE_NOMEM)

#define MAKE(type, function)                        \
    type *function(void)                            \
    {                                               \
        type *(*real)(void);                        \
        find(#function, &real);                     \
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
    return fails("curl_url_set", (int)part) ? CURLUE_OUT_OF_MEMORY : real(url, part, text, flags);
}
