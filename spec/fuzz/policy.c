/* A list, whatever becomes of its requests: lua/cfpurge/bulk over a core whose answers are the input (policy.lua). */
#include "lines.h"

static lua_State *L;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!L)
        L = open_watched("policy", NULL, NULL);
    lua_getglobal(L, "policy");
    lua_pushlstring(L, (const char *)data, size);
    call_or_die(L, 1);
    return 0;
}
