// SPDX-License-Identifier: Apache-2.0
// rename(2) with NOREPLACE, EXCHANGE and WHITEOUT. Owner thread; inside a turn.
//
// The checks follow the order of Linux's vfs_rename, so that the same mistake gets the same error.
#include "fs/core/core_impl.h"
#include "fs/core/permission.h"
#include <errno.h>

struct side {
    struct inode *directory;
    struct fs_name name;
    struct store_dentry dentry;
    struct inode *inode; // NULL: no such entry
};

static bool is_directory(const struct inode *inode)
{
    return S_ISDIR(inode->stored.attr.mode);
}

static int open_side(struct core *core, const struct fs_cred *cred, fs_ino parent, struct fs_name name,
                     struct side *ret_side)
{
    struct side side = {.name = name};
    int result = inode_get_directory(core, parent, &side.directory);
    if (result == 0)
        result = inode_may(core, cred, side.directory, FS_MAY_EXEC);
    if (result == 0)
        result = fs_name_check(name);
    if (result == 0)
        result = entry_get(core, parent, name, &side.dentry, &side.inode);
    if (result == -ENOENT && side.directory) {
        side.inode = NULL;
        result = 0;
    }
    if (result == 0)
        *ret_side = side;
    return result;
}

// 1: `ancestor` is `ino` or above it; 0: it is not.
static int is_above(struct core *core, fs_ino ancestor, fs_ino ino)
{
    for (unsigned depth = 0; depth < CORE_DEPTH_MAX; depth++) {
        struct inode *directory;
        if (ino == ancestor)
            return 1;
        if (ino == FS_ROOT_INO)
            return 0;
        int result = inode_get(core, ino, &directory);
        if (result != 0)
            return result;
        ino = directory->stored.parent;
    }
    return -EUCLEAN;
}

static int check_cycles(struct core *core, const struct side *from, const struct side *to, bool exchange)
{
    if (is_directory(from->inode)) {
        int above = is_above(core, from->inode->node.key, to->directory->node.key);
        if (above != 0)
            return above < 0 ? above : -EINVAL;
    }
    if (!to->inode || !is_directory(to->inode))
        return 0;
    int above = is_above(core, to->inode->node.key, from->directory->node.key);
    if (above <= 0)
        return above;
    return exchange ? -EINVAL : -ENOTEMPTY;
}

// A directory that changes its parent has its ".." rewritten: that takes write permission on it.
static int check_moved(struct core *core, const struct fs_cred *cred, struct inode *moved,
                       const struct side *from, const struct side *to)
{
    if (from->directory == to->directory || !is_directory(moved))
        return 0;
    return inode_may(core, cred, moved, FS_MAY_WRITE);
}

static int check_target(struct core *core, const struct fs_cred *cred, const struct side *from,
                        const struct side *to, bool exchange)
{
    if (!to->inode)
        return to->directory->stored.attr.nlink == 0
                   ? -ENOENT
                   : inode_may(core, cred, to->directory, FS_MAY_WRITE | FS_MAY_EXEC);
    int result = inode_may_remove(core, cred, to->directory, to->inode);
    if (result != 0 || exchange)
        return result != 0 ? result : check_moved(core, cred, to->inode, to, from);
    if (is_directory(from->inode) != is_directory(to->inode))
        return is_directory(to->inode) ? -EISDIR : -ENOTDIR;
    return 0;
}

static int check_empty(struct core *core, const struct side *to, bool exchange)
{
    bool any = false;
    if (exchange || !to->inode || !is_directory(to->inode))
        return 0;
    int result = store_dentry_any(core->store, to->inode->node.key, &any);
    return result == 0 && any ? -ENOTEMPTY : result;
}

static int check_rename(struct core *core, const struct fs_cred *cred, const struct side *from,
                        const struct side *to, uint32_t flags)
{
    bool exchange = flags & FS_RENAME_EXCHANGE;
    if (!from->inode || (exchange && !to->inode))
        return -ENOENT;
    if ((flags & FS_RENAME_NOREPLACE) && to->inode)
        return -EEXIST;
    if (from->inode == to->inode)
        return 0; // nothing will be done, so nothing more is asked
    int result = check_cycles(core, from, to, exchange);
    if (result == 0)
        result = inode_may_remove(core, cred, from->directory, from->inode);
    if (result == 0)
        result = check_target(core, cred, from, to, exchange);
    if (result == 0)
        result = check_moved(core, cred, from->inode, from, to);
    if (result == 0)
        result = quota_check_move(from->inode, from->directory, to->directory);
    if (result == 0 && exchange)
        result = quota_check_move(to->inode, to->directory, from->directory);
    return result != 0 ? result : check_empty(core, to, exchange);
}

