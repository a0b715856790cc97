// SPDX-License-Identifier: Apache-2.0
// The checking wrappers of store.h: the only callers of `struct store_ops`. Invariant: an engine is only ever
// called in a transaction state that allows the call, with inode numbers in range, names that an entry may
// have, and data ranges that do not overflow. A caller's broken promise is our own bug and asserts; what a
// peer can choose (names, offsets, inode numbers that are looked up) gets an error. Owner thread, but for
// store_sync_run().
#include "fs/base/check.h"
#include "fs/store/store_impl.h"
#include <errno.h>
#include <string.h>

#define RESERVE_MAX 65536u

static bool ino_possible(fs_ino ino)
{
    return ino >= 1 && ino <= INT64_MAX;
}

static void assert_readable(const struct store *store)
{
    fs_assert(store->state != STORE_COMMIT_FAILED);
}

static void assert_writable(const struct store *store)
{
    fs_assert(store->state == STORE_IN_TRANSACTION || store->state == STORE_IN_SAVEPOINT);
}

// --- life ---

void store_close(struct store *store)
{
    if (!store)
        return;
    fs_assert(store->state == STORE_IDLE);
    store->ops->close(store);
}

// --- transactions ---

int store_begin(struct store *store)
{
    fs_assert(store->state == STORE_IDLE);
    int result = store->ops->begin(store);
    if (result == 0)
        store->state = STORE_IN_TRANSACTION;
    return result;
}

int store_commit(struct store *store)
{
    fs_assert(store->state == STORE_IN_TRANSACTION);
    int result = store->ops->commit(store);
    store->state = result == 0 ? STORE_IDLE : STORE_COMMIT_FAILED;
    return result;
}

void store_rollback(struct store *store)
{
    fs_assert(store->state != STORE_IDLE);
    store->ops->rollback(store);
    store->state = STORE_IDLE;
}

int store_savepoint(struct store *store)
{
    fs_assert(store->state == STORE_IN_TRANSACTION);
    int result = store->ops->savepoint(store);
    if (result == 0)
        store->state = STORE_IN_SAVEPOINT;
    return result;
}

int store_savepoint_release(struct store *store)
{
    fs_assert(store->state == STORE_IN_SAVEPOINT);
    int result = store->ops->savepoint_release(store);
    if (result == 0)
        store->state = STORE_IN_TRANSACTION;
    return result;
}

void store_savepoint_rollback(struct store *store)
{
    fs_assert(store->state == STORE_IN_SAVEPOINT);
    store->ops->savepoint_rollback(store);
    store->state = STORE_IN_TRANSACTION;
}

bool store_in_transaction(const struct store *store)
{
    return store->state != STORE_IDLE;
}

// --- inodes ---

int store_inode_get(struct store *store, fs_ino ino, struct store_inode *ret_inode)
{
    assert_readable(store);
    if (!ino_possible(ino))
        return -ENOENT;
    return store->ops->inode_get(store, ino, ret_inode);
}

int store_inode_put(struct store *store, const struct store_inode *inode)
{
    assert_writable(store);
    fs_assert(ino_possible(inode->attr.ino));
    fs_assert(inode->parent <= INT64_MAX && inode->quota <= INT64_MAX);
    fs_assert(inode->attr.mode <= 0177777 && (inode->attr.mode & S_IFMT) != 0);
    fs_assert(inode->attr.size <= FS_FILE_SIZE_MAX);
    return store->ops->inode_put(store, inode);
}

int store_inode_remove(struct store *store, fs_ino ino)
{
    assert_writable(store);
    if (!ino_possible(ino))
        return -ENOENT;
    return store->ops->inode_remove(store, ino);
}

int store_reserve_inos(struct store *store, uint32_t n, fs_ino *ret_first)
{
    assert_readable(store);
    fs_assert(n >= 1 && n <= RESERVE_MAX);
    return store->ops->reserve_inos(store, n, ret_first);
}

int store_reserve_cookies(struct store *store, uint32_t n, uint64_t *ret_first)
{
    assert_readable(store);
    fs_assert(n >= 1 && n <= RESERVE_MAX);
    return store->ops->reserve_cookies(store, n, ret_first);
}

int store_orphans(struct store *store, fs_ino after, fs_ino *ret_inos, size_t max)
{
    assert_readable(store);
    if (max == 0 || after > INT64_MAX)
        return 0;
    return store->ops->orphans(store, after, ret_inos, MIN(max, (size_t)INT32_MAX));
}

// --- entries ---

int store_dentry_get(struct store *store, fs_ino parent, struct fs_name name, struct store_dentry *ret_dentry)
{
    assert_readable(store);
    int result = fs_name_check(name);
    if (result < 0)
        return result;
    if (!ino_possible(parent))
        return -ENOENT;
    return store->ops->dentry_get(store, parent, name, ret_dentry);
}

