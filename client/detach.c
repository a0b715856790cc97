// SPDX-License-Identifier: Apache-2.0
// See detach.h.
#include "client/detach.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

// A user's mount belongs to fusermount3, which is set-uid.
static int run_fusermount(const char *path, bool force, char *said, size_t size)
{
    int output[2];
    if (pipe2(output, O_CLOEXEC) < 0)
        return -errno;
    pid_t child = fork();
    if (child == 0) {
        dup2(output[1], STDERR_FILENO);
        execlp("fusermount3", "fusermount3", "-u", force ? "-z" : "--", path, (char *)NULL);
        dprintf(STDERR_FILENO, "fusermount3: %s", strerror(errno));
        _exit(127);
    }
    close(output[1]);
    ssize_t n = child > 0 ? read(output[0], said, size - 1) : 0;
    said[n > 0 ? n : 0] = '\0';
    said[strcspn(said, "\n")] = '\0';
    close(output[0]);
    int status = -1;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

int detach(const char *path, bool force, char *said, size_t said_size)
{
    said[0] = '\0';
    int flags = force ? MNT_FORCE | MNT_DETACH | UMOUNT_NOFOLLOW : UMOUNT_NOFOLLOW;
    int result = umount2(path, flags) < 0 ? -errno : 0;
    if (result == -EPERM && geteuid() != 0)
        result = run_fusermount(path, force, said, said_size);
    return result;
}
