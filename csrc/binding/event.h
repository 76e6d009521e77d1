/* Event -> table for on_event. */
#ifndef CFPURGE_EVENT_H
#define CFPURGE_EVENT_H

#include "binding/compat.h"
#include "engine/exchange.h"

void cf_event_push(lua_State *L, const struct cf_event *event);

#endif
