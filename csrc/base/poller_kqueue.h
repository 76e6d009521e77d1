/* The BSDs and macOS: one kqueue with a timer and a user event. Included by poller.c alone. */
#include <sys/event.h>
#include <time.h>

#define TIMER_IDENT 1
#define BELL_IDENT 2

/* EV_SET's fields differ in type from system to system. */
static bool poller_change(struct cf_poller *poller, uintptr_t ident, short filter, unsigned flags, unsigned fflags,
                          int64_t data)
{
    struct kevent event;
    memset(&event, 0, sizeof event);
    event.ident = ident;
    event.filter = filter;
    event.flags = (unsigned short)flags;
    event.fflags = fflags;
    event.data = (intptr_t)data;
    return kevent(poller->fd, &event, 1, NULL, 0, NULL) == 0;
}

static bool system_open(struct cf_poller *poller)
{
    poller->fd = kqueue();
    return poller->fd >= 0 && fcntl(poller->fd, F_SETFD, FD_CLOEXEC) == 0 &&
           poller_change(poller, BELL_IDENT, EVFILT_USER, EV_ADD, 0, 0);
}

static bool system_register(struct cf_poller *poller, int fd, int from, int to)
{
    static const struct {
        int what;
        short filter;
    } filters[] = {{CF_POLLER_READ, EVFILT_READ}, {CF_POLLER_WRITE, EVFILT_WRITE}};
    bool done = true;
    int i;

    for (i = 0; i < 2; i++)
        if ((from ^ to) & filters[i].what) {
            bool add = (to & filters[i].what) != 0;
            if (!poller_change(poller, (uintptr_t)fd, filters[i].filter, add ? EV_ADD : EV_DELETE, 0, 0) && add)
                done = false;
        }
    return done;
}

static bool system_arm(struct cf_poller *poller, int64_t deadline)
{
    int64_t left = deadline - cf_clock_now();
    /* Milliseconds are the unit that every kqueue knows without a flag. Not all of them fire a timer of 0 (libkqueue). */
    return poller_change(poller, TIMER_IDENT, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, left > 0 ? (left + 999) / 1000 : 1);
}

static void system_ring(struct cf_poller *poller, bool on)
{
    /* Without EV_CLEAR a triggered user event stays until it is deleted. */
    if (on)
        poller_change(poller, BELL_IDENT, EVFILT_USER, 0, NOTE_TRIGGER, 0);
    else if (poller_change(poller, BELL_IDENT, EVFILT_USER, EV_DELETE, 0, 0))
        poller_change(poller, BELL_IDENT, EVFILT_USER, EV_ADD, 0, 0);
}

static int system_wait(struct cf_poller *poller, struct cf_poller_event *events, int64_t timeout)
{
    struct kevent ready[CF_POLLER_BATCH];
    int milliseconds = poller_to_milliseconds(timeout), count, i, kept = 0;
    struct timespec limit = {milliseconds / 1000, milliseconds % 1000 * 1000000L};

    count = kevent(poller->fd, NULL, 0, ready, CF_POLLER_BATCH, milliseconds < 0 ? NULL : &limit);
    poller->is_full = count == CF_POLLER_BATCH;
    for (i = 0; i < count; i++) {
        if (ready[i].filter == EVFILT_TIMER) {
            poller->armed = CF_POLLER_NEVER;
        } else if (ready[i].filter != EVFILT_USER) {
            events[kept].fd = (int)ready[i].ident;
            events[kept++].what = (ready[i].filter == EVFILT_READ ? CF_POLLER_READ : CF_POLLER_WRITE) |
                                  (ready[i].flags & EV_ERROR ? CF_POLLER_ERROR : 0);
        }
    }
    return kept;
}
