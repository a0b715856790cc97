// SPDX-License-Identifier: Apache-2.0
// The file exerciser's parts. An operation (struct fsx_op) is drawn whole from the dice; only what the file's
// size forbids (mapping past its end) is cut to it. It is applied to the file through one mount, then to the
// host's file.
#pragma once

#include "tests/posix/dice.h"

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

enum { MOUNTS = 2, FILE_MAX = 3 * 1024 * 1024, DONOR_SIZE = 200 * 1000, PAGE = 4096 };

// How an operation that succeeds moves mtime and ctime.
enum moves_times { MOVES_TIMES, KEEPS_TIMES, ANY_TIMES };

struct fsx_op {
    const struct fsx_kind *kind;
    unsigned through; // which mount
    unsigned choice;  // what else the kind chooses from
    uint32_t offset, length, from;
    uint8_t fill;
    enum moves_times moves_times;
    uint32_t done; // of length, by the mount, when it may do less
};

struct fsx {
    char **directories; // two mounts, the host
    int fds[MOUNTS], host;
    int donor_fds[MOUNTS], donor_host; // a file to copy ranges from
    uint32_t size_limit;               // of this round
};

enum fsx_traits {
    CHANGES_NOTHING = 1,
    GROWS = 2,
    TRUNCATES = 4,
    WITHIN_SIZE = 8,
    WHOLE_PAGES = 16,
    ALLOCATES = 32,
};

struct fsx_kind {
    const char *name;
    unsigned weight;
    int (*mount)(struct fsx *f, struct fsx_op *op);
    int (*host)(struct fsx *f, struct fsx_op *op);
    unsigned traits;
    int mode; // of fallocate
    bool left_out;
};

// --- fsx_ops.c ---
extern struct fsx_kind fsx_kinds[];
extern const unsigned fsx_n_kinds;

void fsx_probe(struct fsx *f); // leaves out what mount 0 answers with EOPNOTSUPP, and prints it
int fsx_apply_mount(struct fsx *f, struct fsx_op *op); // 0 or a negative errno
int fsx_apply_host(struct fsx *f, struct fsx_op *op);

// --- fsx_draw.c ---
void fsx_draw(struct fsx_op *op, struct dice *dice, uint32_t size_limit);
bool fsx_prepare(struct fsx_op *op, off_t size); // false: not on a file of this size, or left out
void fsx_tell(const struct fsx_op *op, char *text, size_t n);

// --- fsx.c ---
void fsx_reopen(struct fsx *f, unsigned which, int flags);
int fsx_open(const struct fsx *f, unsigned which, int flags); // anew; -1: errno
