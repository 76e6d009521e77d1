/* Which CA certificates a transfer trusts, found and read so that no connection stalls its host. */
#ifndef CFPURGE_TLS_H
#define CFPURGE_TLS_H

#include <stdbool.h>

#include "engine/ca.h"
#include "engine/libcurl.h"

/* NULL, or why no TLS can be had with this libcurl in this program. It calls nothing in the TLS library, and is asked
 * once a process, before curl_global_init, which does. */
const char *cf_tls_problem(void);
/* Does what is done once a process, after curl_global_init, so that no connection has to. */
void cf_tls_prepare(void);
/* Reads the system's bundle now, once a process: it is trusted even where its file is out of reach later. */
void cf_tls_read_bundle(void);
/* Sets the system's certificates on `easy`, and the hook that shares its bundle where it has nothing else. libcurl
 * trusts `ca` beside them, which must stay as long as `easy`; NULL for none. */
CURLcode cf_tls_apply(CURL *easy, const struct cf_ca *ca);

enum cf_tls_protocol { CF_TLS_UNKNOWN, CF_TLS_HTTP2, CF_TLS_OTHER };

/* Whether HTTP/2 may be spoken: a libcurl that may mix the answers of connections with and without it must be kept from
 * that by asking its TLS library what a connection speaks. */
bool cf_tls_may_stream(void);
/* The TLS connection that a running transfer is on, for comparing; NULL where it has none or cannot be asked. */
const void *cf_tls_of(CURL *easy);
/* The protocol that its two ends have agreed on (ALPN, RFC 7301). */
enum cf_tls_protocol cf_tls_protocol(const void *connection);

#endif
