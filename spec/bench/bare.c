/* The baseline: the same requests by libcurl alone, with the options that csrc/engine/attempt.c sets, each handle set up once.
 * bare HOW URL CA_FILE BODY_FILE IN_FLIGHT COUNT; HOW is easy (one after another), poll (curl_multi_poll) or epoll
 * (curl_multi_socket_action). Prints wall seconds and CPU seconds of COUNT requests on warm connections. */
#define _GNU_SOURCE
#include <curl/curl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#define MOST 512

static const char *url, *ca_file;
static char *body;
static long body_size, in_flight, left, running;
static CURLM *multi;
static CURL *handles[MOST];
static int epoll_fd;
static long due = -1;       /* milliseconds; -1 for never */

static void die(const char *what)
{
    fprintf(stderr, "bare: %s\n", what);
    exit(1);
}

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static size_t on_bytes(char *bytes, size_t size, size_t count, void *kept)
{
    static char last[4096];
    (void)kept;
    if (size * count <= sizeof last)
        memcpy(last, bytes, size * count);
    return size * count;
}

static CURL *new_handle(CURLSH *share)
{
    static struct curl_slist *headers;
    CURL *easy = curl_easy_init();

    if (!easy)
        die("no handle");
    if (!headers) {
        headers = curl_slist_append(headers, "Authorization: Bearer bench-token");
        headers = curl_slist_append(headers, "Content-Type: application/json");
        headers = curl_slist_append(headers, "Accept: application/json");
        headers = curl_slist_append(headers, "Expect:");
    }
    curl_easy_setopt(easy, CURLOPT_SHARE, share);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_bytes);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(easy, CURLOPT_PIPEWAIT, strncmp(url, "https:", 6) == 0 ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file);
    curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)1 << 20);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 4096L);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE);
    curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "cfpurge/1.0.0");
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body_size);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 60000L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, 10000L);
    return easy;
}

static void check(CURL *easy, CURLcode code)
{
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK || status != 200)
        die(curl_easy_strerror(code));
}

static void drain(void)
{
    CURLMsg *message;
    int more;

    while ((message = curl_multi_info_read(multi, &more))) {
        CURL *easy = message->easy_handle;
        check(easy, message->data.result);
        curl_multi_remove_handle(multi, easy);
        running--;
        if (left > 0) {
            left--;
            running++;
            curl_multi_add_handle(multi, easy);
        }
    }
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *unused, void *known)
{
    struct epoll_event event = {.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0)};
    (void)easy, (void)unused;
    event.data.fd = fd;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    } else {
        epoll_ctl(epoll_fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
        curl_multi_assign(multi, fd, multi);
    }
    return 0;
}

static int on_timer(CURLM *self, long milliseconds, void *unused)
{
    (void)self, (void)unused;
    due = milliseconds;
    return 0;
}

static void turn(bool with_epoll)
{
    struct epoll_event events[64];
    int still, count, i;

    if (!with_epoll) {
        if (curl_multi_perform(multi, &still) != CURLM_OK)
            die("perform");
        drain();
        if (running > 0)
            curl_multi_poll(multi, NULL, 0, 1000, NULL);
        return;
    }
    count = epoll_wait(epoll_fd, events, 64, due < 0 ? 1000 : (int)due);
    if (count == 0) {
        due = -1;
        curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &still);
    }
    for (i = 0; i < count; i++)
        curl_multi_socket_action(multi, events[i].data.fd,
                                 (events[i].events & EPOLLIN ? CURL_CSELECT_IN : 0) |
                                     (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0),
                                 &still);
    drain();
}

static void run(const char *how, long count)
{
    long i;

    if (strcmp(how, "easy") == 0) {
        for (i = 0; i < count; i++)
            check(handles[0], curl_easy_perform(handles[0]));
        return;
    }
    left = count - in_flight;
    for (i = 0; i < in_flight; i++, running++)
        curl_multi_add_handle(multi, handles[i]);
    while (running > 0)
        turn(strcmp(how, "epoll") == 0);
}

int main(int argc, char **argv)
{
    double wall, cpu;
    long count, i;
    FILE *file = argc == 7 ? fopen(argv[4], "rb") : NULL;
    CURLSH *share;

    if (!file)
        die("bare HOW URL CA_FILE BODY_FILE IN_FLIGHT COUNT");
    url = argv[2];
    ca_file = argv[3];
    body = malloc(1 << 20);
    body_size = body ? (long)fread(body, 1, 1 << 20, file) : 0;
    fclose(file);
    in_flight = atol(argv[5]);
    count = atol(argv[6]);
    if (in_flight < 1 || in_flight > MOST)
        die("in flight: 1 to 512");

    curl_global_init(CURL_GLOBAL_DEFAULT);
    share = curl_share_init();
    curl_share_setopt(share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    multi = curl_multi_init();
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, in_flight);
    curl_multi_setopt(multi, CURLMOPT_MAX_CONCURRENT_STREAMS, 256L);
    if (strcmp(argv[1], "epoll") == 0) {
        epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
        curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
    }
    for (i = 0; i < in_flight; i++)
        handles[i] = new_handle(share);

    run(argv[1], count / 20 > 64 ? count / 20 : 64);
    wall = seconds(CLOCK_MONOTONIC);
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    run(argv[1], count);
    printf("%.6f %.6f\n", seconds(CLOCK_MONOTONIC) - wall, seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    return 0;
}
