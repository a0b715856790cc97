// SPDX-License-Identifier: Apache-2.0
// DIR and DIR/lock. Main thread, at start.
#include "server/data_directory.h"
#include "fs/base/check.h"
#include "fs/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int refuse(char *reason, size_t size, const char *directory, int error, const char *fix)
{
    snprintf(reason, size, "data directory %s: %s: %s", directory, strerror(error), fix);
    return -error;
}

// Others must not be able to put files or sockets there.
static int check_private(const char *directory, char *reason, size_t size)
{
    struct stat st;
    if (stat(directory, &st) < 0)
        return refuse(reason, size, directory, errno,
                      "make it readable for this user, or give another --data");
    if (!S_ISDIR(st.st_mode))
        return refuse(reason, size, directory, ENOTDIR, "remove what is there, or give another --data");
    if (st.st_uid != geteuid())
        return refuse(reason, size, directory, EACCES,
                      "it belongs to another user: run as that one, or give another --data");
    if ((st.st_mode & 0777) != 0700 && chmod(directory, 0700) < 0)
        return refuse(reason, size, directory, errno, "its mode cannot be set to 0700");
    return 0;
}

static void held_by(int fd, char *text, size_t size)
{
    ssize_t n = pread(fd, text, size - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    text[strspn(text, "0123456789")] = '\0';
}

static int take_lock(int fd, const char *directory, char *reason, size_t size)
{
    char pid[16];
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        held_by(fd, pid, sizeof(pid));
        snprintf(reason, size,
                 "data directory %s is in use by another berthd (pid %s): stop it, or give another --data",
                 directory, pid[0] ? pid : "unknown");
        return -EBUSY;
    }
    // Who holds it is a courtesy to people: a full disk does not keep a server from starting.
    snprintf(pid, sizeof(pid), "%-10d\n", (int)getpid());
    if (pwrite(fd, pid, strlen(pid), 0) < 0)
        log_warn("lock", "directory=%s error=%s", directory, strerror(errno));
    return 0;
}

int data_directory_open(const char *directory, int *ret_lock_fd, char *reason, size_t reason_size)
{
    if (mkdir(directory, 0700) < 0 && errno != EEXIST)
        return refuse(reason, reason_size, directory, errno,
                      "make the directory above it, or give another --data");
    int result = check_private(directory, reason, reason_size);
    if (result < 0)
        return result;
    _cleanup_(closep) int directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = directory_fd < 0 ? -1 : openat(directory_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return refuse(reason, reason_size, directory, errno,
                      "make it readable and writable for this user, or give another --data");
    result = take_lock(fd, directory, reason, reason_size);
    if (result < 0)
        close(fd);
    else
        *ret_lock_fd = fd;
    return result;
}
