/* What there is once a process: libcurl's global state and the mark by which a fork is noticed. */
#ifndef CFPURGE_GLOBAL_H
#define CFPURGE_GLOBAL_H

#include <stdbool.h>
#include <stdint.h>

/* Runs curl_global_init_mem at the first call, whatever the number of states and threads, with an allocator that wipes
 * what is freed: unless the host has initialised libcurl before, which is then as the host wants it. False: libcurl
 * refused. */
bool cf_global_init(void);
/* A number that no two generations of forked processes share within one line of descent: whoever noted another one has
 * been carried over a fork. */
uint64_t cf_global_generation(void);

#endif
