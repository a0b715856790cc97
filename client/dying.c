// SPDX-License-Identifier: Apache-2.0
// See dying.h. A thread is dying when a signal is pending that is neither blocked, caught nor ignored and
// whose default is to end the process. (The kernel turns most of those into a pending SIGKILL.)
#include "client/dying.h"
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATUS_SIZE 32768u // a line names every supplementary group
#define BIT(number) (1ull << ((number)-1))

// Signals whose default is to be ignored, or to stop.
static const uint64_t harmless = BIT(SIGCHLD) | BIT(SIGCONT) | BIT(SIGURG) | BIT(SIGWINCH) | BIT(SIGSTOP) |
                                 BIT(SIGTSTP) | BIT(SIGTTIN) | BIT(SIGTTOU);

// A line like `SigPnd:\t0000000000000100`; 0 without one.
static uint64_t mask_of(const char *text, const char *label)
{
    const char *line = strstr(text, label);
    return line ? strtoull(line + strlen(label), NULL, 16) : 0;
}

bool status_is_dying(const char *text)
{
    uint64_t pending = mask_of(text, "\nSigPnd:") | mask_of(text, "\nShdPnd:");
    uint64_t handled = mask_of(text, "\nSigBlk:") | mask_of(text, "\nSigIgn:") | mask_of(text, "\nSigCgt:");
    return (pending & ~handled & ~harmless) != 0 || (pending & BIT(SIGKILL)) != 0;
}

bool caller_is_dying(pid_t tid)
{
    char path[64], text[STATUS_SIZE];
    snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
    int fd = tid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return true;
    text[n] = '\0';
    return status_is_dying(text);
}
