// SPDX-License-Identifier: Apache-2.0
// What is mounted, from /proc/self/mountinfo: a mount whose daemon is gone or waits is never touched. Any
// thread.
#ifndef BERTH_CLIENT_MOUNTINFO_H
#define BERTH_CLIENT_MOUNTINFO_H

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>

struct mountinfo {
    char fstype[64];
    char source[PATH_MAX];
    unsigned fuse_number; // of the connection, in /sys/fs/fuse/connections
    bool is_berth;
};

// The mount on top at path, which is absolute and has no symlinks. False: nothing is mounted there.
bool mountinfo_find(const char *path, struct mountinfo *ret_info);
bool mountinfo_find_in(FILE *file, const char *path, struct mountinfo *ret_info); // the same from this text

// Absolute, without symlinks and dots, and without looking at what is mounted at the last component. -errno.
int mountpoint_resolve(const char *path, char ret_path[PATH_MAX]);

#endif
