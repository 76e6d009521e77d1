/* What the fuzz targets share: reading the input, and ending with a reason where a promise is broken.
 * Memory is watched by ASan; `blocks` must be as before when a run ends. */
#ifndef CFPURGE_FUZZ_H
#define CFPURGE_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../csrc/base/memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) {                                                          \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition);  \
            abort();                                                                 \
        }                                                                            \
    } while (0)

/* Blocks of ours that live. libFuzzer's own leak check would look at all of Lua's memory after every run. */
static long blocks;

static inline void *counted(void *block, size_t size)
{
    void *moved = size ? realloc(block, size) : NULL;

    if (!size)
        free(block);
    CHECK(moved || !size);
    blocks += (moved != NULL) - (block != NULL);
    return moved;
}

struct input {
    const char *at, *end;
};

static inline int next_byte(struct input *input)
{
    return input->at < input->end ? (unsigned char)*input->at++ : 0;
}

static inline uint64_t next_number(struct input *input, int bytes)
{
    uint64_t number = 0;
    while (bytes-- > 0)
        number = number << 8 | (uint64_t)next_byte(input);
    return number;
}

/* The next line, its end included where `whole`; false at the end of the input. */
static inline int next_line(struct input *input, int whole, const char **line, size_t *len)
{
    const char *newline;

    if (input->at == input->end)
        return 0;
    newline = memchr(input->at, '\n', (size_t)(input->end - input->at));
    *line = input->at;
    input->at = newline ? newline + 1 : input->end;
    *len = (size_t)(input->at - *line) - (newline && !whole ? 1 : 0);
    return 1;
}

#endif
