// SPDX-License-Identifier: Apache-2.0
// See logs.h. The pipe is polled and read here rather than by a libuv stream, because logs_drain() must be
// able to read it out of turn.
#include "shim/logs.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>

#define TURN_MAX \
    (256u * 1024) // bytes read in one turn: a function that never stops printing must not stop the loop

static void keep(struct logs *logs, const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        logs->tail[(logs->tail_total++) % LOGS_TAIL_SIZE] = bytes[i];
}

// One write(2) a line. Standard error that is gone or full loses the line, nothing else.
static void print_line(const struct logs *logs, const char *text, size_t size)
{
    char out[sizeof(logs->prefix) + LOGS_LINE_SIZE + 4];
    int length = snprintf(out, sizeof(out), "%s %.*s\n", logs->prefix, (int)size, text);
    ssize_t written = write(STDERR_FILENO, out, (size_t)length);
    (void)written;
}

static void flush_line(struct logs *logs)
{
    if (logs->line_size == 0)
        return;
    print_line(logs, logs->line, logs->line_size);
    logs->line_size = 0;
}

static void take(struct logs *logs, const char *bytes, size_t size)
{
    keep(logs, bytes, size);
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != '\n')
            logs->line[logs->line_size++] = bytes[i] ? bytes[i] : ' ';
        if (bytes[i] == '\n' || logs->line_size == sizeof(logs->line))
            flush_line(logs);
    }
}

void logs_drain(struct logs *logs)
{
    char bytes[8192];
    for (size_t total = 0; logs->fd >= 0 && total < TURN_MAX;) {
        ssize_t size = read(logs->fd, bytes, sizeof(bytes));
        if (size < 0 && errno == EINTR)
            continue;
        if (size == 0)
            uv_poll_stop(&logs->poll); // every writer is gone
        if (size <= 0)
            return;
        take(logs, bytes, (size_t)size);
        total += (size_t)size;
    }
}

static void on_readable(uv_poll_t *poll, int status UNUSED, int events UNUSED)
{
    logs_drain(poll->data);
}

int logs_open(struct logs *logs, uv_loop_t *loop, const char *prefix, int *ret_write_fd)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    if (fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0 || uv_poll_init(loop, &logs->poll, fds[0]) < 0) {
        int rc = -errno;
        close(fds[0]);
        close(fds[1]);
        return rc;
    }
    logs->fd = fds[0];
    logs->line_size = 0;
    logs->tail_total = 0;
    snprintf(logs->prefix, sizeof(logs->prefix), "%s", prefix);
    logs->poll.data = logs;
    uv_poll_start(&logs->poll, UV_READABLE, on_readable);
    *ret_write_fd = fds[1];
    return 0;
}

void logs_platform(struct logs *logs, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(line, sizeof(line) - 1, format, args);
    va_end(args);
    size_t size = MIN((size_t)length, sizeof(line) - 2);
    flush_line(logs);
    print_line(logs, line, size);
    line[size] = '\n';
    keep(logs, line, size + 1);
}

void logs_reset_tail(struct logs *logs)
{
    logs->tail_total = 0;
}

size_t logs_tail(const struct logs *logs, char *out)
{
    size_t size = MIN(logs->tail_total, (size_t)LOGS_TAIL_SIZE);
    for (size_t i = 0; i < size; i++)
        out[i] = logs->tail[(logs->tail_total - size + i) % LOGS_TAIL_SIZE];
    return size;
}

static void on_closed(uv_handle_t *handle)
{
    struct logs *logs = handle->data;
    close(logs->fd);
    logs->fd = -1;
    logs->closed(logs->context);
}

void logs_close(struct logs *logs, void (*closed)(void *context), void *context)
{
    logs_drain(logs);
    flush_line(logs);
    logs->closed = closed;
    logs->context = context;
    uv_close((uv_handle_t *)&logs->poll, on_closed);
}
