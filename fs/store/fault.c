// SPDX-License-Identifier: Apache-2.0
// A store around another that makes one chosen call fail. Every operation asks due() first and otherwise
// calls the inner store through the checking wrappers, so the inner store's transaction state stays in step
// with this one's. Operations that cannot fail (rollbacks, close) are passed on. Owner thread; sync jobs are
// the inner store's own.
#include "fs/base/check.h"
#include "fs/store/store_fault.h"
#include "fs/store/store_impl.h"
#include <errno.h>
#include <string.h>

struct fault {
    struct store store; // first
    struct store *inner;
    char operation[32];
    unsigned countdown; // 0: disarmed
    int error;
};

static struct fault *fault_of(struct store *store)
{
    return (struct fault *)store;
}

static struct store *inner_of(struct store *store)
{
    return fault_of(store)->inner;
}

// The error that this call shall answer, or 0.
static int due(struct store *store, const char *operation, bool writes)
{
    struct fault *fault = fault_of(store);
    bool meant = strcmp(fault->operation, operation) == 0 || (writes && strcmp(fault->operation, "*") == 0);
    if (fault->countdown == 0 || !meant || --fault->countdown > 0)
        return 0;
    return fault->error;
}

static void fault_close(struct store *store)
{
    store_close(inner_of(store));
    free(fault_of(store));
}

static int fault_begin(struct store *store)
{
    int error = due(store, "begin", false);
    return error ? error : store_begin(inner_of(store));
}

static int fault_commit(struct store *store)
{
    int error = due(store, "commit", true);
    return error ? error : store_commit(inner_of(store));
}

static void fault_rollback(struct store *store)
{
    store_rollback(inner_of(store));
}

static int fault_savepoint(struct store *store)
{
    int error = due(store, "savepoint", false);
    return error ? error : store_savepoint(inner_of(store));
}

static int fault_savepoint_release(struct store *store)
{
    int error = due(store, "savepoint_release", false);
    return error ? error : store_savepoint_release(inner_of(store));
}

static void fault_savepoint_rollback(struct store *store)
{
    store_savepoint_rollback(inner_of(store));
}

static int fault_inode_get(struct store *store, fs_ino ino, struct store_inode *ret_inode)
{
    int error = due(store, "inode_get", false);
    return error ? error : store_inode_get(inner_of(store), ino, ret_inode);
}

static int fault_inode_put(struct store *store, const struct store_inode *inode)
{
    int error = due(store, "inode_put", true);
    return error ? error : store_inode_put(inner_of(store), inode);
}

static int fault_inode_remove(struct store *store, fs_ino ino)
{
    int error = due(store, "inode_remove", true);
    return error ? error : store_inode_remove(inner_of(store), ino);
}

static int fault_reserve_inos(struct store *store, uint32_t n, fs_ino *ret_first)
{
    int error = due(store, "reserve_inos", false);
    return error ? error : store_reserve_inos(inner_of(store), n, ret_first);
}

static int fault_reserve_cookies(struct store *store, uint32_t n, uint64_t *ret_first)
{
    int error = due(store, "reserve_cookies", false);
    return error ? error : store_reserve_cookies(inner_of(store), n, ret_first);
}

static int fault_orphans(struct store *store, fs_ino after, fs_ino *ret_inos, size_t max)
{
    int error = due(store, "orphans", false);
    return error ? error : store_orphans(inner_of(store), after, ret_inos, max);
}

static int fault_dentry_get(struct store *store, fs_ino parent, struct fs_name name,
                            struct store_dentry *ret_dentry)
{
    int error = due(store, "dentry_get", false);
    return error ? error : store_dentry_get(inner_of(store), parent, name, ret_dentry);
}

static int fault_dentry_put(struct store *store, fs_ino parent, struct fs_name name,
                            const struct store_dentry *dentry)
{
    int error = due(store, "dentry_put", true);
    return error ? error : store_dentry_put(inner_of(store), parent, name, dentry);
}

static int fault_dentry_replace(struct store *store, fs_ino parent, struct fs_name name, fs_ino ino,
                                uint32_t type)
{
    int error = due(store, "dentry_replace", true);
    return error ? error : store_dentry_replace(inner_of(store), parent, name, ino, type);
}

