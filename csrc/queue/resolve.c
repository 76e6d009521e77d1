/* Finds a host's address on a thread of its own: getaddrinfo may take as long as it likes. */
#define _GNU_SOURCE 1
#include "queue/resolve.h"

#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/memory.h"
#include "queue/thread.h"

/* Of two owners, the caller and the thread: who leaves last frees it. The thread writes all else before it rings. */
struct cf_resolve {
    atomic_int owners;
    char *host;
    unsigned turn;
    int bell[2];
    char address[NI_MAXHOST];
    const char *_Atomic problem; /* written last: who has read it may read the address */
};

static void resolve_leave(struct cf_resolve *resolve)
{
    if (atomic_fetch_sub(&resolve->owners, 1) > 1)
        return;
    close(resolve->bell[0]);
    close(resolve->bell[1]);
    cf_free(resolve->host);
    cf_free(resolve);
}

static const struct addrinfo *resolve_chosen(const struct addrinfo *found, unsigned turn)
{
    const struct addrinfo *one;
    unsigned count = 1;

    for (one = found->ai_next; one; one = one->ai_next)
        count++;
    for (one = found, turn %= count; turn > 0; turn--)
        one = one->ai_next;
    return one;
}

static void *resolve_thread(void *data)
{
    struct cf_resolve *resolve = data;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    const struct addrinfo *one;
    ssize_t rung;
    int code = getaddrinfo(resolve->host, NULL, &hints, &found);

    if (code == 0) {
        one = resolve_chosen(found, resolve->turn);
        code = getnameinfo(one->ai_addr, one->ai_addrlen, resolve->address, sizeof resolve->address, NULL, 0,
                           NI_NUMERICHOST);
    }
    if (found)
        freeaddrinfo(found);
    atomic_store(&resolve->problem, code != 0 ? gai_strerror(code) : NULL);
    /* The pipe is empty: it takes a byte. */
    rung = write(resolve->bell[1], "", 1);
    (void)rung;
    resolve_leave(resolve);
    return NULL;
}

static bool resolve_begin(struct cf_resolve *resolve)
{
    pthread_t thread;
    bool is_started = cf_thread_start(&thread, resolve_thread, resolve) == 0;

    if (is_started)
        pthread_detach(thread);
    return is_started;
}

struct cf_resolve *cf_resolve_start(const char *host, unsigned turn, int *fd)
{
    struct cf_resolve *resolve = cf_zalloc(sizeof *resolve);

    if (!resolve)
        return NULL;
    resolve->host = cf_strndup(host, strlen(host));
    resolve->turn = turn;
    if (!resolve->host || pipe2(resolve->bell, O_NONBLOCK | O_CLOEXEC) != 0) {
        cf_free(resolve->host);
        cf_free(resolve);
        return NULL;
    }
    atomic_store(&resolve->owners, 2);
    *fd = resolve->bell[0];
    if (!resolve_begin(resolve)) {
        atomic_store(&resolve->owners, 1);
        resolve_leave(resolve);
        return NULL;
    }
    return resolve;
}

const char *cf_resolve_answer(const struct cf_resolve *resolve, const char **problem)
{
    *problem = atomic_load(&resolve->problem);
    return *problem ? NULL : resolve->address;
}

void cf_resolve_free(struct cf_resolve *resolve)
{
    if (resolve)
        resolve_leave(resolve);
}
