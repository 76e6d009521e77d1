/* Whether the OpenSSL that a library reaches is the one that it was linked with. */
#ifndef CFPURGE_OPENSSL_H
#define CFPURGE_OPENSSL_H

/* The library that has this function, for dlsym, which then finds what the library is linked with. NULL: it is in the
 * program itself. */
void *cf_openssl_library(void (*function)(void));
/* NULL, or one sentence for people, which stays until the next call. `reached` is the version that OpenSSL_version
 * gives where the library calls it, as "3.0.19". The sentence begins with `who`; `remedy` stands beside those that
 * always hold. */
const char *cf_openssl_problem(void *library, const char *reached, const char *who, const char *remedy);

#endif
