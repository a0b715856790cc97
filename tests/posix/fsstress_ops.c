// SPDX-License-Identifier: Apache-2.0
// What the namespace exerciser does: each kind is one system call or a short sequence of them, on a bounded
// set of names, as one of three users. No symlink leads upwards, and nothing can be made below /proc, so
// nothing leaves the top directory.
#include "tests/posix/fsstress.h"
#include "tests/posix/history.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { IO_MAX = 48 * 1024 };

static uint8_t data[IO_MAX];

struct answer answer_said(long result)
{
    return (struct answer){.result = result < 0 ? -errno : result};
}

// --- opening ---

// A device cannot be opened on a mount without devices (EACCES), and none is behind ours on the host (other
// errors).
static int open_at(int top, const char *path, int flags, mode_t mode)
{
    int fd = openat(top, path, flags | O_NONBLOCK | O_NOCTTY, mode);
    struct stat stat;
    if (fd < 0) {
        int error = errno, follow = flags & O_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0;
        bool found = fstatat(top, path, &stat, follow) == 0;
        errno = found && (S_ISCHR(stat.st_mode) || S_ISBLK(stat.st_mode)) ? EACCES : error;
    }
    return fd;
}

static void fill_data(const struct op *op)
{
    memset(data, 'a' + op->choice % 26, op->size);
}

static bool is_special(int fd)
{
    struct stat stat;
    return fstat(fd, &stat) == 0 && !S_ISREG(stat.st_mode) && !S_ISDIR(stat.st_mode);
}

static struct answer apply_open(const struct op *op, struct side *side)
{
    int fd = open_at(side->tops[op->through], op->path, op_open_flags(op), op->mode);
    struct answer answer = answer_said(fd < 0 ? -1 : 0);
    if (fd >= 0 && op->size > 0 && !is_special(fd)) {
        fill_data(op);
        answer = answer_said(write(fd, data, op->size));
    }
    if (fd >= 0)
        close(fd);
    return answer;
}

void slot_close(struct side *side, unsigned slot)
{
    if (side->slots[slot] >= 0)
        close(side->slots[slot]);
    side->slots[slot] = -1;
}

static struct answer keep(const struct op *op, struct side *side, int fd)
{
    if (fd < 0)
        return answer_said(-1);
    if (is_special(fd)) {
        close(fd);
        return answer_said(0);
    }
    slot_close(side, op->slot);
    side->slot_tops[op->slot] = side->tops[op->through];
    side->slots[op->slot] = fd;
    return answer_said(0);
}

static struct answer apply_hold(const struct op *op, struct side *side)
{
    return keep(op, side, open_at(side->tops[op->through], op->path, op_open_flags(op), op->mode));
}

static struct answer apply_nameless(const struct op *op, struct side *side)
{
    int flags = O_TMPFILE | (op->choice & 1 ? O_RDWR : O_WRONLY) | (op->choice & 6 ? 0 : O_EXCL);
    return keep(op, side, openat(side->tops[op->through], op->path, flags, op->mode));
}

static struct answer apply_drop(const struct op *op, struct side *side)
{
    slot_close(side, op->slot);
    return answer_said(0);
}

// --- names ---

static struct answer apply_mkdir(const struct op *op, struct side *side)
{
    return answer_said(mkdirat(side->tops[op->through], op->path, op->mode));
}

static struct answer apply_mknod(const struct op *op, struct side *side)
{
    static const mode_t types[] = {S_IFREG, S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK, 0, S_IFDIR};
    mode_t type = types[op->choice % 8];
    dev_t device = type == S_IFBLK ? makedev(259, 70000) : 0;
    return answer_said(mknodat(side->tops[op->through], op->path, type | op->mode, device));
}

static struct answer apply_unlink(const struct op *op, struct side *side)
{
    return answer_said(unlinkat(side->tops[op->through], op->path, 0));
}

static struct answer apply_rmdir(const struct op *op, struct side *side)
{
    return answer_said(unlinkat(side->tops[op->through], op->path, AT_REMOVEDIR));
}

static struct answer apply_symlink(const struct op *op, struct side *side)
{
    return answer_said(symlinkat(op->target, side->tops[op->through], op->path));
}

static struct answer apply_readlink(const struct op *op, struct side *side)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(side->tops[op->through], op->path, target, 1 + op->choice % sizeof(target));
    struct answer answer = answer_said(n);
    answer.digest = n < 0 ? 0 : digest_add(0, target, (size_t)n);
    return answer;
}

static struct answer apply_link(const struct op *op, struct side *side)
{
    int top = side->tops[op->through];
    return answer_said(linkat(top, op->path, top, op->other_path, op->choice & 1 ? AT_SYMLINK_FOLLOW : 0));
}

static struct answer apply_link_slot(const struct op *op, struct side *side)
{
    if (side->slots[op->slot] < 0)
        return (struct answer){.result = -EBADF};
    char path[40];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", side->slots[op->slot]);
    return answer_said(linkat(AT_FDCWD, path, side->slot_tops[op->slot], op->path, AT_SYMLINK_FOLLOW));
}

