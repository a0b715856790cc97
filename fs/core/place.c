// SPDX-License-Identifier: Apache-2.0
// Where an inode lies: below which root, and the root of an access point. Owner thread; inside a turn.
#include "fs/core/core_impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROOT_DEPTH_MAX 4 // components of an access point's path, as EFS

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

static int any_under(struct core *core, const fs_ino *parents, int n, fs_ino root, bool *ret_under)
{
    bool under = false;
    int result = 0;
    for (int i = 0; i < n && result == 0 && !under; i++)
        result = directory_under(core, parents[i], root, &under);
    if (result == 0)
        *ret_under = under;
    return result;
}

// A file with several names is under root when one of them is; it has at most FS_LINK_MAX.
static int file_under(struct core *core, const struct inode *inode, fs_ino root, bool *ret_under)
{
    uint32_t n_links = inode->stored.attr.nlink;
    if (n_links <= 1)
        return directory_under(core, inode->stored.parent, root, ret_under);
    if (n_links > FS_LINK_MAX)
        return -EUCLEAN;
    fs_ino *parents = calloc(n_links, sizeof *parents);
    if (!parents)
        return -ENOMEM;
    int n = store_dentry_parents(core->store, inode->node.key, parents, n_links);
    int result = n < 0 ? n : any_under(core, parents, n, root, ret_under);
    free(parents);
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

// One step down; *ret_ino is the directory there.
static int find_component(struct core *core, fs_ino parent, struct fs_name name, fs_ino *ret_ino)
{
    struct store_dentry dentry;
    struct inode *inode;
    int result = entry_get(core, parent, name, &dentry, &inode);
    if (result != 0)
        return result;
    if (!S_ISDIR(inode->stored.attr.mode))
        return -ENOTDIR;
    *ret_ino = dentry.ino;
    return 0;
}

// Whatever the parent hands down, the owner and mode are those that were asked for.
static int make_component(struct core *core, fs_ino parent, struct fs_name name,
                          const struct core_root_spec *spec, bool last, fs_ino *ret_ino)
{
    struct core_make make = {.mode = S_IFDIR | 0755, .bare = true};
    struct inode *directory, *inode;
    int result = inode_get_directory(core, parent, &directory);
    if (result == 0)
        result = make_entry(core, &root_cred, directory, name, &make, &inode);
    if (result != 0)
        return result;
    struct store_inode stored = inode->stored;
    stored.attr.uid = last ? spec->uid : 0;
    stored.attr.gid = last ? spec->gid : 0;
    stored.attr.mode = S_IFDIR | (last ? spec->mode & 07777 : 0755);
    *ret_ino = stored.attr.ino;
    return inode_put(core, inode, &stored);
}

// The first component of `text`, which starts with none of its slashes; *ret_next is where the next starts.
static struct fs_name split(const char *text, const char **ret_next)
{
    struct fs_name name = {.bytes = text, .length = strcspn(text, "/")};
    *ret_next = text + name.length + strspn(text + name.length, "/");
    return name;
}

static int check_path(const char *text)
{
    int result = 0;
    unsigned depth = 0;
    for (const char *next; *text && result == 0; text = next)
        result = depth++ < ROOT_DEPTH_MAX ? fs_name_check(split(text, &next)) : -EINVAL;
    return result;
}

// All that is missing, in one operation: a root is never left half made.
static int make_path(struct core *core, fs_ino parent, const char *text, const struct core_root_spec *spec,
                     fs_ino *ret_ino)
{
    fs_ino at = parent;
    int result = write_begin(core);
    if (result != 0)
        return result;
    for (const char *next; *text && result == 0; text = next) {
        struct fs_name name = split(text, &next);
        result = make_component(core, at, name, spec, *next == 0, &at);
    }
    result = write_end(core, result);
    if (result == 0)
        *ret_ino = at;
    return result;
}

int core_resolve_root(struct core *core, const struct core_root_spec *spec, fs_ino *ret_ino)
{
    fs_ino at = FS_ROOT_INO;
    const char *text = spec->path + strspn(spec->path, "/");
    int result = check_path(text);
    for (const char *next; *text && result == 0; text = next) {
        result = find_component(core, at, split(text, &next), &at);
        if (result == -ENOENT && spec->make)
            return make_path(core, at, text, spec, ret_ino);
    }
    if (result == 0)
        *ret_ino = at;
    return result;
}
