/* What there is once a process: libcurl's global state and the mark by which a fork is noticed. */
#define _GNU_SOURCE
#include "engine/global.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/libcurl.h"
#include "base/memory.h"
#include "engine/tls.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode curl_ready = CURLE_FAILED_INIT;

/* The kernel empties this page in a forked child, however the fork was made: it costs a load to look, where getpid is a
 * system call (libcurl-facts). NULL where the kernel has no MADV_WIPEONFORK: then the process id stands in. */
static _Atomic uint64_t *mark;
static _Atomic uint64_t last_generation = 1;

static void global_init(void)
{
#if defined(MADV_WIPEONFORK) && !defined(CF_GLOBAL_PID)
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *map = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map != MAP_FAILED) {
        if (madvise(map, page, MADV_WIPEONFORK) == 0)
            mark = map;
        else
            munmap(map, page);
    }
#endif
    if (mark)
        *mark = last_generation;
    /* libcurl's copies of the credential are wiped as they are freed. Where the host was here first, it has chosen. */
    curl_ready = cf_memory_init() ? curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, cf_memory_free, cf_memory_realloc,
                                                         strdup, calloc)
                                  : curl_global_init(CURL_GLOBAL_DEFAULT);
    if (curl_ready == CURLE_OK)
        cf_tls_prepare();
}

bool cf_global_init(void)
{
    pthread_once(&once, global_init);
    return curl_ready == CURLE_OK;
}

uint64_t cf_global_generation(void)
{
    uint64_t generation, next;
    uint32_t pid;

    if (mark) {
        generation = *mark;
        if (generation)
            return generation;
        next = ++last_generation;
        /* Of two threads of the child the first one names the generation. */
        return atomic_compare_exchange_strong(mark, &generation, next) ? next : generation;
    }
    /* A count in the upper half, the process in the lower: both change at once for all threads, though ids come again.
     */
    pid = (uint32_t)getpid();
    generation = last_generation;
    while ((uint32_t)generation != pid) {
        next = ((generation >> 32) + 1) << 32 | pid;
        if (atomic_compare_exchange_weak(&last_generation, &generation, next))
            return next;
    }
    return generation;
}
