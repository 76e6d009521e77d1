/* So much of the BSDs' header as csrc/base/poller_kqueue.h uses, for `make lint` alone. The types are FreeBSD's. */
#include <stdint.h>
#include <time.h>

#define EVFILT_READ (-1)
#define EVFILT_WRITE (-2)
#define EVFILT_TIMER (-7)
#define EVFILT_USER (-11)
#define EV_ADD 0x0001
#define EV_DELETE 0x0002
#define EV_ONESHOT 0x0010
#define EV_ERROR 0x4000
#define NOTE_TRIGGER 0x01000000

struct kevent {
    uintptr_t ident;
    short filter;
    unsigned short flags;
    unsigned fflags;
    int64_t data;
    void *udata;
    uint64_t ext[4];
};

int kqueue(void);
int kevent(int kq, const struct kevent *changes, int n, struct kevent *events, int size, const struct timespec *limit);
