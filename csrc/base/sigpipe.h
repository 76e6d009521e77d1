/* Keeps SIGPIPE from the host where a library does not. */
#ifndef CFPURGE_SIGPIPE_H
#define CFPURGE_SIGPIPE_H

#include <signal.h>
#include <stdbool.h>

/* A SIGPIPE that is raised between these two does not reach the host's thread. */
struct cf_sigpipe {
    bool held;
    sigset_t before;
};
struct cf_sigpipe cf_sigpipe_hold(bool is_needed);
void cf_sigpipe_release(struct cf_sigpipe guard);

#endif
