// SPDX-License-Identifier: Apache-2.0
// Looking up, making, linking and removing entries. Owner thread; inside a turn.
#include "fs/core/core_impl.h"
#include "fs/core/permission.h"
#include <errno.h>
#include <string.h>

#define MAKE_TYPES_KNOWN(mode)                                                                               \
    (S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode) || S_ISFIFO(mode) || S_ISSOCK(mode) || S_ISCHR(mode) || \
     S_ISBLK(mode))

// --- looking up ---

static bool name_is(struct fs_name name, const char *text)
{
    return name.length == strlen(text) && memcmp(name.bytes, text, name.length) == 0;
}

int entry_get(struct core *core, fs_ino parent, struct fs_name name, struct store_dentry *ret_dentry,
              struct inode **ret_inode)
{
    struct store_dentry dentry;
    struct inode *inode;
    int result = store_dentry_get(core->store, parent, name, &dentry);
    if (result == 0)
        result = inode_get(core, dentry.ino, &inode);
    if (result != 0)
        return result;
    *ret_dentry = dentry;
    *ret_inode = inode;
    return 0;
}

static int lookup_inode(struct core *core, struct inode *directory, struct fs_name name,
                        struct inode **ret_inode)
{
    if (name_is(name, "."))
        return inode_get(core, directory->node.key, ret_inode);
    if (name_is(name, ".."))
        return inode_get(core, directory->stored.parent, ret_inode);
    int result = fs_name_check(name);
    struct store_dentry dentry;
    return result != 0 ? result : entry_get(core, directory->node.key, name, &dentry, ret_inode);
}

int core_lookup(struct core *core, const struct fs_cred *cred, fs_ino parent, struct fs_name name,
                struct fs_attr *ret_attr)
{
    struct inode *directory, *inode;
    int result = inode_get_directory(core, parent, &directory);
    if (result == 0)
        result = inode_may(core, cred, directory, FS_MAY_EXEC);
    if (result == 0)
        result = lookup_inode(core, directory, name, &inode);
    return result != 0 ? result : inode_attr(core, inode, ret_attr);
}

// --- making ---

int check_make(struct core *core, const struct fs_cred *cred, fs_ino parent, struct fs_name name,
               struct inode **ret_directory)
{
    struct inode *directory;
    struct store_dentry dentry;
    int result = inode_get_directory(core, parent, &directory);
    if (result == 0)
        result = inode_may(core, cred, directory, FS_MAY_EXEC);
    if (result == 0)
        result = fs_name_check(name);
    if (result != 0)
        return result;
    result = store_dentry_get(core->store, parent, name, &dentry);
    if (result != -ENOENT)
        return result == 0 ? -EEXIST : result;
    if (directory->stored.attr.nlink == 0)
        return -ENOENT;
    result = inode_may(core, cred, directory, FS_MAY_WRITE | FS_MAY_EXEC);
    if (result == 0)
        *ret_directory = directory;
    return result;
}

// Of an inode that nobody knows yet: nothing is asked.
static int write_target(struct core *core, fs_ino ino, struct fs_name target)
{
    return store_data_write(core->store, ino, 0, 0, target.bytes, target.length);
}

int entry_put(struct core *core, fs_ino parent, struct fs_name name, fs_ino ino, uint32_t type)
{
    struct store_dentry dentry = {.ino = ino, .type = type};
    changes_note_name(&core->changes, parent, name);
    int result = numbers_cookie(core, &dentry.cookie);
    return result != 0 ? result : store_dentry_put(core->store, parent, name, &dentry);
}

int entry_replace(struct core *core, fs_ino parent, struct fs_name name, fs_ino ino, uint32_t type)
{
    changes_note_name(&core->changes, parent, name);
    return store_dentry_replace(core->store, parent, name, ino, type);
}

int entry_remove(struct core *core, fs_ino parent, struct fs_name name)
{
    changes_note_name(&core->changes, parent, name);
    return store_dentry_remove(core->store, parent, name);
}

static int touch_directory(struct core *core, struct inode *directory, struct fs_time now, int links)
{
    struct store_inode stored = directory->stored;
    stored_touch(&stored, now, true);
    stored.attr.nlink = (uint32_t)((int64_t)stored.attr.nlink + links);
    return inode_put(core, directory, &stored);
}

