/* libcurl's state of the process. */
#ifndef CFPURGE_GLOBAL_H
#define CFPURGE_GLOBAL_H

#include <stdbool.h>

/* Runs curl_global_init at the first call, whatever the number of states and threads. False: libcurl refused. */
bool cf_global_init(void);

/* The running libcurl and its libraries, as "libcurl/7.88.1 OpenSSL/3.0.17 ...". */
const char *cf_global_libcurl(void);

#endif