int store_dentry_put(struct store *store, fs_ino parent, struct fs_name name,
                     const struct store_dentry *dentry)
{
    assert_writable(store);
    fs_assert(ino_possible(parent) && ino_possible(dentry->ino));
    fs_assert((dentry->type & S_IFMT) == dentry->type && dentry->type != 0);
    fs_assert(dentry->cookie != 0 && dentry->cookie < UINT64_C(1) << 62);
    int result = fs_name_check(name);
    if (result < 0)
        return result;
    return store->ops->dentry_put(store, parent, name, dentry);
}

int store_dentry_replace(struct store *store, fs_ino parent, struct fs_name name, fs_ino ino, uint32_t type)
{
    assert_writable(store);
    fs_assert(ino_possible(parent) && ino_possible(ino));
    fs_assert((type & S_IFMT) == type && type != 0);
    int result = fs_name_check(name);
    if (result < 0)
        return result;
    return store->ops->dentry_replace(store, parent, name, ino, type);
}

int store_dentry_remove(struct store *store, fs_ino parent, struct fs_name name)
{
    assert_writable(store);
    int result = fs_name_check(name);
    if (result < 0)
        return result;
    if (!ino_possible(parent))
        return -ENOENT;
    return store->ops->dentry_remove(store, parent, name);
}

int store_dentry_list(struct store *store, fs_ino parent, uint64_t after, bool inodes,
                      store_visit_dentry *visit, void *context)
{
    assert_readable(store);
    if (!ino_possible(parent) || after >= UINT64_C(1) << 62)
        return 0;
    return store->ops->dentry_list(store, parent, after, inodes, visit, context);
}

int store_dentry_any(struct store *store, fs_ino parent, bool *ret_any)
{
    assert_readable(store);
    fs_assert(ino_possible(parent));
    return store->ops->dentry_any(store, parent, ret_any);
}

int store_dentry_parents(struct store *store, fs_ino ino, fs_ino *ret_parents, size_t max)
{
    assert_readable(store);
    if (max == 0 || !ino_possible(ino))
        return 0;
    return store->ops->dentry_parents(store, ino, ret_parents, MIN(max, (size_t)INT32_MAX));
}

// --- data ---

int store_data_read(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, void *bytes, size_t n,
                    size_t *ret_n)
{
    assert_readable(store);
    fs_assert(ino_possible(ino) && size <= FS_FILE_SIZE_MAX);
    size_t left = offset < size ? (size_t)MIN(size - offset, (uint64_t)n) : 0;
    if (left == 0) {
        *ret_n = 0;
        return 0;
    }
    return store->ops->data_read(store, ino, size, offset, bytes, left, ret_n);
}

int store_data_write(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, const void *bytes,
                     size_t n)
{
    assert_writable(store);
    fs_assert(ino_possible(ino) && size <= FS_FILE_SIZE_MAX);
    if (offset > FS_FILE_SIZE_MAX || n > FS_FILE_SIZE_MAX - offset)
        return -EFBIG;
    if (n == 0)
        return 0;
    return store->ops->data_write(store, ino, size, offset, bytes, n);
}

int store_data_resize(struct store *store, fs_ino ino, uint64_t from, uint64_t to)
{
    assert_writable(store);
    fs_assert(ino_possible(ino) && from <= FS_FILE_SIZE_MAX);
    if (to > FS_FILE_SIZE_MAX)
        return -EFBIG;
    if (from == to)
        return 0;
    return store->ops->data_resize(store, ino, from, to);
}

// --- extended attributes ---

static void assert_xattr_name(struct fs_name name)
{
    fs_assert(name.length >= 1 && name.length <= FS_XATTR_NAME_MAX);
}

int store_xattr_get(struct store *store, fs_ino ino, struct fs_name name, void *value, size_t size,
                    size_t *ret_n)
{
    assert_readable(store);
    assert_xattr_name(name);
    if (!ino_possible(ino))
        return -ENODATA;
    return store->ops->xattr_get(store, ino, name, value, size, ret_n);
}

int store_xattr_put(struct store *store, fs_ino ino, struct fs_name name, const void *value, size_t n)
{
    assert_writable(store);
    assert_xattr_name(name);
    fs_assert(ino_possible(ino) && n <= FS_XATTR_VALUE_MAX);
    return store->ops->xattr_put(store, ino, name, value, n);
}

int store_xattr_remove(struct store *store, fs_ino ino, struct fs_name name)
{
    assert_writable(store);
    assert_xattr_name(name);
    if (!ino_possible(ino))
        return -ENODATA;
    return store->ops->xattr_remove(store, ino, name);
}

