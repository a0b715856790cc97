// SPDX-License-Identifier: Apache-2.0
// Where an inode lies: below which root, and the root of an access point. Owner thread; inside a turn.
#include "fs/core/core_impl.h"
#include <errno.h>
#include <string.h>

#define PARENTS_MAX    64 // directories of one file that are looked at
#define ROOT_DEPTH_MAX 4  // components of an access point's path, as EFS

static const struct fs_cred root_cred = {0};

// --- below a root ---

static int directory_under(struct core *core, fs_ino ino, fs_ino root, bool *ret_under)
{
    bool under = false;
    fs_ino at = ino;
    unsigned depth = 0;
    for (; !under && depth < CORE_DEPTH_MAX; depth++) {
        struct inode *directory;
        int result = at == root ? 0 : inode_get_directory(core, at, &directory);
        if (result != 0)
            return result;
        under = at == root;
        if (under || at == FS_ROOT_INO)
            break;
        at = directory->stored.parent;
    }
    if (depth == CORE_DEPTH_MAX)
        return -EUCLEAN;
    *ret_under = under;
    return 0;
}

static int file_under(struct core *core, const struct inode *inode, fs_ino root, bool *ret_under)
{
    fs_ino parents[PARENTS_MAX];
    if (inode->stored.attr.nlink <= 1)
        return directory_under(core, inode->stored.parent, root, ret_under);
    int n = store_dentry_parents(core->store, inode->node.key, parents, PARENTS_MAX);
    bool under = false;
    int result = n < 0 ? n : 0;
    for (int i = 0; i < n && result == 0 && !under; i++)
        result = directory_under(core, parents[i], root, &under);
    if (result == 0)
        *ret_under = under;
    return result;
}

int core_is_under(struct core *core, fs_ino ino, fs_ino root, bool *ret_under)
{
    struct inode *inode;
    int result = inode_get(core, ino, &inode);
    if (result != 0)
        return result;
    if (root == FS_ROOT_INO) {
        *ret_under = true;
        return 0;
    }
    bool is_directory = S_ISDIR(inode->stored.attr.mode);
    if (is_directory && inode->place_epoch == core->rename_epoch && inode->place_root == root) {
        *ret_under = inode->place_under;
        return 0;
    }
    bool under;
    result = is_directory ? directory_under(core, ino, root, &under) : file_under(core, inode, root, &under);
    if (result != 0)
        return result;
    if (is_directory) {
        inode->place_epoch = core->rename_epoch;
        inode->place_root = root;
        inode->place_under = under;
    }
    *ret_under = under;
    return 0;
}

// --- the root of an access point ---

static int make_component(struct core *core, fs_ino parent, struct fs_name name,
                          const struct core_root_spec *spec, bool last, struct fs_attr *ret_attr)
{
    struct core_make make = {.mode = S_IFDIR | 0755};
    int result = core_make(core, &root_cred, parent, name, &make, ret_attr);
    if (result != 0 || !last)
        return result;
    struct fs_setattr set = {
        .mask = FS_SET_MODE | FS_SET_UID | FS_SET_GID,
        .mode = spec->mode,
        .uid = spec->uid,
        .gid = spec->gid,
    };
    return core_setattr(core, &root_cred, ret_attr->ino, NULL, &set, ret_attr);
}

static int step(struct core *core, fs_ino parent, struct fs_name name, const struct core_root_spec *spec,
                bool last, fs_ino *ret_ino)
{
    struct fs_attr attr;
    int result = core_lookup(core, &root_cred, parent, name, &attr);
    if (result == -ENOENT && spec->make)
        result = make_component(core, parent, name, spec, last, &attr);
    if (result != 0)
        return result;
    if (!S_ISDIR(attr.mode))
        return -ENOTDIR;
    *ret_ino = attr.ino;
    return 0;
}

int core_resolve_root(struct core *core, const struct core_root_spec *spec, fs_ino *ret_ino)
{
    fs_ino at = FS_ROOT_INO;
    unsigned depth = 0;
    for (const char *text = spec->path + strspn(spec->path, "/"); *text; depth++) {
        struct fs_name name = {.bytes = text, .length = strcspn(text, "/")};
        const char *next = text + name.length + strspn(text + name.length, "/");
        int result = depth < ROOT_DEPTH_MAX ? fs_name_check(name) : -EINVAL;
        if (result == 0)
            result = step(core, at, name, spec, *next == 0, &at);
        if (result != 0)
            return result;
        text = next;
    }
    *ret_ino = at;
    return 0;
}
