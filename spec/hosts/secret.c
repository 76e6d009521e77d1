/* A host that watches our allocations: does a block still hold a credential when it is freed, or when every client is
 * closed? secret SCRIPT MARKERS [ARGUMENT...] runs the Lua script. Its first argument is a function that gives marker
 * 1, 2 or 3, each 40 bytes of MARKERS; its second tells how often a piece of a marker stands in our blocks, and how
 * often one stood in a block as it was freed. In Lua 5.4. */
#define _GNU_SOURCE
#include <lauxlib.h>
#include <lualib.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

int luaopen_cfpurge_core(lua_State *L);

#define MARKERS 3
#define SYMBOLS 40
#define PIECE 10

struct block {
    struct block *next, *previous;
    size_t size;
    max_align_t bytes[];
};

static struct block blocks = {&blocks, &blocks, 0};
static const char *markers;
static size_t found_freed;

static size_t search(const struct block *block)
{
    const char *from = (const char *)block->bytes, *end = from + block->size, *at;
    size_t i, hits = 0;

    for (i = 0; i < MARKERS * SYMBOLS; i += PIECE)
        for (at = from; (at = memmem(at, (size_t)(end - at), markers + i, PIECE)); at += PIECE)
            hits++;
    return hits;
}

static void *reallocate(void *bytes, size_t size)
{
    struct block *old = bytes ? (struct block *)((char *)bytes - offsetof(struct block, bytes)) : NULL, *made = NULL;

    if (size > 0) {
        made = malloc(sizeof *made + size);
        if (!made)
            return NULL;
        made->size = size;
        made->next = blocks.next;
        made->previous = &blocks;
        made->next->previous = made->previous->next = made;
        /* Else what the last owner left there would be taken for ours. */
        memset(made->bytes, 0, size);
    }
    if (old) {
        if (made)
            memcpy(made->bytes, old->bytes, old->size < size ? old->size : size);
        found_freed += search(old);
        old->next->previous = old->previous;
        old->previous->next = old->next;
        free(old);
    }
    return made ? made->bytes : NULL;
}

static int secret(lua_State *L)
{
    lua_pushlstring(L, markers + (luaL_checkinteger(L, 1) - 1) * SYMBOLS, SYMBOLS);
    return 1;
}

static int found(lua_State *L)
{
    const struct block *block;
    size_t hits = 0;

    for (block = blocks.next; block != &blocks; block = block->next)
        hits += search(block);
    lua_pushinteger(L, (lua_Integer)hits);
    lua_pushinteger(L, (lua_Integer)found_freed);
    return 2;
}

int main(int argc, char **argv)
{
    lua_State *L = luaL_newstate();
    int i;

    if (argc < 3 || strlen(argv[2]) != MARKERS * SYMBOLS)
        return 2;
    markers = argv[2];
    cf_memory_hook(reallocate);
    luaL_openlibs(L);
    luaL_requiref(L, "cfpurge.core", luaopen_cfpurge_core, 0);
    lua_settop(L, 0);
    if (luaL_loadfile(L, argv[1]) == LUA_OK) {
        lua_pushcfunction(L, secret);
        lua_pushcfunction(L, found);
        for (i = 3; i < argc; i++)
            lua_pushstring(L, argv[i]);
        if (lua_pcall(L, argc - 1, 0, 0) == LUA_OK)
            return 0;
    }
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    return 1;
}
