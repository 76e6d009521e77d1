/* The options' schema: their names, types, defaults, environment variables and scopes stand here once. */
#ifndef CFPURGE_SCHEMA_H
#define CFPURGE_SCHEMA_H

#include <stddef.h>
#include <stdint.h>

#include "binding/options.h"

enum cf_option_type {
    CF_OPTION_TEXT,
    CF_OPTION_SECONDS,
    CF_OPTION_COUNT,
    CF_OPTION_FLAG,
    CF_OPTION_HEADERS,
    CF_OPTION_FUNCTION,
    CF_OPTION_RATES,
    CF_OPTION_LOOP
};

struct cf_option {
    const char *name;
    enum cf_option_type type;
    size_t at;
    int scope;
    double least, initial; /* of seconds and counts; a duration of 0 is "none" where it is the initial one */
    const char *text, *env;
};

extern const struct cf_option cf_schema[];
extern const struct cf_option *const cf_schema_end;
/* What a type is called in messages. */
extern const char *const cf_schema_types[];

/* Where the options have the member. */
void *cf_schema_member(struct cf_options *options, const struct cf_option *option);
const char **cf_schema_text(struct cf_options *options, const struct cf_option *option);
/* A duration as the options have it: 0 for one that never ends. */
int64_t cf_schema_microseconds(double seconds);

#endif
