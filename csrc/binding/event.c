/* Event -> table for on_event. */
#include "binding/event.h"

void cf_event_push(lua_State *L, const struct cf_event *event)
{
    static const char *const names[] = {"request", "response", "retry", "done", "warning"};
    bool is_over = event->name == CF_EVENT_RESPONSE || event->name == CF_EVENT_DONE;

    lua_createtable(L, 0, 11);
    lua_pushstring(L, names[event->name]);
    lua_setfield(L, -2, "name");
    if (event->message) {
        lua_pushstring(L, event->message);
        lua_setfield(L, -2, "message");
        return;
    }
    lua_pushinteger(L, (lua_Integer)event->id);
    lua_setfield(L, -2, "id");
    lua_pushstring(L, event->method);
    lua_setfield(L, -2, "method");
    lua_pushstring(L, event->path);
    lua_setfield(L, -2, "path");
    lua_pushinteger(L, event->attempt);
    lua_setfield(L, -2, "attempt");
    if (event->status) {
        lua_pushinteger(L, event->status);
        lua_setfield(L, -2, "status");
    }
    if (event->ray_id[0]) {
        lua_pushstring(L, event->ray_id);
        lua_setfield(L, -2, "ray_id");
    }
    if (is_over) {
        lua_pushnumber(L, (lua_Number)event->elapsed / 1e6);
        lua_setfield(L, -2, "seconds");
    }
    if (event->name == CF_EVENT_RETRY) {
        lua_pushnumber(L, (lua_Number)event->wait / 1e6);
        lua_setfield(L, -2, "wait");
    } else {
        lua_pushinteger(L, (lua_Integer)event->bytes);
        lua_setfield(L, -2, "bytes");
    }
    if (event->kind) {
        lua_pushstring(L, event->kind);
        lua_setfield(L, -2, "kind");
    }
}
