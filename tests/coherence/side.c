// SPDX-License-Identifier: Apache-2.0
// What the litmuses share: calls that must work, and words for what was seen.
#include "tests/coherence/litmus.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void litmus_die(const char *words, const char *path)
{
    fprintf(stderr, "%s %s: %s\n", words, path, strerror(errno));
    _exit(2);
}

int must(int rc, const char *words, const char *path)
{
    if (rc < 0)
        litmus_die(words, path);
    return rc;
}

unsigned char old_byte(unsigned round)
{
    return (unsigned char)(2 * round + 1);
}

unsigned char new_byte(unsigned round)
{
    return (unsigned char)(2 * round + 2);
}

void overwrite(const char *path, unsigned char byte, size_t n, off_t offset)
{
    char *bytes = malloc(n + 1);
    int fd = must(open(path, O_WRONLY), "open", path);
    if (!bytes)
        litmus_die("memory for", path);
    memset(bytes, byte, n);
    if (pwrite(fd, bytes, n, offset) != (ssize_t)n)
        litmus_die("write", path);
    must(close(fd), "close", path);
    free(bytes);
}

void touch(const char *path)
{
    must(close(must(open(path, O_WRONLY | O_CREAT | O_EXCL, 0644), "create", path)), "close", path);
}

void put(const char *path, unsigned char byte, size_t n)
{
    must(close(must(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644), "create", path)), "close", path);
    overwrite(path, byte, n, 0);
}

void clear(const char *path)
{
    if (unlink(path) < 0 && (errno == EISDIR || errno == EPERM))
        must(rmdir(path), "rmdir", path);
    else if (access(path, F_OK) == 0)
        litmus_die("still there:", path);
}

enum seen seen_other(struct side *side, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(side->what, sizeof(side->what), format, arguments);
    va_end(arguments);
    return SEEN_OTHER;
}

enum seen seen_error(struct side *side, const char *call)
{
    return seen_other(side, "%s: %s", call, strerror(errno));
}

enum seen seen_number(struct side *side, const char *what, long long number, long long old, long long new_)
{
    if (number == new_)
        return SEEN_NEW;
    if (number == old)
        return SEEN_OLD;
    return seen_other(side, "%s %lld, neither %lld nor %lld", what, number, old, new_);
}

enum seen seen_bytes(struct side *side, const char *bytes, ssize_t n, unsigned char old, unsigned char new_)
{
    if (n <= 0)
        return n < 0 ? seen_error(side, "read") : seen_other(side, "nothing to read");
    for (ssize_t i = 1; i < n; i++) {
        if (bytes[i] != bytes[0])
            return seen_other(side, "byte %zd is %#x, byte 0 %#x", i, (unsigned char)bytes[i],
                              (unsigned char)bytes[0]);
    }
    return seen_number(side, "byte", (unsigned char)bytes[0], old, new_);
}
