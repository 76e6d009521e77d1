/* Why an attempt gave no usable answer: libcurl's verdict, and where it is wrong. */
#ifndef CFPURGE_FAILURE_H
#define CFPURGE_FAILURE_H

#include "engine/transfer.h"

/* CF_OK where a whole answer came, whatever its status. */
enum cf_failure cf_failure_of(CURLcode code, const struct cf_transfer *transfer);
/* Our own words, where libcurl has none or wrong ones for what is in transfer->failure by now; NULL where its own are
 * good. */
const char *cf_failure_text(CURLcode code, const struct cf_transfer *transfer);

#endif
