// SPDX-License-Identifier: Apache-2.0
// Quotas, as XFS's project quotas: every inode names the directory whose quota it is charged to, new ones
// that of their parent directory. Invariant: a directory below a quota root names it, unless another quota
// root is between; so does a file, unless it had a link elsewhere when the root became one. The store counts;
// here are the limits and who belongs where. Owner thread; inside a turn.
#include "fs/base/check.h"
#include "fs/core/core_impl.h"
#include <errno.h>
#include <stdlib.h>

#define STATFS_BLOCK_SIZE 4096u

static bool is_quota_root(const struct inode *inode)
{
    return inode->stored.quota == inode->node.key;
}

// --- limits ---

// Those of the whole file system: every write asks for them.
static int limits_of_all(struct core *core, struct store_quota *ret_limits)
{
    if (!core->limits_known) {
        int result = store_quota_get(core->store, 0, &core->limits);
        if (result != 0)
            return result;
        core->limits_known = true;
    }
    *ret_limits = core->limits;
    return 0;
}

static uint64_t left_of(uint64_t max, uint64_t used)
{
    uint64_t end = max == 0 ? UINT64_MAX : max;
    return used < end ? end - used : 0;
}

static bool fits(const struct store_quota *quota, uint64_t bytes, uint64_t inodes)
{
    return (bytes == 0 || bytes <= left_of(quota->max_bytes, quota->bytes)) &&
           (inodes == 0 || inodes <= left_of(quota->max_inodes, quota->inodes));
}

static int limits_and_use_of_all(struct core *core, struct store_quota *ret_quota)
{
    struct store_quota quota;
    struct store_usage usage;
    int result = limits_of_all(core, &quota);
    if (result == 0)
        result = store_usage(core->store, &usage);
    if (result != 0)
        return result;
    quota.bytes = usage.bytes;
    quota.inodes = usage.inodes;
    *ret_quota = quota;
    return 0;
}

int quota_check(struct core *core, fs_ino id, uint64_t bytes, uint64_t inodes)
{
    struct store_quota quota;
    int result = id != 0 ? store_quota_get(core->store, id, &quota) : 0;
    if (result != 0)
        return result;
    if (id != 0 && !fits(&quota, bytes, inodes))
        return -EDQUOT;
    result = limits_of_all(core, &quota);
    if (result != 0 || (quota.max_bytes == 0 && quota.max_inodes == 0))
        return result;
    result = limits_and_use_of_all(core, &quota);
    return result == 0 && !fits(&quota, bytes, inodes) ? -ENOSPC : result;
}

int quota_check_growth(struct core *core, const struct inode *inode, uint64_t size)
{
    const struct store_inode *stored = &inode->stored;
    return size <= stored->attr.size ? 0 : quota_check(core, stored->quota, size - stored->attr.size, 0);
}

int quota_check_link(const struct inode *inode, const struct inode *to)
{
    return inode->stored.quota == to->stored.quota ? 0 : -EXDEV;
}

int quota_check_move(const struct inode *inode, const struct inode *from, const struct inode *to)
{
    if (is_quota_root(inode) || from->stored.quota == to->stored.quota)
        return 0;
    return quota_check_link(inode, to);
}

// --- a directory becomes a quota root ---

struct walk {
    fs_ino *inos; // still to be looked at; owned
    size_t n, capacity;
    int result;
};

static bool walk_push(void *context, struct fs_name name UNUSED, const struct store_dentry *dentry,
                      const struct store_inode *inode UNUSED)
{
    struct walk *walk = context;
    if (walk->n == walk->capacity) {
        size_t capacity = MAX(walk->capacity * 2, (size_t)256);
        fs_ino *larger = realloc(walk->inos, capacity * sizeof *larger);
        if (!larger) {
            walk->result = -ENOMEM;
            return false;
        }
        walk->inos = larger;
        walk->capacity = capacity;
    }
    walk->inos[walk->n++] = dentry->ino;
    return true;
}

// What is charged elsewhere than the new root was until now stays there: an inner quota root and all below
// it.
static int walk_step(struct core *core, struct walk *walk, fs_ino ino, fs_ino from, fs_ino to)
{
    struct inode *inode;
    int result = inode_get(core, ino, &inode);
    if (result != 0 || inode->stored.quota != from)
        return result;
    struct store_inode stored = inode->stored;
    stored.quota = to;
    result = inode_put(core, inode, &stored);
    if (result == 0 && S_ISDIR(stored.attr.mode))
        result = store_dentry_list(core->store, ino, 0, false, walk_push, walk);
    return result != 0 ? result : walk->result;
}

