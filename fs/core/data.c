// SPDX-License-Identifier: Apache-2.0
// File contents: read, write, append, sync. Owner thread; inside a turn, but for the sync calls.
#include "fs/core/core_impl.h"
#include "fs/core/permission.h"
#include <errno.h>

#define COUNTED_MAX 131072u // bytes

void core_set_quiet(struct core *core, bool quiet)
{
    core->quiet = quiet;
}

bool core_reading_tells(const struct core *core, const struct fs_attr *attr, uint32_t open_flags,
                        uint32_t in_seconds)
{
    if (core->quiet || (open_flags & FS_OPEN_NOATIME))
        return false;
    return fs_reading_tells(attr->atime, attr->mtime, attr->ctime, core_now(core).sec + in_seconds);
}

// Whatever prevents it (a full disk) does not make the read fail.
void mark_read(struct core *core, struct inode *inode, uint32_t open_flags)
{
    if (!core_reading_tells(core, &inode->stored.attr, open_flags, 0))
        return;
    struct store_inode stored = inode->stored;
    stored.attr.atime = core_now(core);
    if (write_begin(core) == 0)
        (void)write_end(core, inode_put(core, inode, &stored));
}

int file_inode(struct core *core, const struct core_file *file, struct inode **ret_inode)
{
    int result = inode_get(core, file->inode->node.key, ret_inode);
    return result == -ENOENT ? -ESTALE : result;
}

static int read_file(struct core *core, const struct core_file *file, uint64_t offset, void *bytes, size_t n,
                     size_t *ret_n, struct inode **ret_inode)
{
    struct inode *inode;
    int result = file_inode(core, file, &inode);
    if (result != 0)
        return result;
    if (S_ISDIR(inode->stored.attr.mode))
        return -EISDIR;
    if (!(file->flags & (FS_OPEN_READ | FS_OPEN_EXEC)))
        return -EBADF;
    if (offset > FS_FILE_SIZE_MAX)
        return -EINVAL;
    *ret_inode = inode;
    return store_data_read(core->store, inode->node.key, inode->stored.attr.size, offset, bytes, n, ret_n);
}

int core_read(struct core *core, const struct core_file *file, uint64_t offset, void *bytes, size_t n,
              size_t *ret_n)
{
    struct inode *inode;
    int result = read_file(core, file, offset, bytes, n, ret_n, &inode);
    if (result == 0)
        mark_read(core, inode, file->flags);
    return result;
}

int core_peek(struct core *core, const struct core_file *file, uint64_t offset, void *bytes, size_t n,
              size_t *ret_n)
{
    struct inode *inode;
    return read_file(core, file, offset, bytes, n, ret_n, &inode);
}

void core_mark_read(struct core *core, fs_ino ino, uint32_t open_flags)
{
    struct inode *inode;
    if (inode_get(core, ino, &inode) == 0)
        mark_read(core, inode, open_flags);
}

int contents_changed(struct core *core, const struct fs_cred *cred, struct store_inode *stored,
                     struct fs_time now)
{
    stored->attr.mode = (stored->attr.mode & S_IFMT) | permission_mode_after_write(cred, &stored->attr);
    stored_touch(stored, now, true);
    return inode_kill_capability(core, stored);
}

static int write_at(struct core *core, const struct fs_cred *cred, struct inode *inode, uint64_t offset,
                    const void *bytes, size_t n)
{
    struct store_inode stored = inode->stored;
    int result = changes_data(core, stored.attr.ino);
    if (result == 0)
        result = store_data_write(core->store, stored.attr.ino, stored.attr.size, offset, bytes, n);
    if (result != 0)
        return result;
    if (offset + n > stored.attr.size)
        stored.attr.size = offset + n;
    inode->blocks_stale = true;
    result = contents_changed(core, cred, &stored, core_now(core));
    return result != 0 ? result : inode_put(core, inode, &stored);
}

static int check_write(const struct core_file *file, const struct inode *inode, uint64_t offset, size_t n)
{
    if (!S_ISREG(inode->stored.attr.mode))
        return -EISDIR;
    if (!(file->flags & FS_OPEN_WRITE))
        return -EBADF;
    if (offset > FS_FILE_SIZE_MAX || n > FS_FILE_SIZE_MAX - offset)
        return -EFBIG;
    return 0;
}

// Counting blocks costs a read of the store. Who has written a small file will look at it; who writes a large
// one will write more.
static void tell_written(struct core *core, struct inode *inode, struct fs_attr *ret_attr)
{
    bool counts = inode->stored.attr.size <= COUNTED_MAX || !inode->blocks_stale;
    if (counts && inode_attr(core, inode, ret_attr) == 0)
        return;
    *ret_attr = inode->stored.attr;
    ret_attr->blocks = FS_BLOCKS_UNKNOWN;
}

static int write_file(struct core *core, const struct fs_cred *cred, struct inode *inode, uint64_t offset,
                      const void *bytes, size_t n, struct fs_attr *ret_attr)
{
    int result = n > 0 ? quota_check_growth(core, inode, offset + n) : 0;
    if (result == 0 && n > 0)
        result = write_begin(core);
    if (result == 0 && n > 0)
        result = write_end(core, write_at(core, cred, inode, offset, bytes, n));
    if (result == 0)
        tell_written(core, inode, ret_attr);
    return result;
}

int core_write(struct core *core, const struct fs_cred *cred, const struct core_file *file, uint64_t offset,
               const void *bytes, size_t n, struct fs_attr *ret_attr)
{
    struct inode *inode;
    int result = file_inode(core, file, &inode);
    if (result == 0)
        result = check_write(file, inode, offset, n);
    return result != 0 ? result : write_file(core, cred, inode, offset, bytes, n, ret_attr);
}

int core_append(struct core *core, const struct fs_cred *cred, const struct core_file *file,
                const void *bytes, size_t n, uint64_t *ret_offset, struct fs_attr *ret_attr)
{
    struct inode *inode;
    int result = file_inode(core, file, &inode);
    if (result != 0)
        return result;
    uint64_t offset = inode->stored.attr.size;
    result = check_write(file, inode, offset, n);
    if (result == 0)
        result = write_file(core, cred, inode, offset, bytes, n, ret_attr);
    if (result == 0)
        *ret_offset = offset;
    return result;
}

int core_sync_prepare(struct core *core, fs_ino ino, struct store_sync **ret_sync)
{
    return store_sync_prepare(core->store, ino, ret_sync);
}

int core_sync_finish(struct core *core, struct store_sync *sync)
{
    return store_sync_finish(core->store, sync);
}
