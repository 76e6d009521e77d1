/* Whether the OpenSSL that a library reaches is the one that it was linked with.
 *
 * A program may have an OpenSSL in itself and export its functions (-Wl,-E). The dynamic linker then finds these first
 * for the calls of every library. They take the structures of another version: such a call hangs, crashes, or works by
 * luck. We call OpenSSL_version alone, which returns a constant in every version. */
#define _GNU_SOURCE 1
#include "base/openssl.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* A static OpenSSL has no more than its program needs: whoever calls libssl has the second one, whoever calls libcrypto
 * the third. No program takes the address of one: where it does, the linker makes a second address for the same
 * function. */
static const char *const openssl_functions[] = {"OpenSSL_version", "SSL_CTX_new", "ERR_clear_error"};

void *cf_openssl_library(void (*function)(void))
{
    const void *address;
    Dl_info info;

    memcpy(&address, &function, sizeof address);
    return dladdr(address, &info) ? dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD) : NULL;
}

static bool openssl_is_elsewhere(void *library, const char *name)
{
    const void *own = dlsym(library, name), *first = dlsym(RTLD_DEFAULT, name);

    return own && first && own != first;
}

/* "OpenSSL 3.0.19 27 Jan 2026" */
static const char *openssl_text(void *library)
{
    const char *(*version)(int);
    void *symbol = dlsym(library, openssl_functions[0]);

    memcpy(&version, &symbol, sizeof symbol);
    return version ? version(0) : "OpenSSL";
}

static bool openssl_is_version(const char *text, const char *version)
{
    static const char parts[] = "0123456789.abcdefghijklmnopqrstuvwxyz";
    size_t len = strspn(version, parts);

    text += strcspn(text, " ");
    text += strspn(text, " ");
    return strspn(text, parts) == len && strncmp(text, version, len) == 0;
}

/* The length of its name and version; the date after them tells nobody anything. */
static int openssl_name_length(const char *text)
{
    size_t name = strcspn(text, " ");

    return (int)(text[name] ? name + 1 + strcspn(text + name + 1, " ") : name);
}

const char *cf_openssl_problem(void *library, const char *reached, const char *who, const char *remedy)
{
    static char problem[400];
    bool is_elsewhere = false, is_named;
    const char *own, *first;
    size_t i;

    for (i = 0; library && i < sizeof openssl_functions / sizeof *openssl_functions; i++)
        is_elsewhere = is_elsewhere || openssl_is_elsewhere(library, openssl_functions[i]);
    if (!is_elsewhere)
        return NULL;
    own = openssl_text(library);
    first = openssl_text(RTLD_DEFAULT);
    /* A shared one of another version is beside it, and its symbols' versions keep the two apart. */
    if (openssl_is_version(own, reached) && !openssl_is_version(first, reached))
        return NULL;
    is_named = openssl_is_elsewhere(library, openssl_functions[0]);
    (void)snprintf(
        problem, sizeof problem,
        "%s is linked with %.*s, but would call another one that this program exports (%.*s): link the program with "
        "-Wl,--exclude-libs,libssl.a:libcrypto.a or with a shared OpenSSL%s (lua/README.md, \"TLS libraries\")",
        who, openssl_name_length(own), own, is_named ? openssl_name_length(first) : 15,
        is_named ? first : "unknown version", remedy);
    return problem;
}
