/* Keeps SIGPIPE from the host where a library does not. */
#define _GNU_SOURCE 1
#include "base/sigpipe.h"

#include <pthread.h>
#include <string.h>

struct cf_sigpipe cf_sigpipe_hold(bool is_needed)
{
    struct cf_sigpipe guard;
    sigset_t set;

    memset(&guard, 0, sizeof guard);
    if (is_needed) {
        /* One that is pending already is the host's. */
        sigpending(&set);
        if (!sigismember(&set, SIGPIPE)) {
            sigemptyset(&set);
            sigaddset(&set, SIGPIPE);
            guard.held = pthread_sigmask(SIG_BLOCK, &set, &guard.before) == 0;
        }
    }
    return guard;
}

void cf_sigpipe_release(struct cf_sigpipe guard)
{
    sigset_t set;
    int signal_number;

    if (!guard.held)
        return;
    sigpending(&set);
    if (sigismember(&set, SIGPIPE)) {
        sigemptyset(&set);
        sigaddset(&set, SIGPIPE);
        sigwait(&set, &signal_number);
    }
    pthread_sigmask(SIG_SETMASK, &guard.before, NULL);
}