// --- doing it ---

static int put_moved(struct core *core, struct inode *inode, const struct inode *parent, struct fs_time now)
{
    struct store_inode stored = inode->stored;
    if (is_directory(inode) && stored.parent != parent->node.key)
        changes_note(&core->changes, inode->node.key, CORE_CHANGE_TREE);
    if (is_directory(inode) || stored.attr.nlink == 1)
        stored.parent = parent->node.key;
    stored_touch(&stored, now, false);
    return inode_put(core, inode, &stored);
}

static int touch_directories(struct core *core, const struct side *from, const struct side *to, int to_links,
                             int from_links, struct fs_time now)
{
    struct store_inode stored = from->directory->stored;
    stored_touch(&stored, now, true);
    stored.attr.nlink = (uint32_t)((int64_t)stored.attr.nlink + from_links);
    int result = inode_put(core, from->directory, &stored);
    if (result != 0)
        return result;
    stored = to->directory->stored;
    stored_touch(&stored, now, true);
    stored.attr.nlink = (uint32_t)((int64_t)stored.attr.nlink + to_links);
    return inode_put(core, to->directory, &stored);
}

static int put_target_entry(struct core *core, const struct side *from, const struct side *to)
{
    fs_ino parent = to->directory->node.key, ino = from->inode->node.key;
    uint32_t type = from->inode->stored.attr.mode & S_IFMT;
    return to->inode ? entry_replace(core, parent, to->name, ino, type)
                     : entry_put(core, parent, to->name, ino, type);
}

// Where the entry was there is nothing now, or a whiteout.
static int leave(struct core *core, const struct fs_cred *cred, const struct side *from, bool whiteout)
{
    fs_ino parent = from->directory->node.key;
    struct core_make make = {.mode = S_IFCHR};
    struct inode *inode;
    if (!whiteout)
        return entry_remove(core, parent, from->name);
    int result = make_inode(core, cred, from->directory, &make, false, 0, &inode);
    return result != 0 ? result : entry_replace(core, parent, from->name, inode->node.key, S_IFCHR);
}

static int move(struct core *core, const struct fs_cred *cred, const struct side *from, const struct side *to,
                bool whiteout)
{
    struct fs_time now = core_now(core);
    int to_links = 0, from_links = 0;
    int result = put_target_entry(core, from, to);
    if (result == 0)
        result = leave(core, cred, from, whiteout);
    if (result == 0 && to->inode)
        result = inode_unlink(core, to->inode, is_directory(to->inode), now);
    if (result == 0)
        result = put_moved(core, from->inode, to->directory, now);
    if (is_directory(from->inode)) {
        from_links = -1;
        to_links = to->inode ? 0 : 1;
    }
    return result != 0 ? result : touch_directories(core, from, to, to_links, from_links, now);
}

static int exchange(struct core *core, const struct side *from, const struct side *to)
{
    struct fs_time now = core_now(core);
    uint32_t from_type = from->inode->stored.attr.mode & S_IFMT,
             to_type = to->inode->stored.attr.mode & S_IFMT;
    int links = (is_directory(from->inode) ? 1 : 0) - (is_directory(to->inode) ? 1 : 0);
    int result = entry_replace(core, from->directory->node.key, from->name, to->inode->node.key, to_type);
    if (result == 0)
        result = entry_replace(core, to->directory->node.key, to->name, from->inode->node.key, from_type);
    if (result == 0)
        result = put_moved(core, from->inode, to->directory, now);
    if (result == 0)
        result = put_moved(core, to->inode, from->directory, now);
    return result != 0 ? result : touch_directories(core, from, to, links, -links, now);
}

int core_rename(struct core *core, const struct fs_cred *cred, fs_ino parent, struct fs_name name,
                fs_ino new_parent, struct fs_name new_name, uint32_t rename_flags)
{
    struct side from, to;
    bool swaps = rename_flags & FS_RENAME_EXCHANGE;
    if (swaps && (rename_flags & ~FS_RENAME_EXCHANGE))
        return -EINVAL;
    int result = open_side(core, cred, parent, name, &from);
    if (result == 0)
        result = open_side(core, cred, new_parent, new_name, &to);
    if (result == 0)
        result = check_rename(core, cred, &from, &to, rename_flags);
    if (result != 0 || from.inode == to.inode)
        return result; // two names of one inode: POSIX leaves both
    result = write_begin(core);
    if (result != 0)
        return result;
    result = write_end(core, swaps ? exchange(core, &from, &to)
                                   : move(core, cred, &from, &to, rename_flags & FS_RENAME_WHITEOUT));
    if (result == 0 && (is_directory(from.inode) || (to.inode && is_directory(to.inode))))
        core->rename_epoch++;
    return result;
}
