// SPDX-License-Identifier: Apache-2.0
// What an implementation of store.h provides. Included by implementations and by store.c alone. The
// operations are those of store.h with the same contracts, called with arguments and transaction state
// already checked.
#ifndef BERTH_STORE_IMPL_H
#define BERTH_STORE_IMPL_H

#include "fs/store/store.h"

struct store_ops {
    const char *name; // "sqlite", "model", "fault"
    void (*close)(struct store *store);
    int (*begin)(struct store *store);
    int (*commit)(struct store *store);
    void (*rollback)(struct store *store);
    int (*savepoint)(struct store *store);
    int (*savepoint_release)(struct store *store);
    void (*savepoint_rollback)(struct store *store);
    int (*inode_get)(struct store *store, fs_ino ino, struct store_inode *ret_inode);
    int (*inode_put)(struct store *store, const struct store_inode *inode);
    int (*inode_remove)(struct store *store, fs_ino ino);
    int (*reserve_inos)(struct store *store, uint32_t n, fs_ino *ret_first);
    int (*reserve_cookies)(struct store *store, uint32_t n, uint64_t *ret_first);
    int (*orphans)(struct store *store, fs_ino after, fs_ino *ret_inos, size_t max);
    int (*dentry_get)(struct store *store, fs_ino parent, struct fs_name name,
                      struct store_dentry *ret_dentry);
    int (*dentry_put)(struct store *store, fs_ino parent, struct fs_name name,
                      const struct store_dentry *dentry);
    int (*dentry_replace)(struct store *store, fs_ino parent, struct fs_name name, fs_ino ino, uint32_t type);
    int (*dentry_remove)(struct store *store, fs_ino parent, struct fs_name name);
    int (*dentry_list)(struct store *store, fs_ino parent, uint64_t after, bool inodes,
                       store_visit_dentry *visit, void *context);
    int (*dentry_any)(struct store *store, fs_ino parent, bool *ret_any);
    int (*dentry_parents)(struct store *store, fs_ino ino, fs_ino *ret_parents, size_t max);
    int (*data_read)(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, void *bytes, size_t n,
                     size_t *ret_n);
    int (*data_write)(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, const void *bytes,
                      size_t n);
    int (*data_resize)(struct store *store, fs_ino ino, uint64_t from, uint64_t to);
    int (*data_allocate)(struct store *store, fs_ino ino, uint64_t from, uint64_t to, uint64_t offset,
                         uint64_t n);
    int (*data_zero)(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, uint64_t n,
                     bool keep_room);
    int (*data_seek)(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, bool hole,
                     uint64_t *ret_offset);
    int (*data_copy)(struct store *store, const struct store_copy *copy);
    int (*xattr_get)(struct store *store, fs_ino ino, struct fs_name name, void *value, size_t size,
                     size_t *ret_n);
    int (*xattr_put)(struct store *store, fs_ino ino, struct fs_name name, const void *value, size_t n);
    int (*xattr_remove)(struct store *store, fs_ino ino, struct fs_name name);
    int (*xattr_list)(struct store *store, fs_ino ino, store_visit_xattr *visit, void *context);
    int (*session_put)(struct store *store, uint64_t id, uint32_t part, const void *bytes, size_t n);
    int (*session_remove)(struct store *store, uint64_t id);
    int (*session_list)(struct store *store, store_visit_session *visit, void *context);
    int (*sync_prepare)(struct store *store, fs_ino ino, struct store_sync **ret_sync);
    int (*sync_finish)(struct store *store, struct store_sync *sync);
    int (*usage)(struct store *store, struct store_usage *ret_usage);
    int (*quota_get)(struct store *store, fs_ino id, struct store_quota *ret_quota);
    int (*quota_put)(struct store *store, fs_ino id, uint64_t max_bytes, uint64_t max_inodes);
    int (*upkeep)(struct store *store, bool *ret_more);
};

enum store_state { STORE_IDLE, STORE_IN_TRANSACTION, STORE_IN_SAVEPOINT, STORE_COMMIT_FAILED };

// First member of every implementation's own struct.
struct store {
    const struct store_ops *ops;
    enum store_state state; // kept by store.c
};

// First member of every implementation's own sync job. `run` is on any thread; it sets `result`.
struct store_sync {
    void (*run)(struct store_sync *sync);
    int result;
};

#endif
