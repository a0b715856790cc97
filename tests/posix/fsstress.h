// SPDX-License-Identifier: Apache-2.0
// The namespace exerciser's parts. An operation (struct op) is drawn whole from the dice, applied to the
// mount and to the host's file system (two sides), and answers alike on both; what it touched is then looked
// at alike on both.
#pragma once

#include "tests/posix/dice.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

enum { MOUNTS = 2, SLOTS = 4, STRESS_PATH_MAX = 600, WATCHES = 6 + SLOTS };

// Whom an enforcing access point acts as, and the slots that only this user holds then.
enum { ENFORCED_USER = 1, ENFORCED_SLOTS = 2 };

// One file system under exercise. Of the host both tops are the same directory. A slot holds an open file,
// from step to step.
struct side {
    int tops[MOUNTS];
    int slots[SLOTS];
    bool enforced; // mount 0 acts as ENFORCED_USER, whoever calls: root does, so that only the server checks
    bool hides_sticky;    // of directories, in the slots of ENFORCED_USER: a mount does so there
    int slot_tops[SLOTS]; // of the mount through which it was opened
};

struct user {
    uid_t uid;
    gid_t gid;
    size_t n_groups;
    gid_t groups[2];
};

struct op {
    const struct kind *kind;
    char path[STRESS_PATH_MAX], other_path[STRESS_PATH_MAX];
    const char *target; // of a symlink
    unsigned through;   // which mount
    unsigned user;      // index of users
    unsigned slot;
    mode_t mode, mask;
    uint32_t choice; // what else the kind chooses from: flags, names
    uint32_t offset, size;
    uid_t uid;
    gid_t gid;
    struct timespec times[2];
};

// What an operation returned: a negative errno or its result, and a digest of what it read.
struct answer {
    long result;
    uint64_t digest;
};

enum uses {
    USES_PATH = 1,
    USES_OTHER = 2,
    USES_SLOT = 4,
    USES_MODE = 8,
    USES_CHOICE = 16,
    USES_RANGE = 32,
    USES_OWNER = 64,
    USES_TARGET = 128,
    USES_TIMES = 256,
    CALLER_CHECKED = 1 << 12, // by the kernel alone (fs.protected_hardlinks): not the enforced user's
    SETS_XATTR = 1 << 13,
    OF_DIRECTORIES = 1 << 14, // more of a and b
    OPENS = 1 << 15,          // op_open_flags tells its flags
    LEFT_OUT = 1 << 16
};

struct kind {
    const char *name;
    unsigned weight;
    unsigned uses; // of the op's fields, for telling and for watching
    struct answer (*apply)(const struct op *op, struct side *side);
    const char *needs; // what a file system may lack, for the probe; NULL: nothing
};

// --- fsstress_ops.c ---
extern struct kind kinds[];
extern const unsigned n_kinds;

struct answer op_apply(const struct op *op, struct side *side); // as its user, with its mask
void slot_close(struct side *side, unsigned slot);

// Leaves out the kinds that the file system of `side` answers with EOPNOTSUPP, and prints them.
void kinds_probe(const struct side *side);

struct answer answer_said(long result); // of a system call: the result, or errno

// --- fsstress_xattr.c ---
struct answer xattr_set(const struct op *op, struct side *side);
struct answer xattr_get(const struct op *op, struct side *side);
struct answer xattr_remove(const struct op *op, struct side *side);
struct answer xattr_set_acl(const struct op *op, struct side *side);
struct answer xattr_get_acl(const struct op *op, struct side *side);
struct answer xattr_remove_acl(const struct op *op, struct side *side);
bool xattr_has(int top, const char *need);

// --- fsstress_draw.c ---
extern const struct user users[]; // the first is root

void op_draw(struct op *op, struct dice *dice);
void op_restrict(struct op *op, bool restarts, bool enforced);
void op_tell(const struct op *op, char *text, size_t n);
int op_open_flags(const struct op *op);

// --- fsstress_look.c ---
struct look {
    int error;
    struct statx stat;
};

enum { LOOK_FOLLOWS = 2 }; // at[]: of op's path, through a symlink

struct looks {
    struct look at[WATCHES];
};

struct content {
    int error;
    uint64_t data, xattrs;
};

// The text of a difference, valid until the next.
const char *difference(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool difference_is_of_access(void); // the last one: of an access time, and of nothing else

uint64_t digest_add(uint64_t digest, const void *data, size_t n);
uint64_t digest_file(int fd);      // its whole content
uint64_t digest_directory(int fd); // names and types in any order

// statx, with the access time as the server has it: what a client keeps of that may be older. -errno.
int look_at(int fd, const char *path, int flags, struct statx *ret_stat);
// Sets the times of what at[i], i < 6, was of.
void look_set_times(const struct op *op, const struct side *side, unsigned through, unsigned i,
                    const struct timespec times[2]);
void looks_take(struct looks *looks, const struct op *op, const struct side *side, unsigned through);

// The text of the first difference in attributes, or NULL. before: what each side showed then; NULL when
// times may differ.
const char *looks_differ(const struct op *op, const struct looks *ours, const struct looks *theirs,
                         const struct looks *ours_before, const struct looks *theirs_before);

// Compares content, listing, target of what the operation names, and of every slot.
const char *contents_differ(const struct op *op, const struct side *ours, const struct side *theirs,
                            unsigned through);

const char *stat_differs(const struct statx *ours, const struct statx *theirs, const char *what);
const char *content_differs(struct content ours, struct content theirs, const char *what);

// Of a regular file or directory; of anything else nothing.
struct content content_at(int top, const char *path);

// A byte of the next content that is read from our side is read wrong: shows that a difference is seen.
void look_blur(void);

// --- fsstress_tree.c ---
// Compares the whole trees.
const char *trees_differ(int ours, int theirs);
