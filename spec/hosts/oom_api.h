/* The API as spec/hosts/oom.c needs it: oom_api.c. */
#ifndef OOM_API_H
#define OOM_API_H

#include <stddef.h>

#define OOM_ITEMS 1000

/* How often each item was accepted, by its number. */
struct oom_seen {
    volatile unsigned items[OOM_ITEMS];
};
extern struct oom_seen *oom_seen;

/* Starts it, for as long as this process lives. 0: it could not. */
int oom_api_start(char *base_url, size_t size);

#endif
