/* The way into libsqlite3, closed while the process forks; and the locks of a forked child. */
#define _GNU_SOURCE 1
#include "queue/gate.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/generation.h"

static pthread_rwlock_t gate_lock;
static uint32_t gate_first_process;

static void gate_init(void)
{
    pthread_rwlockattr_t kind;

    pthread_rwlockattr_init(&kind);
#ifdef __GLIBC__
    pthread_rwlockattr_setkind_np(&kind, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
#endif
    pthread_rwlock_init(&gate_lock, &kind);
    pthread_rwlockattr_destroy(&kind);
}

static void gate_before_fork(void)
{
    pthread_rwlock_wrlock(&gate_lock);
}

static void gate_after_fork(void)
{
    pthread_rwlock_unlock(&gate_lock);
}

static void gate_start(void)
{
    gate_init();
    gate_first_process = cf_generation();
    pthread_atfork(gate_before_fork, gate_after_fork, gate_init);
}

void cf_gate_enter(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, gate_start);
    pthread_rwlock_rdlock(&gate_lock);
}

void cf_gate_leave(void)
{
    pthread_rwlock_unlock(&gate_lock);
}

/* libsqlite3 counts the locks that a process has on a file, and in a child the parent's are among them, though the
 * child has none of the system's: others would take it for gone, and remove the log under it. The locks that any
 * connection has for as long as it is open, as the file formats have them, are taken here. Closing a descriptor of our
 * own would end the locks of all: libsqlite3's is looked for. */
static void gate_lock_file(const char *path, off_t start, off_t len)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
    struct stat file, one;
    long fd, end = sysconf(_SC_OPEN_MAX);

    if (stat(path, &file) != 0)
        return;
    for (fd = 3; fd < end && fd < 65536; fd++)
        if (fstat((int)fd, &one) == 0 && one.st_dev == file.st_dev && one.st_ino == file.st_ino &&
            fcntl((int)fd, F_SETLK, &lock) == 0)
            return;
}

void cf_gate_lock_as_child(const char *file)
{
    char path[PATH_MAX];

    if (cf_generation() == gate_first_process)
        return;
    gate_lock_file(file, 0x40000002, 510); /* SHARED */
    if (snprintf(path, sizeof path, "%s-shm", file) < PATH_MAX)
        gate_lock_file(path, 128, 1); /* that the log's index is in use */
}
