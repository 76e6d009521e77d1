/* The options: one schema says their names, types, defaults, environment variables and scope. */
#ifndef CFPURGE_OPTIONS_H
#define CFPURGE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/buffer.h"
#include "binding/compat.h"
#include "base/pacer.h"
#include "binding/plans.h"

/* CF_VERSION comes from the file VERSION, by the Makefile. */

/* Durations are microseconds, 0 for none. Texts are borrowed while a call lasts and owned in a client's own options. */
struct cf_options {
    const char *api_token, *api_email, *api_key; /* a token, or the other two (one may be missing), or nothing */
    const char *zone_id, *environment_id, *base_url, *proxy, *ca_file, *user_agent, *plan;
    const char *budget;             /* of a queue's sendings: an account that its store keeps */
    const char *zone, *environment; /* names, which the Lua side looks up */
    int64_t timeout, connect_timeout, max_retry_wait, deadline;
    int64_t retry_for;                             /* in place of max_retries; negative for none */
    int64_t exit_grace;                            /* the Lua layer's */
    int64_t max_retries, max_items, max_in_flight; /* max_items 0: as the plan says */
    int64_t max_connections, max_queued;
    int64_t share;                /* the client may use one part in so many of its plan */
    struct cf_rates rates;        /* by plan and rate; all 0 where neither was given */
    struct cf_rates given;        /* by rate alone; open where it says nothing */
    const struct cf_plans *plans; /* borrowed: of the client's zones; NULL for none */
    bool allow_http, isolate, invalidate, dry_run, on_progress;
    bool has_lua_layer;              /* of a client: the Lua layer has it, which does more than the core alone */
    bool direct;                     /* worked out: the environment's proxy is not used */
    bool is_unchecked;               /* they are the environment's: a call may have better ones */
    const struct cf_buffer *headers; /* borrowed: default_headers as lines, each NUL-terminated; NULL for none */
};

/* Is a zone's plan to be read from the API? */
static inline bool cf_options_has_auto_plan(const struct cf_options *options)
{
    return options->plan && strcmp(options->plan, "auto") == 0;
}

/* CF_SCOPE_QUEUE is told to nobody: the queue's own calls have it. */
enum cf_scope { CF_SCOPE_CLIENT = 1, CF_SCOPE_REQUEST = 2, CF_SCOPE_CALL = 4, CF_SCOPE_QUEUE = 8 };

void cf_options_default(struct cf_options *options);
/* Reads the table at `index`, argument `arg` of the running function, into `options`. Where the table is silent,
 * `options` keeps its values; nil is an empty table. Options of a scope outside `scopes` are unknown. False: an error
 * table was pushed. Raises where a type is wrong. Texts are borrowed from the table and from the environment, which
 * `from_environment` consults; default_headers are written into `lines`. Allocates nothing in Lua unless it refuses, so
 * that no finalizer can run in the middle. */
bool cf_options_read(lua_State *L, int index, int arg, int scopes, bool from_environment, struct cf_buffer *lines,
                     struct cf_options *options);
/* Reads the environment over the defaults. It is checked with each call, which may have better options. */
void cf_options_read_environment(struct cf_options *options);
/* False: a rule is broken, and an error table was pushed. `checked`, NULL for none, have passed and are the options
 * that a call has begun with: the address is parsed only where it is another, and rates are the client's. */
bool cf_options_check(lua_State *L, struct cf_options *options, const struct cf_options *checked);
/* False: they hold an option that needs the Lua layer, there is none, and an error table was pushed. */
bool cf_options_are_for_core(lua_State *L, const struct cf_options *options);
/* False: there is no whole credential, and an error table was pushed. */
bool cf_options_need_credential(lua_State *L, const struct cf_options *options);
/* Copies all texts that `from` borrows. False: out of memory, `to` is as it was. */
bool cf_options_own(struct cf_options *to, const struct cf_options *from);
/* Wipes and frees what cf_options_own copied; safe on all zero, and twice. */
void cf_options_wipe(struct cf_options *options);
/* NULL, or what a text of any option breaks. */
const char *cf_options_text_problem(const char *text, size_t len);
/* NULL, or what a zone_id or environment_id breaks. */
const char *cf_options_id_problem(const char *id, size_t len);
/* Leaves on the stack a list of { name, type, default, env, scope }. */
void cf_options_push_schema(lua_State *L);

#endif
