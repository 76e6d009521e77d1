/* Linux: an epoll descriptor that holds curl's sockets, a timerfd and an eventfd. Included by poller.c alone. */
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

static bool poller_add_own(struct cf_poller *poller, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
    return fd >= 0 && epoll_ctl(poller->fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

static bool system_open(struct cf_poller *poller)
{
    poller->fd = epoll_create1(EPOLL_CLOEXEC);
    poller->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    poller->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return poller->fd >= 0 && poller_add_own(poller, poller->timer) && poller_add_own(poller, poller->bell);
}

static bool system_register(struct cf_poller *poller, int fd, int from, int to)
{
    struct epoll_event event = {.events = 0, .data = {.fd = fd}};
    int op = to == 0 ? EPOLL_CTL_DEL : from == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;

    if (to & CF_POLLER_READ)
        event.events |= EPOLLIN;
    if (to & CF_POLLER_WRITE)
        event.events |= EPOLLOUT;
    if (epoll_ctl(poller->fd, op, fd, &event) == 0 || op == EPOLL_CTL_DEL)
        return true;
    /* The kernel's books and ours may differ only for a descriptor that came and went unseen. */
    return epoll_ctl(poller->fd, op == EPOLL_CTL_ADD ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) == 0;
}

static bool system_arm(struct cf_poller *poller, int64_t deadline)
{
    struct itimerspec at = {.it_interval = {0, 0},
                            .it_value = {(time_t)(deadline / 1000000), (long)(deadline % 1000000 * 1000)}};
    /* All zero would disarm it. */
    if (deadline <= 0)
        at.it_value.tv_nsec = 1;
    return timerfd_settime(poller->timer, TFD_TIMER_ABSTIME, &at, NULL) == 0;
}

static void system_ring(struct cf_poller *poller, bool on)
{
    uint64_t value = 1;
    ssize_t ignored = on ? write(poller->bell, &value, sizeof value) : read(poller->bell, &value, sizeof value);
    (void)ignored;
}

static int system_wait(struct cf_poller *poller, struct cf_poller_event *events, int64_t timeout)
{
    struct epoll_event ready[CF_POLLER_BATCH];
    int count = epoll_wait(poller->fd, ready, CF_POLLER_BATCH, poller_to_milliseconds(timeout)), i, kept = 0;
    uint64_t ticks;

    poller->is_full = count == CF_POLLER_BATCH;
    for (i = 0; i < count; i++) {
        int fd = ready[i].data.fd;
        if (fd == poller->timer) {
            ssize_t ignored = read(fd, &ticks, sizeof ticks);
            (void)ignored;
            poller->armed = CF_POLLER_NEVER;
        } else if (fd != poller->bell) {
            events[kept].fd = fd;
            events[kept++].what = (ready[i].events & EPOLLIN ? CF_POLLER_READ : 0) |
                                  (ready[i].events & EPOLLOUT ? CF_POLLER_WRITE : 0) |
                                  (ready[i].events & (EPOLLERR | EPOLLHUP) ? CF_POLLER_ERROR : 0);
        }
    }
    return kept;
}