static int charge_tree(struct core *core, fs_ino root, fs_ino from)
{
    struct walk walk = {0};
    int result = walk_step(core, &walk, root, from, root);
    while (result == 0 && walk.n > 0) {
        result = walk_step(core, &walk, walk.inos[--walk.n], from, root);
        inode_trim(core);
    }
    free(walk.inos);
    return result;
}

static int set_limits(struct core *core, fs_ino id, const struct core_limits *limits)
{
    core->limits_known = core->limits_known && id != 0;
    return store_quota_put(core->store, id, limits->max_bytes, limits->max_inodes);
}

static int limits_differ(struct core *core, fs_ino id, const struct core_limits *limits, bool *ret_differ)
{
    struct store_quota quota;
    int result = store_quota_get(core->store, id, &quota);
    if (result == 0)
        *ret_differ = quota.max_bytes != limits->max_bytes || quota.max_inodes != limits->max_inodes;
    return result;
}

int core_quota_set(struct core *core, fs_ino id, const struct core_limits *limits)
{
    struct inode *inode = NULL;
    bool differ;
    int result = id != 0 ? inode_get_directory(core, id, &inode) : 0;
    if (result == 0)
        result = limits_differ(core, id, limits, &differ);
    if (result != 0)
        return result;
    bool becomes_root = inode && !is_quota_root(inode) && (limits->max_bytes || limits->max_inodes);
    if (inode && !is_quota_root(inode) && !becomes_root)
        return 0;
    if (!differ && !becomes_root)
        return 0;
    result = write_begin(core);
    if (result != 0)
        return result;
    if (becomes_root)
        result = charge_tree(core, id, inode->stored.quota);
    return write_end(core, result != 0 ? result : set_limits(core, id, limits));
}

int core_quota_get(struct core *core, fs_ino id, struct store_quota *ret_quota)
{
    struct inode *inode;
    if (id == 0)
        return limits_and_use_of_all(core, ret_quota);
    int result = inode_get_directory(core, id, &inode);
    if (result != 0)
        return result;
    if (is_quota_root(inode))
        return store_quota_get(core->store, id, ret_quota);
    *ret_quota = (struct store_quota){0};
    return 0;
}

// --- statfs ---

static void show_limit(uint64_t max, uint64_t used, uint64_t *total, uint64_t *free)
{
    if (max == 0)
        return;
    *total = MIN(*total, max);
    *free = MIN(*free, left_of(max, used));
}

struct space {
    uint64_t bytes_total, bytes_free, inodes_total, inodes_free;
};

static void show_quota(const struct store_quota *quota, struct space *space)
{
    show_limit(quota->max_bytes, quota->bytes, &space->bytes_total, &space->bytes_free);
    show_limit(quota->max_inodes, quota->inodes, &space->inodes_total, &space->inodes_free);
}

static int space_of(struct core *core, fs_ino id, struct space *ret_space)
{
    struct store_usage usage;
    struct store_quota all, quota = {0};
    int result = store_usage(core->store, &usage);
    if (result == 0)
        result = limits_of_all(core, &all);
    if (result == 0 && id != 0)
        result = store_quota_get(core->store, id, &quota);
    if (result != 0)
        return result;
    all.bytes = usage.bytes;
    all.inodes = usage.inodes;
    // An inode costs at least a block's worth of the medium.
    uint64_t free_inodes = usage.free_bytes / STATFS_BLOCK_SIZE;
    struct space space = {.bytes_total = usage.total_bytes,
                          .bytes_free = usage.free_bytes,
                          .inodes_total = usage.inodes + free_inodes,
                          .inodes_free = free_inodes};
    show_quota(&all, &space);
    show_quota(&quota, &space);
    *ret_space = space;
    return 0;
}

int core_statfs(struct core *core, fs_ino root, struct fs_statfs *ret_statfs)
{
    struct inode *inode;
    struct space space;
    int result = inode_get(core, root, &inode);
    if (result == 0)
        result = space_of(core, inode->stored.quota, &space);
    if (result != 0)
        return result;
    uint64_t free_blocks = space.bytes_free / STATFS_BLOCK_SIZE;
    *ret_statfs = (struct fs_statfs){
        .block_size = STATFS_BLOCK_SIZE,
        .blocks_total = space.bytes_total / STATFS_BLOCK_SIZE,
        .blocks_free = free_blocks,
        .blocks_available = free_blocks,
        .inodes_total = space.inodes_total,
        .inodes_free = space.inodes_free,
        .name_max = FS_NAME_MAX,
    };
    return 0;
}
