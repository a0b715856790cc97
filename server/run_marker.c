// SPDX-License-Identifier: Apache-2.0
// DIR/running; see run_marker.h. Main thread, at start and stop.
#include "server/run_marker.h"
#include "fs/base/check.h"
#include "fs/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define BOOT_ID_SIZE 37 // a UUID and its NUL

// What the file holds, "" when it cannot be read.
static void read_id(int directory_fd, const char *name, char id[BOOT_ID_SIZE])
{
    memset(id, 0, BOOT_ID_SIZE);
    _cleanup_(closep) int fd = openat(directory_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, id, BOOT_ID_SIZE - 1) < 0)
        id[0] = '\0';
}

static int write_id(int directory_fd, const char *id)
{
    _cleanup_(closep) int fd =
        openat(directory_fd, "running", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    ssize_t n = write(fd, id, strlen(id));
    if (n < 0 || (size_t)n != strlen(id) || fsync(fd) < 0 || fsync(directory_fd) < 0)
        return n >= 0 && (size_t)n != strlen(id) ? -ENOSPC : -errno;
    return 0;
}

int run_marker_start(const char *directory, struct run_marker *ret_marker)
{
    _cleanup_(closep) int directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory_fd < 0)
        return -errno;
    char now[BOOT_ID_SIZE], before[BOOT_ID_SIZE];
    read_id(AT_FDCWD, "/proc/sys/kernel/random/boot_id", now);
    bool clean = faccessat(directory_fd, "running", F_OK, 0) < 0 && errno == ENOENT;
    read_id(directory_fd, "running", before);
    struct run_marker marker = {.clean = clean,
                                .log_continuous = clean || (now[0] && strcmp(now, before) == 0)};
    int result = write_id(directory_fd, now);
    if (result == 0)
        *ret_marker = marker;
    return result;
}

void run_marker_stop(const char *directory)
{
    _cleanup_(closep) int directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory_fd < 0 || unlinkat(directory_fd, "running", 0) < 0 || fsync(directory_fd) < 0)
        log_warn("run-marker", "directory=%s error=%s", directory, strerror(errno));
}
