/* The client, as its files share it: client.c makes, drives and closes it, call.c begins requests, taking.c runs what
 * may raise where nothing may be lost, stats.c counts. */
#ifndef CFPURGE_CLIENT_PRIVATE_H
#define CFPURGE_CLIENT_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "binding/compat.h"
#include "binding/draft.h"
#include "binding/options.h"
#include "engine/engine.h"

struct client {
    struct cf_engine *engine; /* NULL before it is made and after __gc */
    bool closed, has_events;
    int busy;                      /* requests that are being taken: the engine must stay */
    struct cf_options options;     /* owned: wiped on close */
    struct cf_buffer header_lines; /* owned: what options.headers points to */
    struct cf_plans plans;         /* owned: what options.plans points to, with plan = "auto" */
    struct cf_draft draft;         /* scratch */
};

/* ---- client.c ---- */

struct client *cf_client_check(lua_State *L);
/* nil before the error on the top: returns 2. */
int cf_client_push_failure(lua_State *L);
/* Reads a file of CAs for the client's requests. False: an error was pushed. */
bool cf_client_trust(lua_State *L, struct client *client, const char *ca_file);

/* ---- call.c ---- */

/* False: it is closed, and an error was pushed. */
bool cf_client_is_open(lua_State *L, const struct client *client);
/* Begins a purge: its id, or 0 with an error pushed; raises where a type is wrong. */
uint64_t cf_client_begin(lua_State *L, struct client *client, const struct cf_call *call);
/* The methods start, check, fetch, limits, plan, rates, ordered, set, add and key. */
int cf_client_start_request(lua_State *L);
int cf_client_check_request(lua_State *L);
int cf_client_fetch(lua_State *L);
int cf_client_limits(lua_State *L);
int cf_client_plan(lua_State *L);
int cf_client_rates(lua_State *L);
int cf_client_ordered(lua_State *L);
int cf_client_set(lua_State *L);
int cf_client_add(lua_State *L);
int cf_client_key(lua_State *L);

/* ---- stats.c ---- */

int cf_client_stats(lua_State *L);

/* ---- taking.c ---- */

/* Makes the functions that run protected; once a state. */
void cf_taking_open(lua_State *L);
/* Shows on_event what has happened since; the client is at index 1. */
void cf_taking_emit(lua_State *L, struct client *client);
int cf_taking_take(lua_State *L, struct client *client, uint64_t id, bool known);
/* Calls a debug hook if one is set, as Lua itself would have between two lines: lua(1) raises by it on Ctrl-C. */
void cf_taking_heed(lua_State *L);
int cf_taking_wait(lua_State *L, struct client *client, uint64_t id);
/* Copies the draft of a purge into Lua: its path, body and number of items. */
int cf_taking_copy(lua_State *L, struct client *client, const struct cf_submission *submission);
/* Calls the function that settle was given; what lua_pcall returned. */
int cf_taking_report_end(lua_State *L);

#endif
