// SPDX-License-Identifier: Apache-2.0
// Listing directories by cookie. Owner thread; inside a turn.
#include "fs/core/core_impl.h"
#include <errno.h>

#define COOKIE_DOT     1u
#define COOKIE_DOT_DOT 2u

struct listing {
    core_visit_entry *visit;
    void *context;
};

static bool visit_dentry(void *context, struct fs_name name, const struct store_dentry *dentry,
                         const struct store_inode *inode)
{
    const struct listing *listing = context;
    return listing->visit(listing->context, name, dentry->cookie, dentry->ino, dentry->type,
                          inode ? &inode->attr : NULL);
}

static bool visit_dots(struct core *core, const struct inode *directory, uint64_t cookie,
                       const struct listing *listing, int *ret_result)
{
    struct inode *parent;
    const struct fs_attr *attr = &directory->stored.attr;
    if (cookie < COOKIE_DOT &&
        !listing->visit(listing->context, fs_name_of("."), COOKIE_DOT, attr->ino, S_IFDIR, attr))
        return false;
    if (cookie >= COOKIE_DOT_DOT)
        return true;
    *ret_result = inode_get(core, directory->stored.parent, &parent);
    if (*ret_result != 0)
        return false;
    attr = &parent->stored.attr;
    return listing->visit(listing->context, fs_name_of(".."), COOKIE_DOT_DOT, attr->ino, S_IFDIR, attr);
}

int core_readdir(struct core *core, const struct core_file *directory, uint64_t cookie,
                 core_visit_entry *visit, void *context)
{
    struct inode *inode;
    struct listing listing = {.visit = visit, .context = context};
    int result = inode_get_directory(core, directory->inode->node.key, &inode);
    if (result != 0)
        return result == -ENOENT ? -ESTALE : result;
    if (!(directory->flags & FS_OPEN_READ))
        return -EBADF;
    if (inode->stored.attr.nlink == 0)
        return -ENOENT; // removed: as Linux, not even "." and ".."
    if (!visit_dots(core, inode, cookie, &listing, &result))
        return result;
    uint64_t after = cookie < COOKIE_DOT_DOT ? COOKIE_DOT_DOT : cookie;
    result = store_dentry_list(core->store, inode->node.key, after, true, visit_dentry, &listing);
    if (result == 0)
        mark_read(core, inode, directory->flags);
    return result;
}
