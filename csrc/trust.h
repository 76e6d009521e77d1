/* Which CA certificates a transfer trusts, found and read so that no connection stalls its host. */
#ifndef CFPURGE_TRUST_H
#define CFPURGE_TRUST_H

#include "libcurl.h"

/* Sets CAINFO and CAPATH (and, where the system has only a bundle, the hook that shares it) on `easy`. `ca_file` is
 * trusted beside the system's; NULL for none. */
CURLcode cf_trust_apply(CURL *easy, const char *ca_file);

#endif
