/* Keeps SIGPIPE from the host where libcurl does not. */
#define _GNU_SOURCE
#include "engine/sigpipe.h"

#include <pthread.h>
#include <string.h>

#include "engine/libcurl.h"

/* From 7.87 on every send carries MSG_NOSIGNAL (libcurl-facts). */
static bool sigpipe_may_raise(void)
{
#ifdef CF_SIGPIPE_ALWAYS
    return true;
#else
    return !cf_libcurl_is_since(0x075700);
#endif
}

struct cf_sigpipe cf_sigpipe_hold(void)
{
    struct cf_sigpipe guard;
    sigset_t set;

    memset(&guard, 0, sizeof guard);
    if (sigpipe_may_raise()) {
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
