// SPDX-License-Identifier: Apache-2.0
// A process beside the daemon that takes the mount away when the daemon died without doing so (SIGKILL, out
// of memory), which would leave a mountpoint that answers ENOTCONN to everybody. It sleeps until then
// and ends with the daemon. Started by the thread that lives as long as the daemon, before that has others,
// descriptors and memory of its own.
#ifndef BERTH_CLIENT_WATCHER_H
#define BERTH_CLIENT_WATCHER_H

#include <stddef.h>
#include <sys/types.h>

struct watcher {
    int fd; // to the watcher; it reads the end of this when the daemon is gone. -1: there is none
    pid_t pid;
};

// The memory of the process's own words, which ps shows: the watcher's are others.
struct watcher_title {
    char *words;
    size_t size;
};

// -errno. mountpoint: absolute, without symlinks.
int watcher_start(const char *mountpoint, struct watcher_title title, struct watcher *ret_watcher);
void watcher_mounted(struct watcher *watcher); // from now on there is something to take away
void watcher_dismiss(struct watcher *watcher); // nothing is left to take away; idempotent

#endif
