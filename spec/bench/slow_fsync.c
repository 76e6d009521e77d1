/* A disk that takes 20 ms more for each fsync: LD_PRELOAD. */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void slow_wait(void)
{
    struct timespec t = {0, 20 * 1000 * 1000};
    nanosleep(&t, NULL);
}

int fsync(int fd)
{
    slow_wait();
    return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    slow_wait();
    return (int)syscall(SYS_fdatasync, fd);
}
