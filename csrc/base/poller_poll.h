/* Anywhere else: poll(2), and nothing to hand out. Included by poller.c alone. */
#include <poll.h>

static bool system_open(struct cf_poller *poller)
{
    (void)poller;
    return true;
}

static bool system_register(struct cf_poller *poller, int fd, int from, int to)
{
    (void)poller, (void)fd, (void)from, (void)to;
    return true;
}

static bool system_arm(struct cf_poller *poller, int64_t deadline)
{
    (void)poller, (void)deadline;
    return true;
}

static void system_ring(struct cf_poller *poller, bool on)
{
    (void)poller, (void)on;
}

static int system_wait(struct cf_poller *poller, struct cf_poller_event *events, int64_t timeout)
{
    struct pollfd *set = NULL;
    size_t used = 0, fd, wanted = 0;
    int kept = 0;

    for (fd = 0; fd < poller->slot_count; fd++)
        wanted += poller->slots[fd].wanted != 0;
    if (wanted > 0 && !(set = cf_realloc(NULL, wanted * sizeof *set))) {
        wanted = 0;
        timeout = timeout < 10000 ? timeout : 10000; /* without memory: look again soon */
    }
    for (fd = 0; used < wanted && fd < poller->slot_count; fd++) {
        int what = poller->slots[fd].wanted;
        if (what) {
            set[used].fd = (int)fd;
            set[used].revents = 0;
            set[used++].events = (short)((what & CF_POLLER_READ ? POLLIN : 0) | (what & CF_POLLER_WRITE ? POLLOUT : 0));
        }
    }
    if (poll(set, (nfds_t)used, poller_to_milliseconds(timeout)) > 0)
        for (fd = 0; fd < used && kept < CF_POLLER_BATCH; fd++)
            if (set[fd].revents) {
                events[kept].fd = set[fd].fd;
                events[kept++].what = (set[fd].revents & POLLIN ? CF_POLLER_READ : 0) |
                                      (set[fd].revents & POLLOUT ? CF_POLLER_WRITE : 0) |
                                      (set[fd].revents & (POLLERR | POLLHUP | POLLNVAL) ? CF_POLLER_ERROR : 0);
            }
    cf_free(set);
    poller->is_full = kept == CF_POLLER_BATCH;
    return kept;
}
