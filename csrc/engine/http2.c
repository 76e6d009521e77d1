/* What libcurl's HTTP/2 library is told in libcurl's place, about memory and about floods.
 *
 * nghttp2 copies every header, the credential too, into blocks that it frees as they are. A libcurl newer than 8.11.0
 * gives it its own allocator, and with that ours (curl's pull request 15527). An older one calls
 * nghttp2_session_client_new2, for which the linker finds the function below: libcurl is loaded for our sake, and what
 * it needs is looked for in us first. Where the host had libcurl before us this is never called, and the copies remain.
 *
 * libcurl 7.88 does not return before it has read all there is: a server that sends frames as fast as they are read (5
 * s of PING, measured) would keep us past every time-out. What answers nobody has a limit for each call; newer ones
 * have one. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine_private.h"
#include "base/memory.h"
#include "engine/tls.h"

enum { DATA, HEADERS };
/* A server that has read the bodies of 100 streams needs some 10 KB to say so. */
#define MOST_CHATTER ((size_t)256 << 10)
#define FRAME_HEAD 9

struct nghttp2_mem { /* https://nghttp2.org/documentation/types.html#c.nghttp2_mem */
    void *user_data;
    void *(*malloc)(size_t size, void *user_data);
    void (*free)(void *block, void *user_data);
    void *(*calloc)(size_t count, size_t size, void *user_data);
    void *(*realloc)(void *block, size_t size, void *user_data);
};

struct nghttp2_frame_hd { /* https://nghttp2.org/documentation/types.html#c.nghttp2_frame_hd */
    size_t length;
    int32_t stream_id;
    uint8_t type, flags, reserved;
};

typedef int on_begin_frame(void *session, const struct nghttp2_frame_hd *frame, void *user_data);
typedef void set_on_begin_frame(const void *callbacks, on_begin_frame *callback);
typedef int new_session(void **session, const void *callbacks, void *user_data, const void *option);
typedef int new_session_with(void **session, const void *callbacks, void *user_data, const void *option,
                             struct nghttp2_mem *memory);

__attribute__((weak, visibility("default"))) new_session nghttp2_session_client_new2;

static void *http2_allocate(size_t size, void *unused)
{
    (void)unused;
    return malloc(size);
}

static void http2_release(void *block, void *unused)
{
    (void)unused;
    cf_memory_free(block);
}

static void *http2_allocate_zeros(size_t count, size_t size, void *unused)
{
    (void)unused;
    return calloc(count, size);
}

static void *http2_reallocate(void *block, size_t size, void *unused)
{
    (void)unused;
    return cf_memory_realloc(block, size);
}

/* Any number but 0 ends the session. What an answer says has a limit of its own. */
static int http2_count_chatter(void *session, const struct nghttp2_frame_hd *frame, void *unused)
{
    (void)session, (void)unused;
    if (cf_engine_chatter == 0)
        return 0;
    cf_engine_chatter += FRAME_HEAD + (frame->type == DATA || frame->type == HEADERS ? 0 : frame->length);
    return cf_engine_chatter > MOST_CHATTER;
}

static new_session *plain;
static new_session_with *with_memory;
static set_on_begin_frame *set_callback;

static void http2_look(void)
{
    void *libcurl = cf_tls_libcurl(), *symbol;

    symbol = dlsym(libcurl ? libcurl : RTLD_NEXT, "nghttp2_session_client_new3");
    memcpy(&with_memory, &symbol, sizeof symbol);
    symbol = dlsym(libcurl ? libcurl : RTLD_NEXT, "nghttp2_session_client_new2");
    memcpy(&plain, &symbol, sizeof symbol);
    symbol = dlsym(libcurl ? libcurl : RTLD_NEXT, "nghttp2_session_callbacks_set_on_begin_frame_callback");
    memcpy(&set_callback, &symbol, sizeof symbol);
}

int nghttp2_session_client_new2(void **session, const void *callbacks, void *user_data, const void *option)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static const int out_of_memory = -901; /* NGHTTP2_ERR_NOMEM */
    struct nghttp2_mem memory = {NULL, http2_allocate, http2_release, http2_allocate_zeros, http2_reallocate};

    pthread_once(&once, http2_look);
    if (set_callback)
        set_callback(callbacks, http2_count_chatter);
    if (with_memory)
        return with_memory(session, callbacks, user_data, option, &memory);
    return plain ? plain(session, callbacks, user_data, option) : out_of_memory;
}
