// SPDX-License-Identifier: Apache-2.0
// The mounts of access points, each a `berth mount -f` child on a directory of our own. An access point is
// mounted at its first use, `copies` times if need be (users are assigned in turn), and kept until the end. A
// mount that failed or died is made again at the next use. Loop thread.
#ifndef BERTH_SHIM_MOUNTS_H
#define BERTH_SHIM_MOUNTS_H

#include "fs/base/list.h"
#include <stddef.h>
#include <uv.h>

#define MOUNTS_COPIES_MAX 64u

enum mount_failure {
    MOUNT_REFUSED,     // the server, or the machine, would not have it
    MOUNT_UNREACHABLE, // no server there
    MOUNT_TIMED_OUT,   // no answer in time
};

struct mount_error {
    unsigned status;
    const char *name;
    char message[400];
};

// Lambda's words for it.
void mount_error_of(enum mount_failure why, const char *access_point_arn, struct mount_error *ret_error);

struct mounts;
struct mount;

// One user of a mount; embedded in it. Zero before the first acquire.
struct mount_use {
    struct list link;
    struct mount *mount; // NULL: holds none
    void (*ready)(struct mount_use *use, const char *directory);
    void (*failed)(struct mount_use *use, enum mount_failure why); // holds none any more
    void (*lost)(struct mount_use *use); // the mount died after ready; holds none any more
};

struct mounts_options {
    uv_loop_t *loop;
    const char *berth;     // path of the program
    const char *server;    // HOST:PORT or unix:/PATH
    const char *directory; // private; holds the mountpoints
    unsigned copies;
};

struct mounts *mounts_new(const struct mounts_options *options); // the strings stay the caller's
// Exactly one of ready and failed is called, later than this call returns or within it.
void mounts_acquire(struct mounts *mounts, struct mount_use *use, const char *access_point_id);
void mounts_release(struct mount_use *use);
// When nobody uses a mount any more: unmounts all, removes their directories, calls done and frees.
void mounts_stop(struct mounts *mounts, void (*done)(void *context), void *context);

#endif
