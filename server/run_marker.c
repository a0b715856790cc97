// SPDX-License-Identifier: Apache-2.0
// See run_marker.h. On the file system's shard, and the main thread when it is made. Invariant: while the
// file system is open the file never says "clean"; a file that is missing or makes no sense says nothing
// good.
#include "server/run_marker.h"
#include "fs/base/check.h"
#include "fs/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WORD_LENGTH 36 // of a boot id, a UUID
#define CLEAN       "clean"

// The file's first words, "" when it cannot be read.
static void read_word(int directory_fd, const char *name, char word[WORD_LENGTH + 1])
{
    memset(word, 0, WORD_LENGTH + 1);
    _cleanup_(closep) int fd = openat(directory_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, word, WORD_LENGTH) < 0)
        word[0] = '\0';
    word[strcspn(word, " \n")] = '\0';
}

static int write_word(int directory_fd, const char *word)
{
    char line[WORD_LENGTH + 2];
    int length = snprintf(line, sizeof(line), "%-36.36s\n", word);
    _cleanup_(closep) int fd = openat(directory_fd, "running", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    ssize_t n = pwrite(fd, line, (size_t)length, 0);
    if (n != length)
        return n < 0 ? -errno : -ENOSPC;
    return fsync(fd) < 0 || fsync(directory_fd) < 0 ? -errno : 0;
}

// A marker that cannot be written must go: it may say "clean".
static int remove_marker(int directory_fd, int error)
{
    log_warn("run-marker", "error=%s", strerror(-error));
    if (unlinkat(directory_fd, "running", 0) < 0 && errno != ENOENT)
        return -errno;
    return fsync(directory_fd) < 0 ? -errno : 0;
}

static int open_directory(const char *directory)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static void read_boot(char boot[WORD_LENGTH + 1])
{
    read_word(AT_FDCWD, "/proc/sys/kernel/random/boot_id", boot);
}

void run_marker_read(const char *directory, struct run_marker *ret_marker)
{
    char boot[WORD_LENGTH + 1], before[WORD_LENGTH + 1] = "";
    _cleanup_(closep) int directory_fd = open_directory(directory);
    read_boot(boot);
    if (directory_fd >= 0)
        read_word(directory_fd, "running", before);
    bool clean = strcmp(before, CLEAN) == 0;
    *ret_marker = (struct run_marker){.clean = clean,
                                      .log_continuous = clean || (boot[0] && strcmp(boot, before) == 0)};
}

int run_marker_begin(const char *directory)
{
    char boot[WORD_LENGTH + 1];
    _cleanup_(closep) int directory_fd = open_directory(directory);
    if (directory_fd < 0)
        return directory_fd;
    read_boot(boot);
    int result = write_word(directory_fd, boot[0] ? boot : "unknown");
    return result < 0 ? remove_marker(directory_fd, result) : 0;
}

void run_marker_end(const char *directory)
{
    _cleanup_(closep) int directory_fd = open_directory(directory);
    int result = directory_fd < 0 ? directory_fd : write_word(directory_fd, CLEAN);
    if (result < 0)
        log_warn("run-marker", "directory=%s error=%s", directory, strerror(-result));
}
