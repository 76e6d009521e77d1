/* What an answer says of its request: any status and any body, which verdict.lua makes of the input, and judges by
 * rules that stand there anew. */
#include "state.h"

#include "../../csrc/base/verdict.h"

static lua_State *L;

/* read(status, body) -> kind, about, is_transient, is_overall. */
static int read_verdict(lua_State *state)
{
    struct cf_verdict verdict;
    size_t len = 0;
    const char *body = luaL_optlstring(state, 2, NULL, &len);
    /* Of its own size, so that ASan sees who reads beyond it. */
    char *copy = body ? malloc(len > 0 ? len : 1) : NULL;

    if (copy)
        memcpy(copy, body, len);
    cf_verdict_read((int)luaL_checkinteger(state, 1), copy, len, &verdict);
    free(copy);
    lua_pushstring(state, verdict.kind);
    lua_pushstring(state, cf_verdict_about(verdict.about));
    lua_pushboolean(state, verdict.is_transient);
    lua_pushboolean(state, verdict.is_overall);
    return 4;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!L) {
        L = open_lua("verdict");
        lua_register(L, "read", read_verdict);
    }
    lua_getglobal(L, "verdict");
    lua_pushlstring(L, (const char *)data, size);
    call_or_die(L, 1);
    return 0;
}
