/* One pollable descriptor: epoll with a timerfd and an eventfd, or kqueue; where there is neither, poll(2) and no
 * descriptor. It watches descriptors lazily: what curl no longer wants is forgotten only when a stray event shows that
 * it is still there, because curl drops and takes up the same socket with every transfer. Times are microseconds of
 * cf_clock_now. */
#ifndef CFPURGE_POLLER_H
#define CFPURGE_POLLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CF_POLLER_READ 1
#define CF_POLLER_WRITE 2
#define CF_POLLER_ERROR 4

#define CF_POLLER_NEVER INT64_MAX
#define CF_POLLER_BATCH 64

struct cf_poller_event {
    int fd, what;
    unsigned char lane; /* as it was given to cf_poller_watch */
};

struct cf_poller_slot;

/* One owner, one thread. Its members are its own, but for `looked` and `is_full`, which may be read. */
struct cf_poller {
    int fd, timer, bell; /* -1 where there is none */
    bool shown, ringing; /* the descriptor was handed out; completions wait */
    bool is_full;        /* the last look may have left news, though it gave none: it drops what is not wanted */
    int64_t looked;      /* when the descriptors were last asked for news; 0 for never */
    int64_t deadline, armed;
    struct cf_poller_slot *slots; /* by descriptor */
    size_t slot_count;
};

/* Sets every field, so that cf_poller_close is safe after a failure too. */
bool cf_poller_open(struct cf_poller *poller);
/* Closes what cf_poller_open opened, and forgets what is watched. A forked child says `forget`: it closes nothing, for
 * it may have closed its copies of the parent's descriptors itself and have others under their numbers. All of them are
 * close-on-exec. */
void cf_poller_close(struct cf_poller *poller, bool forget);

/* The descriptor for a host's event loop, -1 where there is none. It is readable when the owner has work. */
int cf_poller_show(struct cf_poller *poller);

/* `fd` was just opened; until cf_poller_closing it stands for the same socket, which is what allows to be lazy with it.
 */
bool cf_poller_opened(struct cf_poller *poller, int fd);
void cf_poller_closing(struct cf_poller *poller, int fd);
/* From now on `what` is wanted of `fd`, 0 for nothing. `lane` comes back with its events. */
bool cf_poller_watch(struct cf_poller *poller, int fd, int what, unsigned char lane);
/* Visits the descriptors between cf_poller_opened and cf_poller_closing. */
void cf_poller_each(struct cf_poller *poller, void (*visit)(int fd, void *data), void *data);

/* When the owner has to be called at the latest; CF_POLLER_NEVER for no such time. */
void cf_poller_deadline(struct cf_poller *poller, int64_t deadline);
/* Keeps the descriptor readable while `on`. */
void cf_poller_ring(struct cf_poller *poller, bool on);

/* Waits at most `timeout` for events of watched descriptors; how many there are, at most CF_POLLER_BATCH. */
int cf_poller_wait(struct cf_poller *poller, struct cf_poller_event *events, int64_t timeout);

#endif
