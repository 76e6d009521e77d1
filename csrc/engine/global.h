/* libcurl's state of the process. */
#ifndef CFPURGE_GLOBAL_H
#define CFPURGE_GLOBAL_H

/* Runs curl_global_init at the first call, whatever the number of states and threads. NULL, or why libcurl cannot be
 * used in this program. */
const char *cf_global_problem(void);

/* The running libcurl and its libraries, as "libcurl/7.88.1 OpenSSL/3.0.17 ...". */
const char *cf_global_libcurl(void);

#endif
