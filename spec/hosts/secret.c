/* A host that reads its own memory: is a credential left in it when every client is closed? secret SCRIPT [ARGUMENT...]
 * runs the Lua script. Its first argument is a function that gives marker 1, 2 or 3, each 40 symbols of "012aceiost" that
 * came over standard input; its second tells how many pieces of markers stand in all memory that can be written. What the
 * host itself keeps of them is XOR-ed, and its lua_Alloc wipes whatever it frees. In Lua 5.4. */
#include <fcntl.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MARKERS 3
#define SYMBOLS 40
#define PIECE 10
#define BLIND 0x5a

static unsigned char blind[MARKERS][SYMBOLS];

/* Every form in which a marker can be told from chance, in pieces: the allocator writes over the first bytes of what is
 * freed. */
struct form {
    const char *name;
    size_t size;
    unsigned char bytes[64];
};
static struct form forms[MARKERS * 16];
static size_t form_count;

static void *(*const volatile set_bytes)(void *, int, size_t) = memset;

static void *wiping(void *unused, void *block, size_t old_size, size_t size)
{
    void *moved = size ? malloc(size) : NULL;
    (void)unused;

    if (size && !moved)
        return NULL;
    if (block) {
        if (moved)
            memcpy(moved, block, old_size < size ? old_size : size);
        set_bytes(block, 0, old_size);
        free(block);
    }
    return moved;
}

static void add_form(const char *name, const unsigned char *bytes, size_t size)
{
    struct form *form = &forms[form_count++];

    form->name = name;
    form->size = size;
    for (size_t i = 0; i < size; i++)
        form->bytes[i] = bytes[i] ^ BLIND;
}

/* The plain text; HPACK's Huffman code, which has five bits for each of the ten symbols, in their order; Base64 of what
 * begins at a multiple of three. */
static void add_forms(const unsigned char *marker)
{
    static const char symbols[] = "012aceiost";
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char packed[SYMBOLS * 5 / 8] = {0}, base64[SYMBOLS / 3 * 4];
    size_t i, bit;

    for (i = 0; i < SYMBOLS; i += PIECE)
        add_form("plain", marker + i, PIECE);
    for (i = 0; i < SYMBOLS * 5; i++) {
        bit = (size_t)(strchr(symbols, marker[i / 5]) - symbols) >> (4 - i % 5) & 1;
        packed[i / 8] |= (unsigned char)(bit << (7 - i % 8));
    }
    for (i = 0; i + 8 <= sizeof packed; i += 8)
        add_form("Huffman", packed + i, 8);
    for (i = 0; i + 3 <= SYMBOLS; i += 3) {
        unsigned three = (unsigned)marker[i] << 16 | (unsigned)marker[i + 1] << 8 | marker[i + 2];
        for (bit = 0; bit < 4; bit++)
            base64[i / 3 * 4 + bit] = (unsigned char)digits[three >> (18 - 6 * bit) & 63];
    }
    for (i = 0; i + 16 <= sizeof base64; i += 16)
        add_form("Base64", base64 + i, 16);
    set_bytes(packed, 0, sizeof packed);
    set_bytes(base64, 0, sizeof base64);
}

static void read_markers(void)
{
    unsigned char marker[SYMBOLS];

    for (size_t n = 0; n < MARKERS; n++) {
        for (size_t got = 0; got < SYMBOLS;) {
            ssize_t more = read(0, marker + got, SYMBOLS - got);
            if (more <= 0)
                exit(2);
            got += (size_t)more;
        }
        add_forms(marker);
        for (size_t i = 0; i < SYMBOLS; i++)
            blind[n][i] = marker[i] ^ BLIND;
    }
    set_bytes(marker, 0, sizeof marker);
}

static int secret(lua_State *L)
{
    const unsigned char *from = blind[luaL_checkinteger(L, 1) - 1];
    char marker[SYMBOLS];

    for (size_t i = 0; i < SYMBOLS; i++)
        marker[i] = (char)(from[i] ^ BLIND);
    lua_pushlstring(L, marker, SYMBOLS);
    set_bytes(marker, 0, sizeof marker);
    return 1;
}

static bool stands_at(const struct form *form, const unsigned char *memory)
{
    for (size_t i = 0; i < form->size; i++)
        if ((memory[i] ^ BLIND) != form->bytes[i])
            return false;
    return true;
}

static size_t search(const unsigned char *from, const unsigned char *end, const char *where)
{
    bool begins[256] = {false};
    size_t hits = 0;

    for (size_t i = 0; i < form_count; i++)
        begins[forms[i].bytes[0] ^ BLIND] = true;
    for (const unsigned char *at = from; at + sizeof forms[0].bytes <= end; at++) {
        if (!begins[*at])
            continue;
        for (size_t i = 0; i < form_count; i++)
            if (stands_at(&forms[i], at)) {
                hits++;
                if (getenv("SECRET_VERBOSE")) {
                    fprintf(stderr, "%p %s, %+td from here, %s piece %zu; around it: ", (const void *)at, where,
                            at - (const unsigned char *)__builtin_frame_address(0), forms[i].name, i);
                    for (const unsigned char *b = at - 80; b < at + 80; b++)
                        fputc(*b >= 0x20 && *b < 0x7f ? *b : *b ? '.' : '_', stderr);
                    fputc('\n', stderr);
                }
            }
    }
    return hits;
}

/* Reads what the kernel says is mapped without touching the heap, which is to be seen as it was left. */
static int found(lua_State *L)
{
    static char maps[1 << 18];
    size_t size = 0, hits = 0;
    ssize_t got;
    int fd = open("/proc/self/maps", O_RDONLY);

    while ((got = read(fd, maps + size, sizeof maps - 1 - size)) > 0)
        size += (size_t)got;
    close(fd);
    maps[size] = '\0';
    for (char *line = maps, *next; (next = strchr(line, '\n')); line = next + 1) {
        char *rest;
        unsigned long long from = strtoull(line, &rest, 16), end = strtoull(rest + 1, &rest, 16);

        *next = '\0';
        if (strncmp(rest, " rw", 3) == 0)
            hits += search((const unsigned char *)(size_t)from, (const unsigned char *)(size_t)end, line + 49);
    }
    set_bytes(maps, 0, sizeof maps);
    lua_pushinteger(L, (lua_Integer)hits);
    return 1;
}

int main(int argc, char **argv)
{
    lua_State *L = lua_newstate(wiping, NULL);

    read_markers();
    luaL_openlibs(L);
    if (luaL_loadfile(L, argv[1]) != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        return 1;
    }
    lua_pushcfunction(L, secret);
    lua_pushcfunction(L, found);
    for (int i = 2; i < argc; i++)
        lua_pushstring(L, argv[i]);
    if (lua_pcall(L, argc, 0, 0) != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        return 1;
    }
    return 0;
}
