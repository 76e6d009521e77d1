/* The monotonic clock that all instants of the library are read from. */
#ifndef CFPURGE_CLOCK_H
#define CFPURGE_CLOCK_H

#include <stdint.h>

/* Microseconds; it never goes back. */
int64_t cf_clock_now(void);

#endif
