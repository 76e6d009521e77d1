/* A binary heap of instants. */
#include "base/heap.h"

#include <string.h>

#include "base/memory.h"

bool cf_heap_reserve(struct cf_heap *heap, size_t count)
{
    size_t cap = heap->cap ? heap->cap : 16;
    struct cf_heap_node **nodes;

    if (count <= heap->cap)
        return true;
    while (cap < count)
        cap *= 2;
    nodes = cf_realloc(heap->nodes, cap * sizeof(struct cf_heap_node *));
    if (!nodes)
        return false;
    heap->nodes = nodes;
    heap->cap = cap;
    return true;
}

static void heap_set(struct cf_heap *heap, size_t i, struct cf_heap_node *node)
{
    heap->nodes[i] = node;
    node->place = i + 1;
}

/* Puts `node` at the place `i`, or higher where those above it are later. */
static size_t heap_rise(struct cf_heap *heap, size_t i, struct cf_heap_node *node)
{
    for (; i > 0 && heap->nodes[(i - 1) / 2]->at > node->at; i = (i - 1) / 2)
        heap_set(heap, i, heap->nodes[(i - 1) / 2]);
    heap_set(heap, i, node);
    return i;
}

static void heap_sink(struct cf_heap *heap, size_t i, struct cf_heap_node *node)
{
    size_t child;

    while ((child = 2 * i + 1) < heap->count) {
        if (child + 1 < heap->count && heap->nodes[child + 1]->at < heap->nodes[child]->at)
            child++;
        if (heap->nodes[child]->at >= node->at)
            break;
        heap_set(heap, i, heap->nodes[child]);
        i = child;
    }
    heap_set(heap, i, node);
}

void cf_heap_put(struct cf_heap *heap, struct cf_heap_node *node, int64_t at)
{
    size_t i = node->place ? node->place - 1 : heap->count++;

    node->at = at;
    i = heap_rise(heap, i, node);
    heap_sink(heap, i, node);
}

void cf_heap_remove(struct cf_heap *heap, struct cf_heap_node *node)
{
    size_t i = node->place - 1;
    struct cf_heap_node *last;

    if (node->place == 0)
        return;
    node->place = 0;
    last = heap->nodes[--heap->count];
    if (last != node) {
        i = heap_rise(heap, i, last);
        heap_sink(heap, i, last);
    }
}

struct cf_heap_node *cf_heap_first(const struct cf_heap *heap)
{
    return heap->count > 0 ? heap->nodes[0] : NULL;
}

void cf_heap_free(struct cf_heap *heap)
{
    cf_free(heap->nodes);
    memset(heap, 0, sizeof *heap);
}
