/* The state of the process: libcurl's own, and the mark by which we notice a fork. */
#ifndef CFPURGE_GLOBAL_H
#define CFPURGE_GLOBAL_H

#include <stdbool.h>
#include <stdint.h>

/* Runs curl_global_init at the first call, whatever the number of states and threads. False: libcurl refused. */
bool cf_global_init(void);
/* A number that no two generations of forked processes share within one line of descent: who noted another one has been
 * carried over a fork. Never 0. */
uint32_t cf_global_generation(void);

#endif
