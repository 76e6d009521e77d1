/* The rules for an item, as the API's pages on purging by URL, tag, host and prefix give them, and what can match
 * nothing at Cloudflare. What neither forbids is not forbidden here. */
#ifndef CFPURGE_RULES_H
#define CFPURGE_RULES_H

#include <stddef.h>
#include <stdint.h>

#define CF_RULE_NAME 48
#define CF_RULE_NONE UINT32_MAX

/* NULL, or what the `len` bytes break, as a static text. `found` is CF_RULE_NONE, or the character that breaks it where
 * people may not see which. The bytes are NUL-terminated, as Lua's strings are. */
typedef const char *cf_rule(const char *text, size_t len, uint32_t *found);

cf_rule cf_rule_url, cf_rule_tag, cf_rule_host, cf_rule_prefix;

/* Writes what a character is called: "U+00A0 (no-break space)". */
void cf_rule_name(uint32_t character, char name[CF_RULE_NAME]);

#endif
