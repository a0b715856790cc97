// SPDX-License-Identifier: Apache-2.0
// Reading and setting attributes. Owner thread; inside a turn.
#include "fs/core/core_impl.h"
#include "fs/core/permission.h"
#include <errno.h>

int core_getattr(struct core *core, fs_ino ino, struct fs_attr *ret_attr)
{
    struct inode *inode;
    int result = inode_get(core, ino, &inode);
    return result != 0 ? result : inode_attr(core, inode, ret_attr);
}

int core_access(struct core *core, const struct fs_cred *cred, fs_ino ino, uint32_t may_mask)
{
    struct inode *inode;
    int result = inode_get(core, ino, &inode);
    return result != 0 ? result : inode_may(core, cred, inode, may_mask);
}

int truncate_to(struct core *core, struct store_inode *stored, uint64_t size)
{
    int result = changes_data(core, stored->attr.ino);
    if (result == 0)
        result = store_data_resize(core->store, stored->attr.ino, stored->attr.size, size);
    if (result == 0)
        stored->attr.size = size;
    return result;
}

static int check_size(const struct inode *inode, const struct core_file *file, const struct fs_setattr *set)
{
    if (!(set->mask & FS_SET_SIZE))
        return 0;
    if (S_ISDIR(inode->stored.attr.mode))
        return -EISDIR;
    if (!S_ISREG(inode->stored.attr.mode))
        return -EINVAL;
    if (file && !(file->flags & FS_OPEN_WRITE))
        return -EINVAL;
    return set->size > FS_FILE_SIZE_MAX ? -EFBIG : 0;
}

static void set_times(const struct fs_setattr *set, struct fs_time now, struct fs_attr *attr)
{
    if (set->mask & FS_SET_ATIME)
        attr->atime = set->atime;
    if (set->mask & FS_SET_ATIME_NOW)
        attr->atime = now;
    if (set->mask & FS_SET_MTIME)
        attr->mtime = set->mtime;
    if (set->mask & FS_SET_MTIME_NOW)
        attr->mtime = now;
}

static void set_permissions(uint32_t mode_bits, struct fs_attr *attr)
{
    attr->mode = (attr->mode & S_IFMT) | mode_bits;
}

// Setting nothing is chown(path, -1, -1). A kernel asks so, too, before somebody else writes, whose write
// then takes the set-id bits by itself.
static bool takes_set_id(const struct fs_cred *cred, const struct fs_setattr *set, const struct fs_attr *attr)
{
    bool owner = cred->uid == 0 || cred->uid == attr->uid;
    return (set->mask & (FS_SET_UID | FS_SET_GID)) || (set->mask == 0 && owner);
}

static void set_owner_and_mode(const struct fs_cred *cred, const struct fs_setattr *set, struct fs_attr *attr)
{
    if (takes_set_id(cred, set, attr))
        set_permissions(permission_mode_after_chown(cred, attr), attr);
    if (set->mask & FS_SET_UID)
        attr->uid = set->uid;
    if (set->mask & FS_SET_GID)
        attr->gid = set->gid;
    if (set->mask & FS_SET_MODE)
        set_permissions(permission_mode_after_chmod(cred, attr, set->mode), attr);
    if (set->mask & FS_SET_KILL_PRIV)
        set_permissions(permission_mode_after_write(cred, attr), attr);
}

static int set_all(struct core *core, const struct fs_cred *cred, struct inode *inode,
                   const struct fs_setattr *set)
{
    struct store_inode stored = inode->stored;
    struct fs_time now = core_now(core);
    int result = 0;
    if (set->mask & FS_SET_SIZE) {
        if (set->size != stored.attr.size)
            result = truncate_to(core, &stored, set->size);
        if (result == 0)
            result = contents_changed(core, cred, &stored, now);
        inode->blocks_stale = true;
    }
    if (result == 0 && (set->mask & (FS_SET_UID | FS_SET_GID | FS_SET_KILL_PRIV)) &&
        !S_ISDIR(stored.attr.mode))
        result = inode_kill_capability(core, &stored);
    set_owner_and_mode(cred, set, &stored.attr);
    if (result == 0 && (set->mask & FS_SET_MODE))
        result = inode_acl_chmod(core, &stored);
    set_times(set, now, &stored.attr);
    stored_touch(&stored, now, false);
    return result != 0 ? result : inode_put(core, inode, &stored);
}

int core_setattr(struct core *core, const struct fs_cred *cred, fs_ino ino, const struct core_file *file,
                 const struct fs_setattr *set, struct fs_attr *ret_attr)
{
    struct inode *inode;
    const struct acl *acl;
    bool writable = file && (file->flags & FS_OPEN_WRITE);
    int result = inode_get(core, ino, &inode);
    if (result == 0)
        result = check_size(inode, file, set);
    if (result == 0)
        result = inode_acl(core, inode, &acl);
    if (result == 0)
        result = permission_setattr(cred, &inode->stored.attr, acl, set, writable);
    if (result == 0 && (set->mask & FS_SET_SIZE))
        result = quota_check_growth(core, inode, set->size);
    if (result == 0)
        result = write_begin(core);
    if (result != 0)
        return result;
    return write_end_attr(core, set_all(core, cred, inode, set), inode, ret_attr);
}

int core_readlink(struct core *core, fs_ino ino, char *target, size_t *ret_length)
{
    struct inode *inode;
    int result = inode_get(core, ino, &inode);
    if (result != 0)
        return result;
    if (!S_ISLNK(inode->stored.attr.mode))
        return -EINVAL;
    if (inode->stored.attr.size > FS_SYMLINK_MAX)
        return -EUCLEAN;
    result =
        store_data_read(core->store, ino, inode->stored.attr.size, 0, target, FS_SYMLINK_MAX, ret_length);
    if (result == 0)
        mark_read(core, inode, 0);
    return result;
}