int store_xattr_list(struct store *store, fs_ino ino, store_visit_xattr *visit, void *context)
{
    assert_readable(store);
    if (!ino_possible(ino))
        return 0;
    return store->ops->xattr_list(store, ino, visit, context);
}

// --- sessions ---

int store_session_put(struct store *store, uint64_t id, uint32_t part, const void *bytes, size_t n)
{
    assert_writable(store);
    fs_assert(ino_possible(id) && part < STORE_SESSION_PARTS && n > 0 && n <= STORE_SESSION_PART_MAX);
    return store->ops->session_put(store, id, part, bytes, n);
}

int store_session_remove(struct store *store, uint64_t id)
{
    assert_writable(store);
    return ino_possible(id) ? store->ops->session_remove(store, id) : -ENOENT;
}

int store_session_list(struct store *store, store_visit_session *visit, void *context)
{
    assert_readable(store);
    return store->ops->session_list(store, visit, context);
}

static bool range_possible(uint64_t offset, uint64_t n)
{
    return offset <= FS_FILE_SIZE_MAX && n <= FS_FILE_SIZE_MAX - offset;
}

int store_data_allocate(struct store *store, fs_ino ino, uint64_t from, uint64_t to, uint64_t offset,
                        uint64_t n)
{
    assert_writable(store);
    fs_assert(ino_possible(ino) && from <= FS_FILE_SIZE_MAX);
    if (!range_possible(offset, n))
        return -EFBIG;
    fs_assert(to == from || (to > from && to == offset + n));
    if (n == 0)
        return 0;
    return store->ops->data_allocate(store, ino, from, to, offset, n);
}

int store_data_zero(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, uint64_t n,
                    bool keep_room)
{
    assert_writable(store);
    fs_assert(ino_possible(ino) && size <= FS_FILE_SIZE_MAX);
    uint64_t left = offset < size ? MIN(size - offset, n) : 0;
    if (left == 0)
        return 0;
    return store->ops->data_zero(store, ino, size, offset, left, keep_room);
}

int store_data_seek(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, bool hole,
                    uint64_t *ret_offset)
{
    assert_readable(store);
    fs_assert(ino_possible(ino) && size <= FS_FILE_SIZE_MAX);
    if (offset >= size)
        return -ENXIO;
    return store->ops->data_seek(store, ino, size, offset, hole, ret_offset);
}

int store_data_copy(struct store *store, const struct store_copy *copy)
{
    assert_writable(store);
    fs_assert(ino_possible(copy->from_ino) && ino_possible(copy->ino));
    fs_assert(copy->size <= FS_FILE_SIZE_MAX && copy->from_size <= FS_FILE_SIZE_MAX);
    if (!range_possible(copy->offset, copy->n))
        return -EFBIG;
    fs_assert(copy->from_offset <= copy->from_size && copy->n <= copy->from_size - copy->from_offset);
    fs_assert(copy->ino != copy->from_ino || copy->from_offset + copy->n <= copy->offset ||
              copy->offset + copy->n <= copy->from_offset);
    if (copy->n == 0)
        return 0;
    return store->ops->data_copy(store, copy);
}

// --- durability ---

int store_sync_prepare(struct store *store, fs_ino ino, struct store_sync **ret_sync)
{
    fs_assert(ino <= INT64_MAX);
    return store->ops->sync_prepare(store, ino, ret_sync);
}

void store_sync_run(struct store_sync *sync)
{
    sync->run(sync);
}

int store_sync_finish(struct store *store, struct store_sync *sync)
{
    return store->ops->sync_finish(store, sync);
}

int store_sync(struct store *store, fs_ino ino)
{
    struct store_sync *sync;
    int result = store_sync_prepare(store, ino, &sync);
    if (result < 0)
        return result;
    store_sync_run(sync);
    return store_sync_finish(store, sync);
}

// --- space and upkeep ---

int store_usage(struct store *store, struct store_usage *ret_usage)
{
    assert_readable(store);
    return store->ops->usage(store, ret_usage);
}

int store_quota_get(struct store *store, fs_ino id, struct store_quota *ret_quota)
{
    assert_readable(store);
    fs_assert(id <= INT64_MAX);
    return store->ops->quota_get(store, id, ret_quota);
}

int store_quota_put(struct store *store, fs_ino id, uint64_t max_bytes, uint64_t max_inodes)
{
    assert_writable(store);
    fs_assert(id <= INT64_MAX && max_bytes <= INT64_MAX && max_inodes <= INT64_MAX);
    return store->ops->quota_put(store, id, max_bytes, max_inodes);
}

int store_upkeep(struct store *store, bool *ret_more)
{
    fs_assert(store->state == STORE_IDLE);
    return store->ops->upkeep(store, ret_more);
}
