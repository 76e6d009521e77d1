/* The monotonic clock that all instants of the library are read from. */
#define _GNU_SOURCE 1
#include "base/clock.h"

#include <time.h>

int64_t cf_clock_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}
