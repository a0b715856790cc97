// SPDX-License-Identifier: Apache-2.0
// Extended attributes and the access lists that are kept as such: a few names, small values (ext4 has one
// block for all of an inode's), lists of the exerciser's users and groups, now and then one that is not
// valid.
#include "tests/posix/fsstress.h"

#include <errno.h>
#include <linux/posix_acl_xattr.h>
#include <linux/xattr.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

enum { VALUE_MAX = 300, ACL_ENTRIES_MAX = 8, PROC_PATH_MAX = STRESS_PATH_MAX + 40 };

// Of acl_entry's tag, as the kernel has them.
enum { ACL_USER_OBJ = 1, ACL_USER = 2, ACL_GROUP_OBJ = 4, ACL_GROUP = 8, ACL_MASK = 16, ACL_OTHER = 32 };

struct acl {
    struct posix_acl_xattr_header header;
    struct posix_acl_xattr_entry entries[ACL_ENTRIES_MAX];
};

// There is no call that takes a directory and a name.
static bool proc_path(const struct op *op, const struct side *side, char path[static PROC_PATH_MAX])
{
    snprintf(path, PROC_PATH_MAX, "/proc/self/fd/%d/%s", side->tops[op->through], op->path);
    return op->path[0] != 0;
}

static const char *name_of(const struct op *op)
{
    static const char *const names[] = {"user.a", "user.b",    "user.a", "user.b",
                                        "user.a", "trusted.a", "user.",  "nothing.a"};
    return names[op->choice % 8];
}

static bool of_symlink(const struct op *op)
{
    return op->choice & 64;
}

static struct answer set(const struct op *op, const struct side *side, const char *name, const void *value,
                         size_t n, int flags)
{
    char path[PROC_PATH_MAX];
    if (!proc_path(op, side, path))
        return (struct answer){.result = -ENOENT};
    return answer_said(of_symlink(op) ? lsetxattr(path, name, value, n, flags)
                                      : setxattr(path, name, value, n, flags));
}

static struct answer get(const struct op *op, const struct side *side, const char *name, size_t n)
{
    char path[PROC_PATH_MAX], value[VALUE_MAX];
    if (!proc_path(op, side, path))
        return (struct answer){.result = -ENOENT};
    ssize_t got = of_symlink(op) ? lgetxattr(path, name, value, n) : getxattr(path, name, value, n);
    struct answer answer = answer_said(got);
    answer.digest = got > 0 && n > 0 ? digest_add(0, value, (size_t)got) : 0;
    return answer;
}

static struct answer take_away(const struct op *op, const struct side *side, const char *name)
{
    char path[PROC_PATH_MAX];
    if (!proc_path(op, side, path))
        return (struct answer){.result = -ENOENT};
    return answer_said(of_symlink(op) ? lremovexattr(path, name) : removexattr(path, name));
}

struct answer xattr_set(const struct op *op, struct side *side)
{
    static const int flags[] = {0, 0, XATTR_CREATE, XATTR_REPLACE};
    char value[VALUE_MAX];
    memset(value, 'a' + op->choice % 26, sizeof(value));
    return set(op, side, name_of(op), value, op->size % VALUE_MAX, flags[op->choice / 8 % 4]);
}

struct answer xattr_get(const struct op *op, struct side *side)
{
    return get(op, side, name_of(op), op->size % VALUE_MAX);
}

struct answer xattr_remove(const struct op *op, struct side *side)
{
    return take_away(op, side, name_of(op));
}

// --- access lists ---

static const char *acl_name(const struct op *op)
{
    return op->choice & 1 ? XATTR_NAME_POSIX_ACL_ACCESS : XATTR_NAME_POSIX_ACL_DEFAULT;
}

static void add(struct acl *acl, size_t *n, uint16_t tag, uint32_t bits, uint32_t id)
{
    acl->entries[(*n)++] = (struct posix_acl_xattr_entry){.e_tag = tag, .e_perm = bits & 7, .e_id = id};
}

// Valid but for one in eight, which may lack its mask or have no owner. Returns its size.
static size_t make_acl(const struct op *op, struct acl *acl)
{
    uint32_t bits = op->choice >> 8;
    bool valid = op->choice >> 29 != 0;
    size_t n = 0;
    acl->header.a_version = POSIX_ACL_XATTR_VERSION;
    if (valid || op->choice & 2)
        add(acl, &n, ACL_USER_OBJ, op->mode >> 6, (uint32_t)-1);
    if (bits & 1)
        add(acl, &n, ACL_USER, bits >> 4, 1000);
    if (bits & 2)
        add(acl, &n, ACL_USER, bits >> 7, 1001);
    add(acl, &n, ACL_GROUP_OBJ, op->mode >> 3, (uint32_t)-1);
    if (bits & 4)
        add(acl, &n, ACL_GROUP, bits >> 10, 1000);
    if (bits & 8)
        add(acl, &n, ACL_GROUP, bits >> 13, 2000);
    if (valid ? bits & 15 : op->choice & 4)
        add(acl, &n, ACL_MASK, bits >> 16, (uint32_t)-1);
    add(acl, &n, ACL_OTHER, op->mode, (uint32_t)-1);
    return offsetof(struct acl, entries) + n * sizeof(acl->entries[0]);
}

struct answer xattr_set_acl(const struct op *op, struct side *side)
{
    struct acl acl;
    size_t n = make_acl(op, &acl);
    return set(op, side, acl_name(op), &acl, n, 0);
}

struct answer xattr_get_acl(const struct op *op, struct side *side)
{
    return get(op, side, acl_name(op), VALUE_MAX);
}

struct answer xattr_remove_acl(const struct op *op, struct side *side)
{
    return take_away(op, side, acl_name(op));
}

bool xattr_has(int top, const char *need)
{
    char path[40], value[VALUE_MAX];
    snprintf(path, sizeof(path), "/proc/self/fd/%d/", top);
    const char *name = strcmp(need, "access lists") == 0 ? XATTR_NAME_POSIX_ACL_ACCESS : "user.probe";
    return getxattr(path, name, value, sizeof(value)) >= 0 || errno != EOPNOTSUPP;
}
