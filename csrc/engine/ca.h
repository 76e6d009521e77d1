/* The files of certificates that options name, read once: a worker of nginx may not read what its master can. */
#ifndef CFPURGE_CA_H
#define CFPURGE_CA_H

#include <stddef.h>

/* One file; the list owns it. `pem` is what it held when it was read, and `path` is its name. */
struct cf_ca {
    struct cf_ca *next;
    size_t len;
    char *pem;
    char path[];
};

/* Reads the file, unless it is in the list. NULL, or a sentence's end that says what is wrong with it; it is valid
 * until the next call. */
const char *cf_ca_read(struct cf_ca **cas, const char *path);
/* NULL where it was not read. */
const struct cf_ca *cf_ca_find(const struct cf_ca *cas, const char *path);
void cf_ca_free_all(struct cf_ca **cas);

#endif