static int fault_dentry_remove(struct store *store, fs_ino parent, struct fs_name name)
{
    int error = due(store, "dentry_remove", true);
    return error ? error : store_dentry_remove(inner_of(store), parent, name);
}

static int fault_dentry_list(struct store *store, fs_ino parent, uint64_t after, bool inodes,
                             store_visit_dentry *visit, void *context)
{
    int error = due(store, "dentry_list", false);
    return error ? error : store_dentry_list(inner_of(store), parent, after, inodes, visit, context);
}

static int fault_dentry_any(struct store *store, fs_ino parent, bool *ret_any)
{
    int error = due(store, "dentry_any", false);
    return error ? error : store_dentry_any(inner_of(store), parent, ret_any);
}

static int fault_dentry_parents(struct store *store, fs_ino ino, fs_ino *ret_parents, size_t max)
{
    int error = due(store, "dentry_parents", false);
    return error ? error : store_dentry_parents(inner_of(store), ino, ret_parents, max);
}

static int fault_data_read(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, void *bytes,
                           size_t n, size_t *ret_n)
{
    int error = due(store, "data_read", false);
    return error ? error : store_data_read(inner_of(store), ino, size, offset, bytes, n, ret_n);
}

static int fault_data_write(struct store *store, fs_ino ino, uint64_t size, uint64_t offset,
                            const void *bytes, size_t n)
{
    int error = due(store, "data_write", true);
    return error ? error : store_data_write(inner_of(store), ino, size, offset, bytes, n);
}

static int fault_data_resize(struct store *store, fs_ino ino, uint64_t from, uint64_t to)
{
    int error = due(store, "data_resize", true);
    return error ? error : store_data_resize(inner_of(store), ino, from, to);
}

static int fault_xattr_get(struct store *store, fs_ino ino, struct fs_name name, void *value, size_t size,
                           size_t *ret_n)
{
    int error = due(store, "xattr_get", false);
    return error ? error : store_xattr_get(inner_of(store), ino, name, value, size, ret_n);
}

static int fault_xattr_put(struct store *store, fs_ino ino, struct fs_name name, const void *value, size_t n)
{
    int error = due(store, "xattr_put", true);
    return error ? error : store_xattr_put(inner_of(store), ino, name, value, n);
}

static int fault_xattr_remove(struct store *store, fs_ino ino, struct fs_name name)
{
    int error = due(store, "xattr_remove", true);
    return error ? error : store_xattr_remove(inner_of(store), ino, name);
}

static int fault_xattr_list(struct store *store, fs_ino ino, store_visit_xattr *visit, void *context)
{
    int error = due(store, "xattr_list", false);
    return error ? error : store_xattr_list(inner_of(store), ino, visit, context);
}

static int fault_session_put(struct store *store, uint64_t id, uint32_t part, const void *bytes, size_t n)
{
    int error = due(store, "session_put", true);
    return error ? error : store_session_put(inner_of(store), id, part, bytes, n);
}

static int fault_session_remove(struct store *store, uint64_t id)
{
    int error = due(store, "session_remove", true);
    return error ? error : store_session_remove(inner_of(store), id);
}

static int fault_session_list(struct store *store, store_visit_session *visit, void *context)
{
    int error = due(store, "session_list", false);
    return error ? error : store_session_list(inner_of(store), visit, context);
}

static int fault_data_allocate(struct store *store, fs_ino ino, uint64_t from, uint64_t to, uint64_t offset,
                               uint64_t n)
{
    int error = due(store, "data_allocate", true);
    return error ? error : store_data_allocate(inner_of(store), ino, from, to, offset, n);
}

static int fault_data_zero(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, uint64_t n,
                           bool keep_room)
{
    int error = due(store, "data_zero", true);
    return error ? error : store_data_zero(inner_of(store), ino, size, offset, n, keep_room);
}

static int fault_data_seek(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, bool hole,
                           uint64_t *ret_offset)
{
    int error = due(store, "data_seek", false);
    return error ? error : store_data_seek(inner_of(store), ino, size, offset, hole, ret_offset);
}

