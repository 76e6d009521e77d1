/* For a host that takes threads and files away from its worker, as HAProxy does: what requests need of them is fetched
 * before. */
#ifndef CFPURGE_PRELOAD_H
#define CFPURGE_PRELOAD_H

struct cf_engine;

/* Looks up the names of `base_url` and `proxy` (NULL: none), for as long as the system takes for it, and reads the
 * system's certificates; requests of this engine go to these addresses from then on. NULL, or what went wrong. */
const char *cf_engine_preload(struct cf_engine *engine, const char *base_url, const char *proxy);

#endif
