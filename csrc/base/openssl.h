/* Whether the OpenSSL that a library reaches is the one that it was linked with. */
#ifndef CFPURGE_OPENSSL_H
#define CFPURGE_OPENSSL_H

/* NULL, or one sentence for people, which stays until the next call. `library` is a handle of dlopen; `reached` is the
 * version that OpenSSL_version gives where the library calls it, as "3.0.19". */
const char *cf_openssl_problem(void *library, const char *reached);

#endif