static int fault_data_copy(struct store *store, const struct store_copy *copy)
{
    int error = due(store, "data_copy", true);
    return error ? error : store_data_copy(inner_of(store), copy);
}

static int fault_sync_prepare(struct store *store, fs_ino ino, struct store_sync **ret_sync)
{
    int error = due(store, "sync_prepare", false);
    return error ? error : store_sync_prepare(inner_of(store), ino, ret_sync);
}

// The inner store frees the job in any case.
static int fault_sync_finish(struct store *store, struct store_sync *sync)
{
    int error = due(store, "sync_finish", false);
    int result = store_sync_finish(inner_of(store), sync);
    return error ? error : result;
}

static int fault_usage(struct store *store, struct store_usage *ret_usage)
{
    int error = due(store, "usage", false);
    return error ? error : store_usage(inner_of(store), ret_usage);
}

static int fault_quota_get(struct store *store, fs_ino id, struct store_quota *ret_quota)
{
    int error = due(store, "quota_get", false);
    return error ? error : store_quota_get(inner_of(store), id, ret_quota);
}

static int fault_quota_put(struct store *store, fs_ino id, uint64_t max_bytes, uint64_t max_inodes)
{
    int error = due(store, "quota_put", true);
    return error ? error : store_quota_put(inner_of(store), id, max_bytes, max_inodes);
}

static int fault_upkeep(struct store *store, bool *ret_more)
{
    int error = due(store, "upkeep", false);
    return error ? error : store_upkeep(inner_of(store), ret_more);
}

static const struct store_ops fault_ops = {
    .name = "fault",
    .close = fault_close,
    .begin = fault_begin,
    .commit = fault_commit,
    .rollback = fault_rollback,
    .savepoint = fault_savepoint,
    .savepoint_release = fault_savepoint_release,
    .savepoint_rollback = fault_savepoint_rollback,
    .inode_get = fault_inode_get,
    .inode_put = fault_inode_put,
    .inode_remove = fault_inode_remove,
    .reserve_inos = fault_reserve_inos,
    .reserve_cookies = fault_reserve_cookies,
    .orphans = fault_orphans,
    .dentry_get = fault_dentry_get,
    .dentry_put = fault_dentry_put,
    .dentry_replace = fault_dentry_replace,
    .dentry_remove = fault_dentry_remove,
    .dentry_list = fault_dentry_list,
    .dentry_any = fault_dentry_any,
    .dentry_parents = fault_dentry_parents,
    .data_read = fault_data_read,
    .data_write = fault_data_write,
    .data_resize = fault_data_resize,
    .data_allocate = fault_data_allocate,
    .data_zero = fault_data_zero,
    .data_seek = fault_data_seek,
    .data_copy = fault_data_copy,
    .xattr_get = fault_xattr_get,
    .xattr_put = fault_xattr_put,
    .xattr_remove = fault_xattr_remove,
    .xattr_list = fault_xattr_list,
    .session_put = fault_session_put,
    .session_remove = fault_session_remove,
    .session_list = fault_session_list,
    .sync_prepare = fault_sync_prepare,
    .sync_finish = fault_sync_finish,
    .usage = fault_usage,
    .quota_get = fault_quota_get,
    .quota_put = fault_quota_put,
    .upkeep = fault_upkeep,
};

int store_fault_open(struct store *inner, struct store **ret_store)
{
    struct fault *fault = calloc(1, sizeof(*fault));
    if (!fault)
        return -ENOMEM;
    fault->store.ops = &fault_ops;
    fault->inner = inner;
    *ret_store = &fault->store;
    return 0;
}

void store_fault_arm(struct store *store, const char *operation, unsigned n, int error)
{
    fs_assert(store->ops == &fault_ops);
    fs_assert(strlen(operation) < sizeof(fault_of(store)->operation) && error < 0);
    struct fault *fault = fault_of(store);
    memcpy(fault->operation, operation, strlen(operation) + 1);
    fault->countdown = n;
    fault->error = error;
}
