/* Threads of our own beside the host's. */
#define _GNU_SOURCE 1
#include "queue/thread.h"

#include <signal.h>

int cf_thread_start(pthread_t *thread, void *(*function)(void *), void *data)
{
    sigset_t all, before;
    int problem;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    problem = pthread_create(thread, NULL, function, data);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return problem;
}
