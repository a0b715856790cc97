// SPDX-License-Identifier: Apache-2.0
// FUSE_STATX, which came with protocol 7.39: what older headers lack of it. The layout is the kernel's
// (include/uapi/linux/fuse.h). Of the request, only what GETATTR's has too is looked at.
#ifndef BERTH_CLIENT_FUSE_STATX_H
#define BERTH_CLIENT_FUSE_STATX_H

#include <linux/fuse.h>
#include <stdint.h>

#if FUSE_KERNEL_MINOR_VERSION < 39

#define FUSE_STATX 52

struct fuse_sx_time {
    int64_t tv_sec;
    uint32_t tv_nsec;
    int32_t spare;
};

struct fuse_statx {
    uint32_t mask, blksize;
    uint64_t attributes;
    uint32_t nlink, uid, gid;
    uint16_t mode, spare0;
    uint64_t ino, size, blocks, attributes_mask;
    struct fuse_sx_time atime, btime, ctime, mtime;
    uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
    uint64_t spare2[14];
};

struct fuse_statx_out {
    uint64_t attr_valid;
    uint32_t attr_valid_nsec, flags;
    uint64_t spare[2];
    struct fuse_statx stat;
};

#endif

_Static_assert(sizeof(struct fuse_statx) == 256 && sizeof(struct fuse_statx_out) == 288,
               "the kernel's layout");

#endif
