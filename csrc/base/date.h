/* The dates of HTTP (RFC 9110, 5.6.7). */
#ifndef CFPURGE_DATE_H
#define CFPURGE_DATE_H

#include <stdbool.h>
#include <stdint.h>

/* Reads one of the three forms, to the letter, into seconds since 1970. Form 850 has two digits of a year: it is the
 * one that lies at most 50 years after `now`. False: it is no such date. */
bool cf_date_read(const char *text, int64_t now, int64_t *date);

#endif
