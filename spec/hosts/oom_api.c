/* The API as spec/hosts/oom.c needs it, in a process of its own: what it accepted is counted in memory that both see, before
 * the answer goes out. The words in a body choose the answer: "refuse" 403, "bad" 400 about an item, "again" every other
 * time 503, "slow" never. Accepted are the "t17" or /t17 in the body of any other purge. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "oom_api.h"

#define CONNECTIONS 64

struct oom_seen *oom_seen;

static struct connection {
    char text[8192];
    size_t len;
} connections[CONNECTIONS];
static struct pollfd polled[CONNECTIONS + 1];

static void answer(int fd, const char *status, const char *headers, const char *body)
{
    char text[4096];
    int len = snprintf(text, sizeof text,
                       "HTTP/1.1 %s\r\nContent-Type: application/json\r\nCF-RAY: 8f00ba4-AMS\r\n%sContent-Length: %zu\r\n\r\n%s",
                       status, headers, strlen(body), body);
    if (send(fd, text, (size_t)len, MSG_NOSIGNAL) < 0)
        shutdown(fd, SHUT_RDWR);
}

static void accept_items(const char *body)
{
    const char *at;

    for (at = body; (at = strpbrk(at, "\"/")); at++)
        if (at[1] == 't' && at[2] >= '0' && at[2] <= '9') {
            char *end;
            unsigned long item = strtoul(at + 2, &end, 10);
            if (*end == '"' && item < OOM_ITEMS)
                oom_seen->items[item]++;
        }
}

#define ENVELOPE(success, errors, result, more) \
    "{\"success\":" success ",\"errors\":[" errors "],\"messages\":[{\"code\":1,\"message\":\"a word\"}],\"result\":" result more "}"

static void purge(int fd, const char *body)
{
    static const char accepted[] = ENVELOPE("true", "", "{\"id\":\"9a7806061c88ada191ed06f989cc3dac\"}", "");
    static unsigned turn;

    if (strstr(body, "slow"))
        return;
    if (strstr(body, "refuse")) {
        answer(fd, "403 Forbidden", "",
               ENVELOPE("false", "{\"code\":9109,\"message\":\"no \\u00e9ntry\",\"documentation_url\":\"https://a.example/\","
                                 "\"source\":{\"pointer\":\"/zones\"}}", "null", ""));
    } else if (strstr(body, "bad")) {
        answer(fd, "400 Bad Request", "", ENVELOPE("false", "{\"code\":1100,\"message\":\"bad item\"}", "null", ""));
    } else if (strstr(body, "again") && turn++ % 2 == 0) {
        answer(fd, "503 Service Unavailable", "Retry-After: 0\r\n", ENVELOPE("false", "", "null", ""));
    } else {
        accept_items(body);
        answer(fd, "200 OK", "Ratelimit: \"default\";r=1000;t=10\r\n", accepted);
    }
}

static void list(int fd, const char *path)
{
    if (strstr(path, "/environments"))
        answer(fd, "200 OK", "", ENVELOPE("true", "", "{\"environments\":[{\"ref\":\"e1\",\"name\":\"staging\"}]}", ""));
    else if (strstr(path, "page=1&"))
        answer(fd, "200 OK", "", ENVELOPE("true", "", "[{\"id\":\"z0\",\"name\":\"other.example\"}]",
                                          ",\"result_info\":{\"page\":1,\"total_pages\":2}"));
    else
        answer(fd, "200 OK", "", ENVELOPE("true", "", "[{\"id\":\"z1\",\"name\":\"www.example\"}]",
                                          ",\"result_info\":{\"page\":2,\"total_pages\":2}"));
}

/* Answers what is there as a whole. False: the connection is over. */
static int serve(int fd, struct connection *connection)
{
    ssize_t got = recv(fd, connection->text + connection->len, sizeof connection->text - 1 - connection->len, 0);
    char *body, *length;
    size_t need;

    if (got <= 0)
        return 0;
    connection->len += (size_t)got;
    connection->text[connection->len] = '\0';
    body = strstr(connection->text, "\r\n\r\n");
    if (!body)
        return 1;
    body += 4;
    length = strcasestr(connection->text, "content-length:");
    need = (size_t)(body - connection->text) + (length && length < body ? strtoul(length + 15, NULL, 10) : 0);
    if (connection->len < need)
        return 1;
    if (strncmp(connection->text, "GET", 3) == 0)
        list(fd, connection->text);
    else
        purge(fd, body);
    connection->len = 0;
    return 1;
}

static void run(int listener)
{
    int i, fd;

    for (i = 0; i <= CONNECTIONS; i++)
        polled[i] = (struct pollfd){i ? -1 : listener, POLLIN, 0};
    while (poll(polled, CONNECTIONS + 1, -1) >= 0)
        for (i = 0; i <= CONNECTIONS; i++) {
            if (!polled[i].revents)
                continue;
            if (i > 0) {
                if (!serve(polled[i].fd, &connections[i - 1])) {
                    close(polled[i].fd);
                    polled[i].fd = -1;
                }
                continue;
            }
            fd = accept(listener, NULL, NULL);
            for (i = 1; i <= CONNECTIONS && polled[i].fd >= 0; i++)
                continue;
            if (i > CONNECTIONS) {
                close(fd);
            } else {
                polled[i] = (struct pollfd){fd, POLLIN, 0};
                connections[i - 1].len = 0;
            }
            break;
        }
}

int oom_api_start(char *base_url, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pid_t child, parent = getpid();

    oom_seen = mmap(NULL, sizeof *oom_seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (oom_seen == MAP_FAILED || bind(listener, (struct sockaddr *)&address, len) != 0 || listen(listener, 64) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &len) != 0 || (child = fork()) < 0)
        return 0;
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
            run(listener);
        _exit(1);
    }
    close(listener);
    snprintf(base_url, size, "http://127.0.0.1:%d/client/v4", ntohs(address.sin_port));
    return 1;
}
