/* One call, checked and written down: the client's options, the call's options and params -> a submission. */
#ifndef CFPURGE_DRAFT_H
#define CFPURGE_DRAFT_H

#include <stdbool.h>

#include "binding/compat.h"
#include "engine/exchange.h"
#include "binding/options.h"
#include "binding/params.h"

/* Scratch, owned by the client. While one is written nothing is allocated in Lua, unless the call is refused: no
 * finalizer comes back to the client in the middle. */
struct cf_draft {
    struct cf_buffer body, lines, headers, url, slots;
    size_t repeats; /* items of the purge that was written last and are the same as another */
};

/* The places in the stack where a call has its parts, and their numbers as the caller's arguments; 0 for none. */
struct cf_call {
    int params, params_arg, environment, environment_arg;
    bool is_part; /* of a list */
};

void cf_draft_init(struct cf_draft *draft);
void cf_draft_wipe(struct cf_draft *draft);
/* Overwrites the credential that cf_draft_write left, and gives back what one huge list took. */
void cf_draft_forget(struct cf_draft *draft);

/* Writes a purge; the options stand behind the params. Everything in `submission` is borrowed from the draft, from
 * `own` and from the tables. False: an error was pushed; raises where a type is wrong. */
bool cf_draft_write(lua_State *L, const struct cf_options *own, struct cf_draft *draft, const struct cf_call *call,
                    struct cf_submission *submission);
/* The same for a GET of `path`, which stands at the index before the options. */
bool cf_draft_write_get(lua_State *L, const struct cf_options *own, struct cf_draft *draft, int path,
                        struct cf_submission *submission);
/* The options of a call that stand at `index`, over `own`. */
bool cf_draft_options(lua_State *L, const struct cf_options *own, struct cf_draft *draft, int index, int arg,
                      struct cf_options *options);
/* How many items one request holds. */
size_t cf_draft_max_items(const struct cf_options *options, bool of_files);

#endif