static struct store_inode new_inode(struct core *core, const struct fs_cred *cred,
                                    const struct inode *directory, const struct core_make *make)
{
    bool is_directory = S_ISDIR(make->mode), is_link = S_ISLNK(make->mode);
    struct fs_time now = core_now(core);
    struct store_inode stored = {.parent = directory->node.key, .quota = directory->stored.quota};
    stored.attr = (struct fs_attr){
        .mode = is_link ? (S_IFLNK | 0777) : make->mode & (S_IFMT | 07777),
        .nlink = is_directory ? 2 : 1,
        .rdev = S_ISCHR(make->mode) || S_ISBLK(make->mode) ? make->rdev : 0,
        .size = is_link ? make->target.length : 0,
        .atime = now,
        .mtime = now,
        .ctime = now,
        .btime = now,
    };
    permission_new(cred, &directory->stored.attr, &stored.attr);
    return stored;
}

int make_inode(struct core *core, const struct fs_cred *cred, const struct inode *directory,
               const struct core_make *make, bool nameless, uint32_t flags, struct inode **ret_inode)
{
    struct store_inode stored = new_inode(core, cred, directory, make);
    stored.flags = flags;
    if (nameless)
        stored.attr.nlink = 0;
    int result = quota_check(core, stored.quota, 0, 1);
    if (result == 0)
        result = numbers_ino(core, &stored.attr.ino);
    if (result == 0)
        changes_made(&core->changes, stored.attr.ino);
    if (result == 0 && !make->bare)
        result = inode_inherit(core, directory, make->umask, &stored);
    return result != 0 ? result : inode_add(core, &stored, ret_inode);
}

int make_entry(struct core *core, const struct fs_cred *cred, struct inode *directory, struct fs_name name,
               const struct core_make *make, struct inode **ret_inode)
{
    struct inode *inode = NULL;
    int result = make_inode(core, cred, directory, make, false, 0, &inode);
    if (result == 0 && S_ISLNK(make->mode))
        result = write_target(core, inode->node.key, make->target);
    if (result == 0)
        result =
            entry_put(core, directory->node.key, name, inode->node.key, inode->stored.attr.mode & S_IFMT);
    if (result == 0)
        result = touch_directory(core, directory, inode->stored.attr.ctime, S_ISDIR(make->mode) ? 1 : 0);
    if (result == 0) {
        inode->blocks_stale = S_ISLNK(make->mode);
        *ret_inode = inode;
    }
    return result;
}

static int check_spec(const struct fs_cred *cred, const struct core_make *make)
{
    if (!MAKE_TYPES_KNOWN(make->mode))
        return -EINVAL;
    bool whiteout = S_ISCHR(make->mode) && make->rdev == 0; // no device: anybody's, as on Linux
    if ((S_ISCHR(make->mode) || S_ISBLK(make->mode)) && !whiteout && cred->uid != 0)
        return -EPERM;
    if (!S_ISLNK(make->mode))
        return 0;
    if (make->target.length == 0)
        return -ENOENT;
    return make->target.length > FS_SYMLINK_MAX ? -ENAMETOOLONG : 0;
}

int core_make(struct core *core, const struct fs_cred *cred, fs_ino parent, struct fs_name name,
              const struct core_make *make, struct fs_attr *ret_attr)
{
    struct inode *directory, *inode = NULL;
    int result = check_make(core, cred, parent, name, &directory);
    if (result == 0)
        result = check_spec(cred, make);
    if (result == 0)
        result = write_begin(core);
    if (result != 0)
        return result;
    result = make_entry(core, cred, directory, name, make, &inode);
    return write_end_attr(core, result, inode, ret_attr);
}

// --- links ---

static int link_entry(struct core *core, struct inode *inode, struct inode *directory, struct fs_name name)
{
    struct fs_time now = core_now(core);
    struct store_inode stored = inode->stored;
    if (stored.attr.nlink++ == 0)
        stored.parent = directory->node.key;
    stored.flags &= ~INODE_LINKABLE;
    stored_touch(&stored, now, false);
    int result = entry_put(core, directory->node.key, name, inode->node.key, stored.attr.mode & S_IFMT);
    if (result == 0)
        result = inode_put(core, inode, &stored);
    return result != 0 ? result : touch_directory(core, directory, now, 0);
}

