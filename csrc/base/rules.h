/* The rules for an item, as the API's pages on purging by URL, tag, host and prefix give them. What they do not forbid
 * is not forbidden here. */
#ifndef CFPURGE_RULES_H
#define CFPURGE_RULES_H

#include <stddef.h>

/* NULL, or what the `len` bytes break, as a static text. They are NUL-terminated, as Lua's strings are. */
typedef const char *cf_rule(const char *text, size_t len);

cf_rule cf_rule_url, cf_rule_tag, cf_rule_host, cf_rule_prefix;

#endif
