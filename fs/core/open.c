// SPDX-License-Identifier: Apache-2.0
// Opens: who keeps an inode alive. Owner thread; inside a turn, but for core_release().
#include "fs/core/core_impl.h"
#include "fs/core/permission.h"
#include <errno.h>
#include <stdlib.h>

int file_new(struct core *core, struct inode *inode, uint32_t flags, struct core_file **ret_file)
{
    struct core_file *file = calloc(1, sizeof *file);
    if (!file)
        return -ENOMEM;
    *file = (struct core_file){.inode = inode, .flags = flags};
    list_init(&file->turn);
    list_push(&core->opened, &file->turn);
    inode_pin(core, inode);
    *ret_file = file;
    return 0;
}

static uint32_t may_of(uint32_t open_flags)
{
    uint32_t may = 0;
    if (open_flags & FS_OPEN_READ)
        may |= FS_MAY_READ;
    if (open_flags & (FS_OPEN_WRITE | FS_OPEN_TRUNC))
        may |= FS_MAY_WRITE;
    if (open_flags & FS_OPEN_EXEC)
        may |= FS_MAY_EXEC;
    return may;
}

static int check_type(const struct fs_attr *attr, uint32_t open_flags)
{
    if (S_ISLNK(attr->mode))
        return -ELOOP;
    if (S_ISDIR(attr->mode))
        return open_flags & (FS_OPEN_WRITE | FS_OPEN_TRUNC | FS_OPEN_CREATE) ? -EISDIR : 0;
    if (open_flags & FS_OPEN_DIRECTORY)
        return -ENOTDIR;
    // Pipes, sockets and devices are the business of the client's kernel, never of the server.
    return S_ISREG(attr->mode) ? 0 : -ENXIO;
}

// open(O_TRUNC) marks the times even when the file was empty.
static int truncate_open(struct core *core, const struct fs_cred *cred, struct inode *inode,
                         struct fs_attr *ret_attr)
{
    struct store_inode stored = inode->stored;
    int result = write_begin(core);
    if (result != 0)
        return result;
    if (stored.attr.size != 0)
        result = truncate_to(core, &stored, 0);
    if (result == 0)
        result = contents_changed(core, cred, &stored, core_now(core));
    inode->blocks_stale = true;
    if (result == 0)
        result = inode_put(core, inode, &stored);
    return write_end_attr(core, result, inode, ret_attr);
}

static int open_inode(struct core *core, const struct fs_cred *cred, struct inode *inode, uint32_t open_flags,
                      struct core_file **ret_file, struct fs_attr *ret_attr)
{
    struct core_file *file;
    int result = check_type(&inode->stored.attr, open_flags);
    if (result == 0)
        result = inode_may(core, cred, inode, may_of(open_flags));
    if (result == 0 && (open_flags & FS_OPEN_NOATIME) && cred->uid != 0 &&
        cred->uid != inode->stored.attr.uid)
        result = -EPERM;
    if (result == 0)
        result = file_new(core, inode, open_flags, &file);
    if (result != 0)
        return result;
    if (open_flags & FS_OPEN_TRUNC)
        result = truncate_open(core, cred, inode, ret_attr);
    else
        result = inode_attr(core, inode, ret_attr);
    if (result != 0) {
        core_release(core, file);
        return result;
    }
    *ret_file = file;
    return 0;
}

int core_open(struct core *core, const struct fs_cred *cred, fs_ino ino, uint32_t open_flags,
              struct core_file **ret_file, struct fs_attr *ret_attr)
{
    struct inode *inode;
    int result = inode_get(core, ino, &inode);
    return result != 0 ? result : open_inode(core, cred, inode, open_flags, ret_file, ret_attr);
}

