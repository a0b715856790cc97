// SPDX-License-Identifier: Apache-2.0
// See mountstatus.h. The asking is done by a child, which can be left behind when the daemon is stopped.
#include "client/mountstatus.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ANSWER_MAX_MS 1000
#define END_MAX_MS    500
#define VALUE_SIZE    2048

// What goes through the pipe: the result, then the text.
static void ask(const char *path, int fd)
{
    char text[MOUNTSTATUS_SIZE];
    ssize_t n = getxattr(path, "system.berth.status", text, sizeof(text) - 1);
    int result = n < 0 ? -errno : (int)n;
    if (write(fd, &result, sizeof(result)) == (ssize_t)sizeof(result) && n > 0)
        n = write(fd, text, (size_t)n);
    _exit(n < 0);
}

static int receive(int fd, char *ret_text, size_t size)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    int n;
    if (poll(&wait, 1, ANSWER_MAX_MS) <= 0)
        return -ETIMEDOUT;
    if (read(fd, &n, sizeof(n)) != (ssize_t)sizeof(n))
        return -EIO;
    if (n < 0)
        return n;
    size_t have = 0;
    ssize_t got;
    while (have < size - 1 && (got = read(fd, ret_text + have, size - 1 - have)) > 0)
        have += (size_t)got;
    ret_text[have] = '\0';
    return have == (size_t)n ? 0 : -EIO;
}

// It holds the mount busy as long as it is there; whom the daemon keeps waiting even so is left behind.
static void end_child(pid_t child)
{
    kill(child, SIGKILL);
    for (int waited_ms = 0; waitpid(child, NULL, WNOHANG) == 0 && waited_ms < END_MAX_MS; waited_ms++)
        usleep(1000);
}

int mountstatus_read(const char *path, char *ret_text, size_t size)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    pid_t child = fork();
    if (child == 0)
        ask(path, fds[1]);
    close(fds[1]);
    int result = child > 0 ? receive(fds[0], ret_text, size) : -EAGAIN;
    close(fds[0]);
    if (child > 0)
        end_child(child);
    return result;
}

// --- the object ---

// A string or a bare word at *at; advances behind it. False: neither.
static bool take_value(const char **at, char *out, size_t size)
{
    size_t n = 0;
    const char *p = *at;
    bool quoted = *p == '"';
    if (quoted)
        p++;
    while (*p && (quoted ? *p != '"' : !strchr(",} ", *p))) {
        unsigned code = 0;
        if (*p == '\\' && p[1] == 'u' &&
            sscanf(p + 2, "%4x", &code) == 1) { // NOLINT(cert-err34-c): at most ffff
            p += strnlen(p, 6) - 1;
        } else {
            p += *p == '\\' && p[1] ? 1 : 0;
            code = (unsigned char)*p;
        }
        if (n + 1 < size)
            out[n++] = (char)code;
        p++;
    }
    out[n] = '\0';
    if (quoted && *p == '"')
        p++;
    else if (quoted || n == 0)
        return false;
    *at = p;
    return true;
}

void mountstatus_each(const char *text, void (*each)(void *context, const char *key, const char *value),
                      void *context)
{
    char key[64], value[VALUE_SIZE];
    const char *at = text;
    while (*at) {
        at += strspn(at, "{, ");
        if (!take_value(&at, key, sizeof(key)))
            return;
        at += strspn(at, ": ");
        if (!take_value(&at, value, sizeof(value)))
            return;
        each(context, key, value);
    }
}

struct search {
    const char *key;
    char *value;
    size_t size;
    bool found;
};

static void compare(void *context, const char *key, const char *value)
{
    struct search *search = context;
    if (search->found || strcmp(key, search->key) != 0)
        return;
    snprintf(search->value, search->size, "%s", value);
    search->found = true;
}

bool mountstatus_get(const char *text, const char *key, char *ret_value, size_t size)
{
    struct search search = {.key = key, .value = ret_value, .size = size};
    mountstatus_each(text, compare, &search);
    return search.found;
}
