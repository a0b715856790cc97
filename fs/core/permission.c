// SPDX-License-Identifier: Apache-2.0
// The rules of permission.h. Pure; any thread.
#include "fs/core/permission.h"
#include "fs/core/acl.h"
#include <errno.h>

#define SET_ID_BITS (S_ISUID | S_ISGID)

bool permission_in_group(const struct fs_cred *cred, uint32_t gid)
{
    if (cred->gid == gid)
        return true;
    for (uint32_t i = 0; i < cred->n_groups; i++)
        if (cred->groups[i] == gid)
            return true;
    return false;
}

static bool is_root(const struct fs_cred *cred)
{
    return cred->uid == 0;
}

static int root_check(const struct fs_attr *attr, uint32_t may)
{
    bool anybody_executes = (attr->mode & (S_IXUSR | S_IXGRP | S_IXOTH)) != 0;
    if ((may & FS_MAY_EXEC) && !S_ISDIR(attr->mode) && !anybody_executes)
        return -EACCES;
    return 0;
}

// As Linux, with an empty mask the list does not count: what others may decides, but for the group.
int permission_check(const struct fs_cred *cred, const struct fs_attr *attr, const struct acl *acl,
                     uint32_t may)
{
    if (is_root(cred))
        return root_check(attr, may);
    if (acl && cred->uid != attr->uid && (attr->mode & S_IRWXG))
        return acl_permission(cred, attr, acl, may);
    uint32_t granted;
    if (cred->uid == attr->uid)
        granted = attr->mode >> 6;
    else if (permission_in_group(cred, attr->gid))
        granted = attr->mode >> 3;
    else
        granted = attr->mode;
    return (may & ~granted & 7) ? -EACCES : 0;
}

int permission_remove(const struct fs_cred *cred, const struct fs_attr *directory, const struct acl *acl,
                      const struct fs_attr *victim)
{
    int result = permission_check(cred, directory, acl, FS_MAY_WRITE | FS_MAY_EXEC);
    if (result != 0)
        return result;
    bool sticky = directory->mode & S_ISVTX;
    if (sticky && !is_root(cred) && cred->uid != victim->uid && cred->uid != directory->uid)
        return -EPERM;
    return 0;
}

static int check_chown(const struct fs_cred *cred, const struct fs_attr *attr, const struct fs_setattr *set)
{
    if (is_root(cred))
        return 0;
    if ((set->mask & FS_SET_UID) && (cred->uid != attr->uid || set->uid != attr->uid))
        return -EPERM;
    bool own_group = set->gid == attr->gid || permission_in_group(cred, set->gid);
    if ((set->mask & FS_SET_GID) && (cred->uid != attr->uid || !own_group))
        return -EPERM;
    return 0;
}

// `by_write`: with a new size through an open for writing, "now" is what any write sets.
static int check_times(const struct fs_cred *cred, const struct fs_attr *attr, const struct acl *acl,
                       const struct fs_setattr *set, bool by_write)
{
    const uint32_t both_now = FS_SET_ATIME_NOW | FS_SET_MTIME_NOW;
    bool owner = is_root(cred) || cred->uid == attr->uid;
    bool one_now = (set->mask & both_now) != 0 && (set->mask & both_now) != both_now;
    if ((set->mask & (FS_SET_ATIME | FS_SET_MTIME)) && !owner)
        return -EPERM;
    if (one_now && !owner && !(set->mask & FS_SET_SIZE)) // with a size it is a truncation's mtime
        return -EPERM;
    if ((set->mask & both_now) && !owner && !by_write)
        return permission_check(cred, attr, acl, FS_MAY_WRITE);
    return 0;
}

// chown(path, -1, -1) is anybody's, unless it takes set-id bits.
static int check_nothing(const struct fs_cred *cred, const struct fs_attr *attr)
{
    bool owner = is_root(cred) || cred->uid == attr->uid;
    return owner || permission_mode_after_chown(cred, attr) == (attr->mode & 07777) ? 0 : -EPERM;
}

int permission_setattr(const struct fs_cred *cred, const struct fs_attr *attr, const struct acl *acl,
                       const struct fs_setattr *set, bool writable_open)
{
    int result = check_chown(cred, attr, set);
    if (set->mask == 0 && !writable_open)
        result = check_nothing(cred, attr);
    if (result == 0 && (set->mask & FS_SET_MODE) && !is_root(cred) && cred->uid != attr->uid)
        result = -EPERM;
    if (result == 0)
        result = check_times(cred, attr, acl, set, writable_open && (set->mask & FS_SET_SIZE));
    if (result == 0 && (set->mask & (FS_SET_SIZE | FS_SET_KILL_PRIV)) && !writable_open)
        result = permission_check(cred, attr, acl, FS_MAY_WRITE);
    return result;
}

uint32_t permission_mode_after_chmod(const struct fs_cred *cred, const struct fs_attr *attr, uint32_t wanted)
{
    uint32_t mode = wanted & 07777;
    if (!is_root(cred) && !permission_in_group(cred, attr->gid))
        mode &= ~(uint32_t)S_ISGID;
    return mode;
}

// Without S_IXGRP, S_ISGID once meant mandatory locking and is no privilege.
static uint32_t without_set_id(uint32_t mode)
{
    mode &= ~(uint32_t)S_ISUID;
    if (mode & S_IXGRP)
        mode &= ~(uint32_t)S_ISGID;
    return mode;
}

// Without execution by the group, S_ISGID is left alone for root and the group's members, as Linux does
// since 6.2.
static uint32_t after_change(const struct fs_cred *cred, const struct fs_attr *attr)
{
    uint32_t mode = without_set_id(attr->mode & 07777);
    bool stays = is_root(cred) || permission_in_group(cred, attr->gid);
    return stays ? mode : mode & ~(uint32_t)S_ISGID;
}

uint32_t permission_mode_after_chown(const struct fs_cred *cred, const struct fs_attr *attr)
{
    return S_ISDIR(attr->mode) ? attr->mode & 07777 : after_change(cred, attr);
}

uint32_t permission_mode_after_write(const struct fs_cred *cred, const struct fs_attr *attr)
{
    uint32_t mode = attr->mode & 07777;
    bool kept = is_root(cred) || !S_ISREG(attr->mode) || !(mode & SET_ID_BITS);
    return kept ? mode : after_change(cred, attr);
}

bool permission_takes_set_id(const struct fs_cred *cred, const struct fs_attr *attr,
                             const struct fs_setattr *set)
{
    uint32_t mode = attr->mode & 07777;
    bool others = !is_root(cred) && cred->uid != attr->uid;
    return set->mask == FS_SET_MODE && others && set->mode != mode && set->mode == without_set_id(mode);
}

void permission_new(const struct fs_cred *cred, const struct fs_attr *directory, struct fs_attr *attr)
{
    attr->uid = cred->uid;
    attr->gid = cred->gid;
    if (!(directory->mode & S_ISGID))
        return;
    attr->gid = directory->gid;
    bool member = is_root(cred) || permission_in_group(cred, directory->gid);
    if (S_ISDIR(attr->mode))
        attr->mode |= S_ISGID;
    else if ((attr->mode & S_IXGRP) && !member)
        attr->mode &= ~(uint32_t)S_ISGID;
}