static struct answer apply_rename(const struct op *op, struct side *side)
{
    static const unsigned flags[] = {0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 4, 5, 3, 6, 8};
    int top = side->tops[op->through];
    return answer_said(syscall(SYS_renameat2, top, op->path, top, op->other_path, flags[op->choice % 15]));
}

// Below an open directory, which may have been removed.
static struct answer apply_below_slot(const struct op *op, struct side *side)
{
    static const char *const names[] = {"a", "b", "c", "new"};
    const char *name = names[op->choice % 4];
    int fd = side->slots[op->slot];
    switch (op->choice / 4 % 4) {
    case 0:
        return answer_said(mkdirat(fd, name, op->mode));
    case 1:
        return answer_said(mknodat(fd, name, S_IFREG | op->mode, 0));
    case 2:
        return answer_said(unlinkat(fd, name, 0));
    default:
        return answer_said(renameat(fd, name, side->slot_tops[op->slot], op->path));
    }
}

// --- attributes ---

static struct answer apply_chmod(const struct op *op, struct side *side)
{
    return answer_said(fchmodat(side->tops[op->through], op->path, op->mode, 0));
}

static struct answer apply_chown(const struct op *op, struct side *side)
{
    int flags = op->choice & 1 ? AT_SYMLINK_NOFOLLOW : 0;
    return answer_said(fchownat(side->tops[op->through], op->path, op->uid, op->gid, flags));
}

static struct answer apply_utimens(const struct op *op, struct side *side)
{
    int flags = op->choice & 1 ? AT_SYMLINK_NOFOLLOW : 0;
    return answer_said(
        utimensat(side->tops[op->through], op->path, op->choice & 30 ? op->times : NULL, flags));
}

static struct answer apply_truncate(const struct op *op, struct side *side)
{
    char path[STRESS_PATH_MAX + 40];
    snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", side->tops[op->through], op->path);
    return answer_said(truncate(path, op->offset));
}

static struct answer apply_access(const struct op *op, struct side *side)
{
    return answer_said(faccessat(side->tops[op->through], op->path, (int)(op->choice % 8), AT_EACCESS));
}

static struct answer apply_attributes_of_slot(const struct op *op, struct side *side)
{
    int fd = side->slots[op->slot];
    switch (op->choice % 4) {
    case 0:
        return answer_said(fchmod(fd, op->mode));
    case 1:
        return answer_said(fchown(fd, op->uid, op->gid));
    case 2:
        return answer_said(futimens(fd, op->choice & 60 ? op->times : NULL));
    default:
        return answer_said(ftruncate(fd, op->offset));
    }
}

static struct answer apply_statvfs(const struct op *op, struct side *side)
{
    struct statvfs stat;
    int fd = openat(side->tops[op->through], op->path, O_PATH);
    if (fd < 0)
        return answer_said(-1);
    struct answer answer = answer_said(fstatvfs(fd, &stat));
    answer.digest = answer.result < 0 ? 0 : stat.f_namemax;
    close(fd);
    return answer;
}

// --- contents ---

static struct answer apply_read(const struct op *op, struct side *side)
{
    int fd = open_at(side->tops[op->through], op->path, O_RDONLY, 0);
    struct answer answer = answer_said(fd < 0 ? -1 : 0);
    if (fd >= 0 && !is_special(fd)) {
        ssize_t n = pread(fd, data, op->size, op->offset);
        answer = answer_said(n);
        answer.digest = n > 0 ? digest_add(0, data, (size_t)n) : 0;
    }
    if (fd >= 0)
        close(fd);
    return answer;
}

static struct answer apply_list(const struct op *op, struct side *side)
{
    int fd = openat(side->tops[op->through], op->path, O_RDONLY | O_DIRECTORY);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (stream == NULL)
        return answer_said(-1);
    struct answer answer = {0};
    struct dirent *entry;
    while ((errno = 0, entry = readdir(stream)) != NULL) {
        answer.result++;
        answer.digest += digest_add(entry->d_type, entry->d_name, strlen(entry->d_name));
    }
    if (errno != 0)
        answer.result = -errno;
    closedir(stream);
    return answer;
}

static struct answer apply_read_slot(const struct op *op, struct side *side)
{
    ssize_t n = pread(side->slots[op->slot], data, op->size, op->offset);
    struct answer answer = answer_said(n);
    answer.digest = n > 0 ? digest_add(0, data, (size_t)n) : 0;
    return answer;
}

static struct answer apply_write_slot(const struct op *op, struct side *side)
{
    fill_data(op);
    return answer_said(pwrite(side->slots[op->slot], data, op->size, op->offset));
}

static struct answer apply_sync_slot(const struct op *op, struct side *side)
{
    return answer_said(op->choice & 1 ? fsync(side->slots[op->slot]) : fdatasync(side->slots[op->slot]));
}

// --- the list ---

