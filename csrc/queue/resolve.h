/* Finds a host's address on a thread of its own: getaddrinfo may take as long as it likes. */
#ifndef CFPURGE_RESOLVE_H
#define CFPURGE_RESOLVE_H

struct cf_resolve;

/* Begins. *fd becomes readable when it is done. Of several addresses it is the one whose turn it is, from 0 on. NULL:
 * memory, descriptors or threads are short. */
struct cf_resolve *cf_resolve_start(const char *host, unsigned turn, int *fd);
/* The address as a text, or NULL and a sentence in *problem; both live as long as it does. */
const char *cf_resolve_answer(const struct cf_resolve *resolve, const char **problem);
/* May be called before it is done; NULL is fine. */
void cf_resolve_free(struct cf_resolve *resolve);

#endif
