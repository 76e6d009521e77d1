/* The engine's events: written down as they happen, handed out when nobody is in the middle of anything. */
#define _GNU_SOURCE 1
#include "engine/engine_private.h"

#include <string.h>

#include "base/memory.h"
#include "base/clock.h"

void cf_engine_want_events(struct cf_engine *engine)
{
    engine->want_events = true;
}

bool cf_engine_next_event(struct cf_engine *engine, struct cf_event *event)
{
    if (engine->event_count == 0)
        return false;
    *event = engine->events[engine->event_first++];
    if (--engine->event_count == 0)
        engine->event_first = 0;
    return true;
}

/* Out of memory, a log line is lost, never a purge. */
static struct cf_event *events_new_event(struct cf_engine *engine, enum cf_event_name name)
{
    struct cf_event *event;
    size_t end = engine->event_first + engine->event_count;

    if (!engine->want_events)
        return NULL;
    if (end == engine->event_cap) {
        size_t cap = end ? end * 2 : 8;
        struct cf_event *events = cf_realloc(engine->events, cap * sizeof *events);
        if (!events)
            return NULL;
        engine->events = events;
        engine->event_cap = cap;
    }
    event = &engine->events[end];
    memset(event, 0, sizeof *event);
    event->name = name;
    engine->event_count++;
    return event;
}

void cf_events_add(struct cf_engine *engine, const struct cf_transfer *transfer, enum cf_event_name name, int64_t wait)
{
    struct cf_event *event = events_new_event(engine, name);
    size_t path_len;

    if (!event)
        return;
    event->id = transfer->id;
    event->method = transfer->is_get ? "GET" : "POST";
    path_len = strcspn(transfer->path, "?");
    if (path_len >= sizeof event->path)
        path_len = sizeof event->path - 1;
    memcpy(event->path, transfer->path, path_len);
    event->attempt = transfer->attempts;
    event->wait = wait;
    if (name == CF_EVENT_REQUEST) {
        event->bytes = transfer->body.len;
    } else {
        event->status = transfer->response.status;
        memcpy(event->ray_id, transfer->response.ray_id, sizeof event->ray_id);
        event->kind = cf_verdict_kind(transfer->failure, &transfer->verdict);
        event->elapsed = name == CF_EVENT_DONE ? transfer->elapsed : cf_clock_now() - transfer->attempt_started;
        event->bytes = transfer->response.body.len;
    }
}

/* Once a client, before its first request: what it promises depends on the libcurl that runs. */
void cf_events_warn(struct cf_engine *engine)
{
    const char *problem = engine->warned ? NULL : cf_libcurl_resolver_problem();
    struct cf_event *event = problem ? events_new_event(engine, CF_EVENT_WARNING) : NULL;

    if (event)
        event->message = problem;
    engine->warned = true;
}
