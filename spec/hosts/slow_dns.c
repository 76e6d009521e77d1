/* Preloaded: a name server that is slow. Looking up `slow-MILLISECONDS.test` takes that long and finds 127.0.0.1;
 * `none-TIMES.test` is not found so often, and then is; `moves-TIMES.test` is at 127.0.0.2 so often, and then at
 * 127.0.0.1; `two.test` is at 127.0.0.2 and at 127.0.0.1. SPEC_LIBCURL makes the running libcurl pretend: "blocking"
 * that it looks names up in its caller's thread, "7.86" to be that old. */
#define _GNU_SOURCE
#include <curl/curl.h>
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* How many look-ups began, and ended. */
int spec_lookups[2];

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **), result;
    void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");
    long milliseconds, times;
    static long failed;

    memcpy(&real, &symbol, sizeof real);
    /* libcurl 8.20 and newer ask for each family by itself: one look-up counts. */
    if (name && strstr(name, ".test") && hints && hints->ai_family == AF_INET6)
        return EAI_NONAME;
    if (name && sscanf(name, "none-%ld.test", &times) == 1) {
        if (__atomic_fetch_add(&failed, 1, __ATOMIC_SEQ_CST) < times)
            return times % 2 ? EAI_NONAME : EAI_AGAIN;
        return real("127.0.0.1", service, hints, found);
    }
    if (name && sscanf(name, "moves-%ld.test", &times) == 1) {
        long before = __atomic_fetch_add(&spec_lookups[0], 1, __ATOMIC_SEQ_CST);
        return real(before < times ? "127.0.0.2" : "127.0.0.1", service, hints, found);
    }
    if (name && strcmp(name, "two.test") == 0) {
        result = real("127.0.0.2", service, hints, found);
        return result ? result : real("127.0.0.1", service, hints, &(*found)->ai_next);
    }
    if (!name || sscanf(name, "slow-%ld.test", &milliseconds) != 1)
        return real(name, service, hints, found);
    __atomic_add_fetch(&spec_lookups[0], 1, __ATOMIC_SEQ_CST);
    nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000}, NULL);
    result = real("127.0.0.1", service, hints, found);
    __atomic_add_fetch(&spec_lookups[1], 1, __ATOMIC_SEQ_CST);
    return result;
}

curl_version_info_data *curl_version_info(CURLversion version)
{
    static curl_version_info_data data;
    curl_version_info_data *(*real)(CURLversion);
    /* Not among the next ones: it was loaded for a Lua module alone, and only so can it be unloaded with it. */
    void *gnutls = dlopen("libcurl-gnutls.so.4", RTLD_LAZY | RTLD_NOLOAD);
    void *libcurl = gnutls ? gnutls : dlopen("libcurl.so.4", RTLD_LAZY | RTLD_NOLOAD);
    void *symbol = dlsym(libcurl, "curl_version_info");
    const char *what = getenv("SPEC_LIBCURL");

    memcpy(&real, &symbol, sizeof real);
    data = *real(version);
    if (what && strcmp(what, "blocking") == 0)
        data.features &= ~CURL_VERSION_ASYNCHDNS;
    if (what && strcmp(what, "7.86") == 0)
        data.version_num = 0x075600;
    return &data;
}