struct kind kinds[] = {
    {"open", 20, OPENS | USES_PATH | USES_CHOICE | USES_MODE | USES_RANGE, apply_open, NULL},
    {"hold", 16, OPENS | USES_PATH | USES_CHOICE | USES_MODE | USES_SLOT, apply_hold, NULL},
    {"hold a file without a name", 3, USES_PATH | USES_CHOICE | USES_MODE | USES_SLOT, apply_nameless,
     "O_TMPFILE"},
    {"drop", 3, USES_SLOT, apply_drop, NULL},
    {"mkdir", 20, OF_DIRECTORIES | USES_PATH | USES_MODE, apply_mkdir, NULL},
    {"mknod", 8, USES_PATH | USES_MODE | USES_CHOICE, apply_mknod, NULL},
    {"unlink", 10, USES_PATH, apply_unlink, NULL},
    {"rmdir", 8, OF_DIRECTORIES | USES_PATH, apply_rmdir, NULL},
    {"symlink", 6, USES_PATH | USES_TARGET, apply_symlink, NULL},
    {"readlink", 3, USES_PATH | USES_CHOICE, apply_readlink, NULL},
    {"link", 8, CALLER_CHECKED | USES_PATH | USES_OTHER | USES_CHOICE, apply_link, NULL},
    {"link of the slot", 4, CALLER_CHECKED | USES_PATH | USES_SLOT, apply_link_slot, NULL},
    {"rename", 20, USES_PATH | USES_OTHER | USES_CHOICE, apply_rename, NULL},
    {"below the slot", 4, USES_PATH | USES_SLOT | USES_MODE | USES_CHOICE, apply_below_slot, NULL},
    {"chmod", 8, USES_PATH | USES_MODE, apply_chmod, NULL},
    {"chown", 8, USES_PATH | USES_OWNER | USES_CHOICE, apply_chown, NULL},
    {"utimens", 6, USES_PATH | USES_TIMES | USES_CHOICE, apply_utimens, NULL},
    {"truncate", 6, USES_PATH | USES_RANGE, apply_truncate, NULL},
    {"access", 4, USES_PATH | USES_CHOICE, apply_access, NULL},
    {"attributes of the slot", 8, USES_SLOT | USES_MODE | USES_OWNER | USES_CHOICE | USES_RANGE | USES_TIMES,
     apply_attributes_of_slot, NULL},
    {"statvfs", 1, USES_PATH, apply_statvfs, NULL},
    {"setxattr", 8, SETS_XATTR | USES_PATH | USES_CHOICE | USES_RANGE, xattr_set, "extended attributes"},
    {"getxattr", 3, USES_PATH | USES_CHOICE | USES_RANGE, xattr_get, "extended attributes"},
    {"removexattr", 3, USES_PATH | USES_CHOICE, xattr_remove, "extended attributes"},
    {"set an access list of", 8, SETS_XATTR | USES_PATH | USES_CHOICE | USES_MODE, xattr_set_acl,
     "access lists"},
    {"get an access list of", 3, USES_PATH | USES_CHOICE, xattr_get_acl, "access lists"},
    {"remove an access list of", 3, USES_PATH | USES_CHOICE, xattr_remove_acl, "access lists"},
    {"read", 6, USES_PATH | USES_RANGE, apply_read, NULL},
    {"list", 4, USES_PATH, apply_list, NULL},
    {"read the slot", 4, USES_SLOT | USES_RANGE, apply_read_slot, NULL},
    {"write the slot", 6, USES_SLOT | USES_RANGE | USES_CHOICE, apply_write_slot, NULL},
    {"sync the slot", 1, USES_SLOT | USES_CHOICE, apply_sync_slot, NULL},
};

const unsigned n_kinds = sizeof(kinds) / sizeof(kinds[0]);

// Whether the file system at top has what a kind needs.
static bool has(int top, const char *need)
{
    if (strcmp(need, "O_TMPFILE") != 0)
        return xattr_has(top, need);
    int fd = openat(top, ".", O_TMPFILE | O_RDWR, 0600);
    bool lacks = fd < 0 && errno == EOPNOTSUPP;
    if (fd >= 0)
        close(fd);
    return !lacks;
}

void kinds_probe(const struct side *side)
{
    for (unsigned i = 0; i < n_kinds; i++) {
        if (kinds[i].needs == NULL || has(side->tops[0], kinds[i].needs))
            continue;
        kinds[i].uses |= LEFT_OUT;
        printf("fsstress: left out, since the mount answers EOPNOTSUPP: %s\n", kinds[i].name);
    }
}

// --- applying ---

// Raw calls: what libc wraps would change every thread, and check more. Root comes back through its saved
// uid.
static void become(const struct user *user)
{
    if (syscall(SYS_setresuid, -1, 0, -1) < 0 || syscall(SYS_setgroups, user->n_groups, user->groups) < 0 ||
        syscall(SYS_setresgid, -1, user->gid, -1) < 0 || syscall(SYS_setresuid, -1, user->uid, -1) < 0)
        history_broken("cannot become another user");
}

struct answer op_apply(const struct op *op, struct side *side)
{
    bool by_root = side->enforced && op->through == 0;
    become(&users[by_root ? 0 : op->user]);
    mode_t mask = umask(op->mask);
    struct answer answer = op->kind->apply(op, side);
    umask(mask);
    become(&users[0]);
    return answer;
}
