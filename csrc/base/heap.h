/* A binary heap of instants: the earliest is found at once, and any of them is moved or taken out in O(log n). */
#ifndef CFPURGE_HEAP_H
#define CFPURGE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A part of the thing that waits. All zero is a node that is in no heap. */
struct cf_heap_node {
    int64_t at;   /* when it is due */
    size_t place; /* in `nodes`, counted from 1; 0: in no heap */
};

/* All zero is an empty heap. The heap owns `nodes`, the array, and none of the nodes. nodes[i] is not later than
 * nodes[2i + 1] and nodes[2i + 2], and nodes[i]->place is i + 1. */
struct cf_heap {
    struct cf_heap_node **nodes;
    size_t count, cap;
};

/* Makes room for `count` nodes in all, so that cf_heap_put cannot fail for them. False: out of memory. */
bool cf_heap_reserve(struct cf_heap *heap, size_t count);
/* Puts a node in, or moves it where it is in this heap already. There must be room. */
void cf_heap_put(struct cf_heap *heap, struct cf_heap_node *node, int64_t at);
/* Takes it out; a node that is in no heap is left alone. */
void cf_heap_remove(struct cf_heap *heap, struct cf_heap_node *node);
/* The earliest node; NULL where the heap is empty. */
struct cf_heap_node *cf_heap_first(const struct cf_heap *heap);
void cf_heap_free(struct cf_heap *heap);

#endif