static int create_and_open(struct core *core, const struct fs_cred *cred, fs_ino parent, struct fs_name name,
                           uint32_t mode, uint32_t umask, uint32_t open_flags, struct core_file **ret_file,
                           struct fs_attr *ret_attr)
{
    struct inode *directory, *inode = NULL;
    struct core_file *file = NULL;
    struct core_make make = {.mode = S_IFREG | (mode & 07777), .umask = umask};
    int result = check_make(core, cred, parent, name, &directory);
    if (result == 0)
        result = write_begin(core);
    if (result != 0)
        return result;
    result = make_entry(core, cred, directory, name, &make, &inode);
    if (result == 0)
        result = file_new(core, inode, open_flags, &file);
    result = write_end_attr(core, result, inode, ret_attr);
    if (result == 0)
        *ret_file = file;
    else if (file)
        core_release(core, file);
    return result;
}

int core_create_open(struct core *core, const struct fs_cred *cred, fs_ino parent, struct fs_name name,
                     uint32_t mode, uint32_t umask, uint32_t open_flags, struct core_file **ret_file,
                     struct fs_attr *ret_attr, bool *ret_created)
{
    struct inode *directory, *inode;
    struct store_dentry dentry;
    int result = inode_get_directory(core, parent, &directory);
    if (result == 0)
        result = inode_may(core, cred, directory, FS_MAY_EXEC);
    if (result == 0)
        result = fs_name_check(name);
    if (result == 0)
        result = entry_get(core, parent, name, &dentry, &inode);
    if (result == -ENOENT) {
        result = create_and_open(core, cred, parent, name, mode, umask, open_flags, ret_file, ret_attr);
        if (result == 0)
            *ret_created = true;
        return result;
    }
    if (result == 0 && (open_flags & FS_OPEN_EXCL))
        result = -EEXIST;
    if (result == 0)
        result = open_inode(core, cred, inode, open_flags, ret_file, ret_attr);
    if (result == 0)
        *ret_created = false;
    return result;
}

int core_tmpfile(struct core *core, const struct fs_cred *cred, fs_ino parent, uint32_t mode, uint32_t umask,
                 uint32_t open_flags, struct core_file **ret_file, struct fs_attr *ret_attr)
{
    struct inode *directory, *inode = NULL;
    struct core_file *file = NULL;
    struct core_make make = {.mode = S_IFREG | (mode & 07777), .umask = umask};
    int result = inode_get_directory(core, parent, &directory);
    if (result == 0)
        result = inode_may(core, cred, directory, FS_MAY_WRITE | FS_MAY_EXEC);
    if (result == 0 && directory->stored.attr.nlink == 0)
        result = -ENOENT;
    if (result == 0)
        result = write_begin(core);
    if (result != 0)
        return result;
    result = make_inode(core, cred, directory, &make, true, open_flags & FS_OPEN_EXCL ? 0 : INODE_LINKABLE,
                        &inode);
    if (result == 0)
        result = file_new(core, inode, open_flags, &file);
    result = write_end_attr(core, result, inode, ret_attr);
    if (result == 0)
        *ret_file = file;
    else if (file)
        core_release(core, file);
    return result;
}

int core_hold(struct core *core, fs_ino ino, struct core_file **ret_file)
{
    struct inode *inode;
    int result = inode_get(core, ino, &inode);
    return result == 0 ? file_new(core, inode, 0, ret_file) : result;
}

int core_reopen(struct core *core, fs_ino ino, uint32_t open_flags, struct core_file **ret_file)
{
    struct inode *inode;
    int result = inode_get(core, ino, &inode);
    if (result == 0)
        result = check_type(&inode->stored.attr, open_flags & ~(uint32_t)FS_OPEN_TRUNC);
    if (result != 0)
        return result == -ENOENT ? -ESTALE : result;
    return file_new(core, inode, open_flags, ret_file);
}

void core_release(struct core *core, struct core_file *file)
{
    struct inode *inode = file->inode;
    list_remove(&file->turn);
    inode_unpin(core, inode);
    if (inode->n_opens == 0 && (!inode->loaded || inode->stored.attr.nlink == 0))
        reap_add(core, inode->node.key);
    free(file);
}

fs_ino core_file_ino(const struct core_file *file)
{
    return file->inode->node.key;
}

uint32_t core_file_flags(const struct core_file *file)
{
    return file->flags;
}
