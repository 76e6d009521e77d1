/* The mark by which we notice a fork. */
#ifndef CFPURGE_GENERATION_H
#define CFPURGE_GENERATION_H

#include <stdint.h>

/* A number that no two generations of forked processes share within one line of descent: who noted another one has been
 * carried over a fork. Never 0. */
uint32_t cf_generation(void);

#endif
