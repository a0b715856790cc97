// SPDX-License-Identifier: Apache-2.0
// Draws an operation whole, before any result is known, and tells it.
#include "fs/base/check.h"
#include "tests/posix/fsstress.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { DEPTH_MAX = 3, SIZE_MAX_BYTES = 100 * 1000 };

const struct user users[] = {{0, 0, 0, {0}}, {1000, 1000, 2, {1000, 2000}}, {1001, 1001, 1, {2000}}};

int op_open_flags(const struct op *op)
{
    static const int more[] = {0,        0,          0,           O_EXCL,    O_TRUNC,
                               O_APPEND, O_NOFOLLOW, O_DIRECTORY, O_NOATIME, O_TRUNC | O_APPEND};
    int flags = (op->choice & 3) == 3 ? O_RDWR : (int)(op->choice & 3);
    if (op->choice & 4)
        flags |= O_CREAT;
    return flags | more[(op->choice >> 3) % 10] | more[(op->choice >> 8) % 10];
}

// Directories are mostly a and b, other things mostly c to e, so that many paths lead somewhere.
static const char *draw_name(struct dice *dice, bool directory)
{
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    if (dice_once_in(dice, 8))
        return names[dice_below(dice, 5)];
    return directory ? names[dice_below(dice, 2)] : names[2 + dice_below(dice, 3)];
}

static void draw_path(char *path, struct dice *dice, bool directory)
{
    static const unsigned depths[] = {1, 1, 2, 2, DEPTH_MAX};
    unsigned depth = depths[dice_below(dice, 5)];
    path[0] = 0;
    for (unsigned i = 0; i < depth; i++) {
        strcat(path, i > 0 ? "/" : "");
        strcat(path, draw_name(dice, i + 1 < depth || directory));
    }
    switch (dice_below(dice, 100)) {
    case 0:
        strcat(path, "/");
        break;
    case 1:
        strcat(path, "/.");
        break;
    case 2:
    case 3: { // the longest name, and one byte more
        size_t n = 255 + dice_below(dice, 2);
        memset(path, 'n', n);
        memcpy(path, n == 255 ? "255-" : "256-", 4); // only the beginning is told
        path[n] = 0;
        break;
    }
    case 4:
        path[0] = 0;
        break;
    }
}

static struct timespec draw_time(struct dice *dice)
{
    struct timespec time = {.tv_sec = dice_below(dice, 2000000000), .tv_nsec = dice_below(dice, 1000000000)};
    switch (dice_below(dice, 6)) {
    case 0:
        time.tv_nsec = UTIME_NOW;
        break;
    case 1:
        time.tv_nsec = UTIME_OMIT;
        break;
    case 2:
        time.tv_sec = 4000000000 + dice_below(dice, 1000000000);
        break;
    case 3:
        time.tv_sec = -(time_t)dice_below(dice, 1000000000);
        break;
    }
    return time;
}

static const struct kind *draw_kind(struct dice *dice)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < n_kinds; i++)
        sum += kinds[i].weight;
    fs_assert(sum > 0);
    unsigned at = dice_below(dice, sum), i = 0;
    while (at >= kinds[i].weight)
        at -= kinds[i++].weight;
    return &kinds[i];
}

void op_draw(struct op *op, struct dice *dice)
{
    static const char *const targets[] = {"a", "b", "a/b", "c/d", ".", "none", "/proc/none", "d/", "e"};
    static const uint32_t sizes[] = {0, 0, 1, 100, 4096, 16384, 16385, 40000};
    static const mode_t modes[] = {0755, 0777, 0644, 01777, 02775, 0, 06755};
    *op = (struct op){.kind = draw_kind(dice)};
    bool of_directories = (op->kind->uses & OF_DIRECTORIES) || dice_once_in(dice, 8);
    draw_path(op->path, dice, of_directories);
    draw_path(op->other_path, dice, of_directories);
    op->target = targets[dice_below(dice, 9)];
    op->through = dice_below(dice, MOUNTS);
    op->user = dice_once_in(dice, 2) ? 0 : dice_below(dice, 3);
    op->slot = dice_below(dice, SLOTS);
    op->mode = dice_once_in(dice, 2) ? modes[dice_below(dice, 7)] : dice_below(dice, 010000);
    op->mask = dice_once_in(dice, 4) ? dice_below(dice, 01000) : 022;
    op->choice = (uint32_t)dice_next(dice);
    op->size = sizes[dice_below(dice, 8)];
    op->offset = dice_once_in(dice, 2) ? sizes[dice_below(dice, 8)] : dice_below(dice, SIZE_MAX_BYTES);
    op->uid = dice_once_in(dice, 3) ? (uid_t)-1 : users[dice_below(dice, 3)].uid;
    op->gid = dice_once_in(dice, 3)   ? (gid_t)-1
              : dice_once_in(dice, 3) ? 2000
                                      : users[dice_below(dice, 3)].gid;
    if (op->uid == (uid_t)-1 && op->gid == (gid_t)-1 &&
        op->user != 0) // FUSE does not say that this would clear setuid
        op->gid = 2000;
    op->times[0] = draw_time(dice);
    op->times[1] = draw_time(dice);
}

// Where the server alone checks permission, the kernel finds a directory's own `.` without asking whether it
// may be searched.
static void cut_dot(char *path)
{
    size_t n = strlen(path);
    if (n > 2 && strcmp(path + n - 2, "/.") == 0)
        path[n - 2] = 0;
}

void op_restrict(struct op *op, bool restarts, bool enforced)
{
    if (restarts && (op->kind->uses & USES_SLOT)) // what its user may no longer open is not claimed again
        op->user = 0;
    if (!enforced)
        return;
    if ((op->kind->uses & CALLER_CHECKED) || (restarts && (op->kind->uses & USES_SLOT))) {
        op->slot |= ENFORCED_SLOTS;
        op->user = op->user == ENFORCED_USER ? 0 : op->user;
    }
    if ((op->kind->uses & USES_SLOT) && (op->slot < ENFORCED_SLOTS) != (op->user == ENFORCED_USER))
        op->user = op->slot < ENFORCED_SLOTS ? ENFORCED_USER : 0;
    op->through = op->user == ENFORCED_USER ? 0 : 1;
    if (op->user == ENFORCED_USER) {
        cut_dot(op->path);
        cut_dot(op->other_path);
    }
}

void op_tell(const struct op *op, char *text, size_t n)
{
    unsigned uses = op->kind->uses;
    size_t at = (size_t)snprintf(text, n, "uid %u mount %u umask %03o: %s", users[op->user].uid, op->through,
                                 op->mask, op->kind->name);
#define TELL(use, ...)            \
    if ((uses & (use)) && at < n) \
    at += (size_t)snprintf(text + at, n - at, __VA_ARGS__)
    TELL(USES_SLOT, " %u", op->slot);
    TELL(USES_PATH, " \"%.40s\"", op->path);
    TELL(USES_OTHER, " \"%.40s\"", op->other_path);
    TELL(USES_TARGET, " to \"%s\"", op->target);
    TELL(USES_MODE, " mode %05o", op->mode);
    TELL(USES_OWNER, " owner %d:%d", (int)op->uid, (int)op->gid);
    TELL(USES_RANGE, " offset %u size %u", op->offset, op->size);
    TELL(USES_TIMES, " times %lld.%ld %lld.%ld", (long long)op->times[0].tv_sec, op->times[0].tv_nsec,
         (long long)op->times[1].tv_sec, op->times[1].tv_nsec);
    TELL(USES_CHOICE, " choice %#x", op->choice);
    TELL(OPENS, " flags %#o", op_open_flags(op));
#undef TELL
}
