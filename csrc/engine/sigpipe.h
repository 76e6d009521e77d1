/* Keeps SIGPIPE from the host where libcurl does not. */
#ifndef CFPURGE_SIGPIPE_H
#define CFPURGE_SIGPIPE_H

#include <signal.h>
#include <stdbool.h>

/* Before 7.87 libcurl could raise SIGPIPE while it writes over TLS; there these two keep it from the host's thread. */
struct cf_sigpipe {
    bool held;
    sigset_t before;
};
struct cf_sigpipe cf_sigpipe_hold(void);
void cf_sigpipe_release(struct cf_sigpipe guard);

#endif
