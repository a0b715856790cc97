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
#include <time.h>
#include <unistd.h>

#define STATUS_SIZE  32768u // a line names every supplementary group
#define SYSCALL_SIZE 512u
#define ASLEEP_TRIES 50u
#define BIT(number)  (1ull << ((number)-1))

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

// A line like `72 0x3 0x26 0x7ffd… …`: the call's number and its arguments, in the thread's own registers.
bool syscall_waits_for_ofd(const char *text)
{
    char *at;
    bool calls = strtoll(text, &at, 10) >= 0 && at != text;
    strtoull(at, &at, 16); // the descriptor
    return calls && strtoull(at, NULL, 16) == F_OFD_SETLKW;
}

static bool read_proc(pid_t tid, const char *name, char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)tid, name);
    int fd = tid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t n = fd >= 0 ? read(fd, text, size - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

bool caller_is_dying(pid_t tid)
{
    char text[STATUS_SIZE];
    return !read_proc(tid, "status", text, sizeof(text)) || status_is_dying(text);
}

bool caller_waits_for_ofd(pid_t tid)
{
    static const struct timespec moment = {.tv_nsec = 200000};
    char text[SYSCALL_SIZE];
    bool readable = read_proc(tid, "syscall", text, sizeof(text));
    // On a busy machine the answer can be there before the caller has gone to sleep.
    for (unsigned i = 0; i < ASLEEP_TRIES && readable && strcmp(text, "running\n") == 0; i++) {
        nanosleep(&moment, NULL);
        readable = read_proc(tid, "syscall", text, sizeof(text));
    }
    return readable && syscall_waits_for_ofd(text);
}
