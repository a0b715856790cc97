// SPDX-License-Identifier: Apache-2.0
// What one instance prints: read from the pipe that is its standard output and error, passed on to our own
// standard error line by line with the function's name in front, and the last 4 KiB of the current invocation
// kept for callers that ask for it. Bounded whatever the function prints. Loop thread.
#ifndef BERTH_SHIM_LOGS_H
#define BERTH_SHIM_LOGS_H

#include "fs/base/check.h"
#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#define LOGS_TAIL_SIZE 4096u // as Lambda's X-Amz-Log-Result
#define LOGS_LINE_SIZE 4096u // longer lines are cut in pieces

struct logs {
    uv_poll_t poll;
    int fd; // read end; -1 when closed
    char prefix[96];
    char line[LOGS_LINE_SIZE]; // an unfinished line
    size_t line_size;
    char tail[LOGS_TAIL_SIZE]; // ring
    size_t tail_total;         // bytes ever put there since the last reset
    void (*closed)(void *context);
    void *context;
};

// Makes the pipe; *ret_write_fd is for the child, the caller closes it after the spawn. 0 or negative errno.
int logs_open(struct logs *logs, uv_loop_t *loop, const char *prefix, int *ret_write_fd);
// Takes what is in the pipe now, so that a response never overtakes what was printed before it.
void logs_drain(struct logs *logs);
// A line of the platform: START, END, REPORT.
void logs_platform(struct logs *logs, const char *format, ...) PRINTF_LIKE(2, 3);
void logs_reset_tail(struct logs *logs);
// Copies the tail, oldest byte first, into out (LOGS_TAIL_SIZE bytes); returns its size.
size_t logs_tail(const struct logs *logs, char *out);
// Prints what is left; `closed` is called once the memory may be reused.
void logs_close(struct logs *logs, void (*closed)(void *context), void *context);

#endif