int core_link(struct core *core, const struct fs_cred *cred, fs_ino ino, fs_ino parent, struct fs_name name,
              struct fs_attr *ret_attr)
{
    struct inode *inode, *directory;
    int result = inode_get(core, ino, &inode);
    if (result == 0)
        result = check_make(core, cred, parent, name, &directory);
    if (result != 0)
        return result;
    if (S_ISDIR(inode->stored.attr.mode))
        return -EPERM;
    if (inode->stored.attr.nlink == 0 && !(inode->stored.flags & INODE_LINKABLE))
        return -ENOENT;
    if (inode->stored.attr.nlink >= FS_LINK_MAX)
        return -EMLINK;
    result = quota_check_link(inode, directory);
    if (result == 0)
        result = write_begin(core);
    if (result != 0)
        return result;
    return write_end_attr(core, link_entry(core, inode, directory, name), inode, ret_attr);
}

// --- removing ---

// With one link left, the parent hint must be exact again.
static int find_last_parent(struct core *core, struct store_inode *stored)
{
    fs_ino parent;
    int n = store_dentry_parents(core->store, stored->attr.ino, &parent, 1);
    if (n == 1)
        stored->parent = parent;
    return n < 0 ? n : 0;
}

int inode_unlink(struct core *core, struct inode *inode, bool directory, struct fs_time now)
{
    struct store_inode stored = inode->stored;
    if (stored.attr.nlink == 0)
        return -EUCLEAN;
    stored.attr.nlink = directory ? 0 : stored.attr.nlink - 1;
    stored_touch(&stored, now, false);
    int result = stored.attr.nlink == 1 ? find_last_parent(core, &stored) : 0;
    if (result != 0)
        return result;
    if (stored.attr.nlink > 0 || inode->n_opens > 0)
        return inode_put(core, inode, &stored);
    return inode_remove(core, inode);
}

static int remove_entry(struct core *core, struct inode *directory, struct fs_name name, struct inode *victim,
                        bool is_directory)
{
    struct fs_time now = core_now(core);
    int result = entry_remove(core, directory->node.key, name);
    if (result == 0)
        result = inode_unlink(core, victim, is_directory, now);
    return result != 0 ? result : touch_directory(core, directory, now, is_directory ? -1 : 0);
}

static int check_remove(struct core *core, const struct fs_cred *cred, fs_ino parent, struct fs_name name,
                        struct inode **ret_directory, struct inode **ret_victim)
{
    struct inode *directory, *victim;
    struct store_dentry dentry;
    int result = inode_get_directory(core, parent, &directory);
    if (result == 0)
        result = inode_may(core, cred, directory, FS_MAY_EXEC);
    if (result == 0)
        result = fs_name_check(name);
    if (result == 0)
        result = entry_get(core, parent, name, &dentry, &victim);
    if (result == 0)
        result = inode_may_remove(core, cred, directory, victim);
    if (result != 0)
        return result;
    *ret_directory = directory;
    *ret_victim = victim;
    return 0;
}

int core_unlink(struct core *core, const struct fs_cred *cred, fs_ino parent, struct fs_name name,
                fs_ino *ret_ino)
{
    struct inode *directory, *victim;
    int result = check_remove(core, cred, parent, name, &directory, &victim);
    if (result != 0)
        return result;
    if (S_ISDIR(victim->stored.attr.mode))
        return -EISDIR;
    fs_ino ino = victim->node.key; // it may be freed
    result = write_begin(core);
    if (result == 0)
        result = write_end(core, remove_entry(core, directory, name, victim, false));
    if (result == 0)
        *ret_ino = ino;
    return result;
}

int core_rmdir(struct core *core, const struct fs_cred *cred, fs_ino parent, struct fs_name name)
{
    struct inode *directory, *victim;
    bool any = false;
    int result = check_remove(core, cred, parent, name, &directory, &victim);
    if (result != 0)
        return result;
    if (!S_ISDIR(victim->stored.attr.mode))
        return -ENOTDIR;
    result = store_dentry_any(core->store, victim->node.key, &any);
    if (result != 0 || any)
        return any ? -ENOTEMPTY : result;
    result = write_begin(core);
    return result != 0 ? result : write_end(core, remove_entry(core, directory, name, victim, true));
}
