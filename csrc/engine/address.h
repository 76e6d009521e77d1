/* Checks where a request may go, base_url and proxy, by the parser that will use them: libcurl's. */
#ifndef CFPURGE_ADDRESS_H
#define CFPURGE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

/* Writes the ASCII form (A-labels, RFC 5890) of a host's name in UTF-8 to `ascii`, which has room for `size` bytes.
 * False: it has none, or libcurl was built without IDN. */
bool cf_address_to_ascii(const char *host, char *ascii, size_t size);
/* NULL, or what is wrong, as a static text. */
const char *cf_address_base_problem(const char *base_url);
const char *cf_address_proxy_problem(const char *proxy);
/* The same where a credential would leave this machine in clear text. `proxy` is NULL where none was given. Then a
 * plain request to loopback has to go there directly, past any proxy of the environment: `direct` is set. */
const char *cf_address_clear_text_problem(const char *base_url, const char *proxy, bool *direct);

#endif
