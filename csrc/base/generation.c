/* The mark by which we notice a fork. */
#define _GNU_SOURCE 1
#include "base/generation.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

/* The kernel empties this page in a forked child, however the fork was made. A look costs a load, where getpid is a
 * system call. NULL where the kernel has no MADV_WIPEONFORK: then the process id stands in. */
static _Atomic uint32_t *generation_mark;
/* 32 bits: some 32-bit machines have wider atomics only in a library of their own. */
static _Atomic uint32_t generation_last = 1;

/* No system has process ids of more bits. */
#define PID_BITS 22

static void generation_init(void)
{
#if defined(MADV_WIPEONFORK) && !defined(CF_GENERATION_PID)
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *map = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map != MAP_FAILED) {
        if (madvise(map, page, MADV_WIPEONFORK) == 0)
            generation_mark = map;
        else
            munmap(map, page);
    }
#endif
    if (generation_mark)
        *generation_mark = generation_last;
}

uint32_t cf_generation(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    uint32_t generation, next, pid;

    pthread_once(&once, generation_init);
    if (generation_mark) {
        generation = *generation_mark;
        if (generation)
            return generation;
        next = ++generation_last;
        /* Of two threads of the child the first one names the generation. */
        return atomic_compare_exchange_strong(generation_mark, &generation, next) ? next : generation;
    }
    /* The process in the lower bits, a count in the upper ones: both change at once for all threads, though ids come
     * again. */
    pid = (uint32_t)getpid() & ((UINT32_C(1) << PID_BITS) - 1);
    generation = generation_last;
    while ((generation & ((UINT32_C(1) << PID_BITS) - 1)) != pid) {
        next = ((generation >> PID_BITS) + 1) << PID_BITS | pid;
        if (atomic_compare_exchange_weak(&generation_last, &generation, next))
            return next;
    }
    return generation;
}
