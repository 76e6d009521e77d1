/* Threads of our own beside the host's. */
#ifndef CFPURGE_THREAD_H
#define CFPURGE_THREAD_H

#include <pthread.h>

/* As pthread_create: 0, or why there is none. The host's signals are not the thread's. */
int cf_thread_start(pthread_t *thread, void *(*function)(void *), void *data);

#endif
