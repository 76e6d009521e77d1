/* Which CA certificates a transfer trusts, found and read so that no connection stalls its host. */
#ifndef CFPURGE_TLS_H
#define CFPURGE_TLS_H

#include "engine/libcurl.h"

/* Does what is done once a process, after curl_global_init, so that no connection has to. */
void cf_tls_prepare(void);
/* Sets CAINFO and CAPATH on `easy`, and the hook that shares the bundle where the system has nothing else. libcurl
 * trusts `ca_file` beside the system's certificates; NULL for none. */
CURLcode cf_tls_apply(CURL *easy, const char *ca_file);

#endif
