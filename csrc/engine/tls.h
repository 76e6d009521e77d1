/* Which CA certificates a transfer trusts, found and read so that no connection stalls its host. */
#ifndef CFPURGE_TLS_H
#define CFPURGE_TLS_H

#include "engine/libcurl.h"

/* The libcurl that runs, for dlsym: what it is linked with itself, in a host that may have another one of the same. */
void *cf_tls_libcurl(void);
/* Does what is done once a process, after curl_global_init, so that no connection has to. */
void cf_tls_prepare(void);
/* Sets CAINFO and CAPATH (and, where the system has only a bundle, the hook that shares it) on `easy`. `ca_file` is
 * trusted beside the system's; NULL for none. */
CURLcode cf_tls_apply(CURL *easy, const char *ca_file);

#endif
