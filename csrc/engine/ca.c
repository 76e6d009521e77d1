/* The files of certificates that options name, read once. */
#define _GNU_SOURCE 1
#include "engine/ca.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/memory.h"

/* All CAs of the world take a quarter of a megabyte. */
#define MOST ((size_t)16 << 20)

static const char ca_no_memory[] = "does not fit into memory";

static const char *ca_read_all(int fd, struct cf_buffer *text)
{
    ssize_t count;

    do {
        enum cf_buffer_status status = cf_buffer_reserve(text, 16384);
        if (status != CF_BUFFER_OK)
            return status == CF_BUFFER_FULL ? "is larger than 16 MiB" : ca_no_memory;
        count = read(fd, text->data + text->len, 16384);
        if (count < 0)
            return strerror(errno);
        text->len += (size_t)count;
    } while (count > 0);
    return memmem(text->data, text->len, "-----BEGIN", 10) ? NULL : "holds no certificate (PEM)";
}

const struct cf_ca *cf_ca_find(const struct cf_ca *cas, const char *path)
{
    while (cas && strcmp(cas->path, path) != 0)
        cas = cas->next;
    return cas;
}

const char *cf_ca_read(struct cf_ca **cas, const char *path)
{
    struct cf_buffer text = {NULL, 0, 0, MOST};
    const char *problem;
    struct cf_ca *ca;
    int fd;

    if (cf_ca_find(*cas, path))
        return NULL;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return strerror(errno);
    problem = ca_read_all(fd, &text);
    close(fd);
    ca = problem ? NULL : cf_zalloc(sizeof *ca + strlen(path) + 1);
    if (!ca) {
        cf_buffer_free(&text);
        return problem ? problem : ca_no_memory;
    }
    memcpy(ca->path, path, strlen(path) + 1);
    ca->pem = text.data;
    ca->len = text.len;
    ca->next = *cas;
    *cas = ca;
    return NULL;
}

void cf_ca_free_all(struct cf_ca **cas)
{
    struct cf_ca *ca;

    while ((ca = *cas)) {
        *cas = ca->next;
        cf_free(ca->pem);
        cf_free(ca);
    }
}
