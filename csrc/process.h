/* What there is once a process: libcurl's global state, the clock, and the mark by which a fork is noticed. */
#ifndef CFPURGE_PROCESS_H
#define CFPURGE_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

/* Runs curl_global_init_mem at the first call, whatever the number of states and threads, with an allocator that wipes what
 * is freed: unless the host has initialised libcurl before, which is then as the host wants it. False: libcurl refused. */
bool cf_process_init(void);
/* Microseconds of a clock that only goes forward. */
int64_t cf_process_now(void);
/* A number that no two generations of forked processes share within one line of descent: whoever noted another one has been
 * carried over a fork. */
uint64_t cf_process_generation(void);

#endif
