// SPDX-License-Identifier: Apache-2.0
// Ranges of files: fallocate(2), lseek(2) to data and holes, copy_file_range(2). What is asked first is as in
// Linux. Owner thread; inside a turn.
#include "fs/base/check.h"
#include "fs/core/core_impl.h"
#include <errno.h>

// --- fallocate ---

static int check_fallocate(const struct core_file *file, const struct inode *inode, uint32_t mode,
                           uint64_t offset, uint64_t n)
{
    if (offset > FS_FILE_SIZE_MAX || n == 0 || n > FS_FILE_SIZE_MAX)
        return -EINVAL;
    if ((mode & ~FS_ALLOCATE_ALL) || ((mode & FS_ALLOCATE_PUNCH_HOLE) && (mode & FS_ALLOCATE_ZERO_RANGE)) ||
        ((mode & FS_ALLOCATE_PUNCH_HOLE) && !(mode & FS_ALLOCATE_KEEP_SIZE)))
        return -EOPNOTSUPP;
    if (!(file->flags & FS_OPEN_WRITE))
        return -EBADF;
    if (S_ISDIR(inode->stored.attr.mode))
        return -EISDIR;
    if (!S_ISREG(inode->stored.attr.mode))
        return S_ISFIFO(inode->stored.attr.mode) ? -ESPIPE : -ENODEV;
    return n > FS_FILE_SIZE_MAX - offset ? -EFBIG : 0;
}

static int fallocate_data(struct core *core, struct fs_attr *attr, uint32_t mode, uint64_t offset, uint64_t n)
{
    uint64_t from = attr->size, to = mode & FS_ALLOCATE_KEEP_SIZE ? from : MAX(from, offset + n);
    int result = changes_data(core, attr->ino);
    if (result == 0 && !(mode & FS_ALLOCATE_PUNCH_HOLE))
        result = store_data_allocate(core->store, attr->ino, from, to, offset, n);
    if (result == 0 && (mode & (FS_ALLOCATE_PUNCH_HOLE | FS_ALLOCATE_ZERO_RANGE)))
        result = store_data_zero(core->store, attr->ino, from, offset, n, !(mode & FS_ALLOCATE_PUNCH_HOLE));
    if (result == 0)
        attr->size = to;
    return result;
}

static int put_changed(struct core *core, const struct fs_cred *cred, struct inode *inode,
                       struct store_inode *stored)
{
    int result = contents_changed(core, cred, stored, core_now(core));
    if (result != 0)
        return result;
    inode->blocks_stale = true;
    return inode_put(core, inode, stored);
}

int core_fallocate(struct core *core, const struct fs_cred *cred, const struct core_file *file, uint32_t mode,
                   uint64_t offset, uint64_t n, struct fs_attr *ret_attr)
{
    struct inode *inode;
    int result = file_inode(core, file, &inode);
    if (result == 0)
        result = check_fallocate(file, inode, mode, offset, n);
    if (result == 0 && !(mode & FS_ALLOCATE_KEEP_SIZE))
        result = quota_check_growth(core, inode, offset + n);
    if (result == 0)
        result = write_begin(core);
    if (result != 0)
        return result;
    struct store_inode stored = inode->stored;
    result = fallocate_data(core, &stored.attr, mode, offset, n);
    if (result == 0)
        result = put_changed(core, cred, inode, &stored);
    return write_end_attr(core, result, inode, ret_attr);
}

// --- seek ---

int core_seek(struct core *core, const struct core_file *file, uint64_t offset, bool hole,
              uint64_t *ret_offset)
{
    struct inode *inode;
    int result = file_inode(core, file, &inode);
    if (result != 0)
        return result;
    if (!S_ISREG(inode->stored.attr.mode))
        return -EINVAL;
    return store_data_seek(core->store, inode->node.key, inode->stored.attr.size, offset, hole, ret_offset);
}

// --- copy ---

static int check_copy(const struct core_file *from, const struct inode *from_inode,
                      const struct core_file *to, const struct inode *to_inode)
{
    if (S_ISDIR(from_inode->stored.attr.mode) || S_ISDIR(to_inode->stored.attr.mode))
        return -EISDIR;
    if (!S_ISREG(from_inode->stored.attr.mode) || !S_ISREG(to_inode->stored.attr.mode))
        return -EINVAL;
    if (!(from->flags & (FS_OPEN_READ | FS_OPEN_EXEC)) || !(to->flags & FS_OPEN_WRITE) ||
        (to->flags & FS_OPEN_APPEND))
        return -EBADF;
    return 0;
}

// How much there is to copy, as copy_file_range(2) counts it.
static int copy_length(const struct inode *from, uint64_t from_offset, const struct inode *to,
                       uint64_t offset, uint64_t n, uint64_t *ret_n)
{
    if (from_offset > FS_FILE_SIZE_MAX || offset > FS_FILE_SIZE_MAX)
        return -EINVAL;
    if (n > UINT64_MAX - from_offset || n > UINT64_MAX - offset)
        return -EOVERFLOW;
    uint64_t size = from->stored.attr.size;
    n = from_offset < size ? MIN(n, size - from_offset) : 0;
    if (n > 0 && offset == FS_FILE_SIZE_MAX)
        return -EFBIG;
    n = MIN(n, FS_FILE_SIZE_MAX - offset);
    if (from == to && from_offset < offset + n && offset < from_offset + n)
        return -EINVAL;
    *ret_n = MIN(n, CORE_COPY_MAX);
    return 0;
}

static int copy(struct core *core, const struct fs_cred *cred, struct inode *to,
                const struct store_copy *copy)
{
    struct store_inode stored = to->stored;
    int result = changes_data(core, to->node.key);
    if (result == 0)
        result = store_data_copy(core->store, copy);
    if (result != 0)
        return result;
    stored.attr.size = MAX(stored.attr.size, copy->offset + copy->n);
    return put_changed(core, cred, to, &stored);
}

int core_copy_range(struct core *core, const struct fs_cred *cred, const struct core_file *from_file,
                    uint64_t from_offset, const struct core_file *file, uint64_t offset, uint64_t n,
                    uint64_t *ret_n)
{
    struct inode *from, *to;
    uint64_t length = 0;
    int result = file_inode(core, from_file, &from);
    if (result == 0)
        result = file_inode(core, file, &to);
    if (result == 0)
        result = check_copy(from_file, from, file, to);
    if (result == 0)
        result = copy_length(from, from_offset, to, offset, n, &length);
    if (result == 0 && length > 0)
        result = quota_check_growth(core, to, offset + length);
    if (result == 0 && length > 0)
        result = write_begin(core);
    if (result == 0 && length > 0) {
        const struct store_copy range = {.from_ino = from->node.key,
                                         .from_size = from->stored.attr.size,
                                         .from_offset = from_offset,
                                         .ino = to->node.key,
                                         .size = to->stored.attr.size,
                                         .offset = offset,
                                         .n = length};
        result = write_end(core, copy(core, cred, to, &range));
    }
    if (result != 0)
        return result;
    if (length > 0)
        mark_read(core, from, from_file->flags);
    *ret_n = length;
    return 0;
}
