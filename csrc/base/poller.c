/* One pollable descriptor: what is the same on every system. The system's calls are in poller_epoll.h, poller_kqueue.h
 * and poller_poll.h, each of which defines the same names, system_…. */
#define _GNU_SOURCE 1
#include "base/poller.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/clock.h"

struct cf_poller_slot {
    unsigned char wanted;     /* what the owner waits for */
    unsigned char lane;       /* whose the descriptor is, for the owner */
    unsigned char registered; /* what the kernel was told */
    unsigned char tracked;    /* between cf_poller_opened and cf_poller_closing */
};

/* -1: more than an int of milliseconds or for ever. Rounded up: waking early would spin. */
static int poller_to_milliseconds(int64_t timeout)
{
    if (timeout >= (int64_t)INT_MAX * 1000)
        return -1;
    return timeout <= 0 ? 0 : (int)((timeout + 999) / 1000);
}

#if !defined(CF_POLLER_POLL) && !defined(CF_POLLER_KQUEUE) && defined(__linux__)
#include "base/poller_epoll.h"
#elif !defined(CF_POLLER_POLL) && (defined(CF_POLLER_KQUEUE) || defined(__APPLE__) || defined(__FreeBSD__) || \
                                   defined(__NetBSD__) || defined(__OpenBSD__) || defined(__DragonFly__))
#include "base/poller_kqueue.h"
#else
#include "base/poller_poll.h"
#endif

bool cf_poller_open(struct cf_poller *poller)
{
    memset(poller, 0, sizeof *poller);
    poller->fd = poller->timer = poller->bell = -1;
    poller->deadline = poller->armed = CF_POLLER_NEVER;
    return system_open(poller);
}

void cf_poller_close(struct cf_poller *poller, bool forget)
{
    int own[3] = {poller->timer, poller->bell, poller->fd};
    size_t i;

    for (i = 0; i < 3 && !forget; i++)
        if (own[i] >= 0)
            close(own[i]);
    poller->fd = poller->timer = poller->bell = -1;
    cf_free(poller->slots);
    poller->slots = NULL;
    poller->slot_count = 0;
}

static struct cf_poller_slot *poller_slot_of(struct cf_poller *poller, int fd)
{
    size_t count = poller->slot_count ? poller->slot_count : 32;
    struct cf_poller_slot *slots;

    if ((size_t)fd < poller->slot_count)
        return &poller->slots[fd];
    while (count <= (size_t)fd)
        count *= 2;
    slots = cf_realloc(poller->slots, count * sizeof *slots);
    if (!slots)
        return NULL;
    memset(slots + poller->slot_count, 0, (count - poller->slot_count) * sizeof *slots);
    poller->slots = slots;
    poller->slot_count = count;
    return &slots[fd];
}

static void poller_arm(struct cf_poller *poller)
{
    if (poller->shown && poller->deadline < poller->armed && system_arm(poller, poller->deadline))
        poller->armed = poller->deadline;
}

int cf_poller_show(struct cf_poller *poller)
{
    if (!poller->shown && poller->fd >= 0) {
        poller->shown = true;
        poller_arm(poller);
        if (poller->ringing)
            system_ring(poller, true);
    }
    return poller->fd;
}

bool cf_poller_opened(struct cf_poller *poller, int fd)
{
    struct cf_poller_slot *slot = poller_slot_of(poller, fd);
    if (slot) {
        slot->wanted = slot->registered = 0;
        slot->tracked = 1;
    }
    return slot != NULL;
}

void cf_poller_closing(struct cf_poller *poller, int fd)
{
    if ((size_t)fd < poller->slot_count) {
        if (poller->slots[fd].registered)
            system_register(poller, fd, poller->slots[fd].registered, 0);
        memset(&poller->slots[fd], 0, sizeof poller->slots[fd]);
    }
}

static bool poller_settle(struct cf_poller *poller, int fd, struct cf_poller_slot *slot)
{
    if (slot->registered != slot->wanted && !system_register(poller, fd, slot->registered, slot->wanted))
        return false;
    slot->registered = slot->wanted;
    return true;
}

bool cf_poller_watch(struct cf_poller *poller, int fd, int what, unsigned char lane)
{
    struct cf_poller_slot *slot = poller_slot_of(poller, fd);
    if (!slot)
        return false;
    slot->wanted = (unsigned char)what;
    slot->lane = lane;
    /* A descriptor that curl opens behind our back (its resolver's socketpair) may be another one when it comes back.
     */
    return (what == 0 && slot->tracked) || poller_settle(poller, fd, slot);
}

void cf_poller_each(struct cf_poller *poller, void (*visit)(int fd, void *data), void *data)
{
    size_t fd;

    for (fd = 0; fd < poller->slot_count; fd++)
        if (poller->slots[fd].tracked)
            visit((int)fd, data);
}

void cf_poller_deadline(struct cf_poller *poller, int64_t deadline)
{
    poller->deadline = deadline;
    poller_arm(poller);
}

void cf_poller_ring(struct cf_poller *poller, bool on)
{
    if (poller->ringing != on && poller->shown)
        system_ring(poller, on);
    poller->ringing = on;
}

/* Drops what is no longer wanted, whose event would come again and again. */
static int poller_keep_wanted(struct cf_poller *poller, struct cf_poller_event *events, int count)
{
    int i, kept = 0;

    for (i = 0; i < count; i++) {
        struct cf_poller_slot *slot = &poller->slots[events[i].fd];
        if (slot->wanted) {
            events[i].lane = slot->lane;
            events[kept++] = events[i];
        } else {
            poller_settle(poller, events[i].fd, slot);
        }
    }
    return kept;
}

int cf_poller_wait(struct cf_poller *poller, struct cf_poller_event *events, int64_t timeout)
{
    int64_t left = poller->deadline == CF_POLLER_NEVER ? CF_POLLER_NEVER : poller->deadline - cf_clock_now();
    int count = system_wait(poller, events, timeout < left ? timeout : left);
    poller->looked = cf_clock_now();
    return poller_keep_wanted(poller, events, count);
}
