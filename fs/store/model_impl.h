// SPDX-License-Identifier: Apache-2.0
// What the files of the in-memory model share. Everything hangs off one node per inode number, in an array
// sorted by number; a node holds the inode if there is one, the entries below it sorted by cookie, its
// attributes sorted by name, and its data as pages sorted by index.
//
// Invariant: bytes at or past the size are absent or zero. Every change first pushes what it replaces onto
// one undo log; rolling back plays the log backwards, to its start or to the savepoint. Overwrites are undone
// too (the contract allows either). Included by fs/store/model*.c alone; owner thread only.
#ifndef BERTH_STORE_MODEL_IMPL_H
#define BERTH_STORE_MODEL_IMPL_H

#include "fs/store/store_impl.h"

#define PAGE_SIZE        4096u
#define FIRST_INO        (FS_ROOT_INO + 1)
#define FIRST_COOKIE     16u
#define MODEL_SPACE_SIZE (UINT64_C(1) << 40) // what a model claims to have room for

struct model_entry {
    char *name; // owned
    size_t name_length;
    struct store_dentry dentry;
};

struct model_page {
    uint64_t index;
    uint8_t *bytes; // owned, PAGE_SIZE
};

struct model_xattr {
    char name[FS_XATTR_NAME_MAX];
    size_t name_length;
    uint8_t *value; // owned; NULL: not there
    size_t n;
};

struct model_node {
    fs_ino ino;
    bool has_inode;
    struct store_inode inode;
    struct model_entry *entries; // ascending by cookie
    size_t n_entries, entries_capacity;
    struct model_page *pages; // ascending by index
    size_t n_pages, pages_capacity;
    struct model_xattr *xattrs; // ascending by the name's bytes
    size_t n_xattrs, xattrs_capacity;
};

// A part of a session.
struct model_part {
    uint64_t id;
    uint32_t part;
    uint8_t *bytes; // owned; NULL: not there
    size_t n;
};

struct model_quota {
    fs_ino id;
    uint64_t max_bytes, max_inodes;
};

enum undo_kind { UNDO_INODE, UNDO_ENTRY, UNDO_PAGE, UNDO_XATTR, UNDO_PART, UNDO_QUOTA };

// What stood there before: `was_there` false says nothing did.
struct undo {
    enum undo_kind kind;
    struct model_node *node;
    bool was_there;
    struct store_inode inode;
    struct model_entry entry; // the name is set, and owned, in either case
    struct model_page page;   // bytes are owned, NULL when nothing was there
    struct model_xattr xattr; // the value is owned
    struct model_part part;   // bytes are owned
    struct model_quota quota;
};

struct model {
    struct store store; // first
    struct model_node **nodes;
    size_t n_nodes, nodes_capacity;
    struct model_part *parts; // ascending by id, then part
    size_t n_parts, parts_capacity;
    struct model_quota *quotas; // in no order; once there, always there
    size_t n_quotas, quotas_capacity;
    struct undo *undo;
    size_t n_undo, undo_capacity;
    size_t savepoint; // length of the undo log when it was set
    fs_ino next_ino;
    uint64_t next_cookie;
};

struct model *model_of(struct store *store);
int model_array_room(void *pointer_to_array, size_t *capacity, size_t count, size_t element_size);
struct model_node *model_node_get(const struct model *model, fs_ino ino);
struct model_node *model_node_make(struct model *model, fs_ino ino);
void model_node_free(struct model_node *node);
struct model_entry *model_entry_find(const struct model_node *node, struct fs_name name);
void model_entry_insert(struct model_node *node, char *name, size_t name_length,
                        const struct store_dentry *dentry);
void model_entry_delete(struct model_node *node, struct model_entry *entry);
size_t model_page_position(const struct model_node *node, uint64_t index);
struct model_page *model_page_find(const struct model_node *node, uint64_t index);
void model_page_insert(struct model_node *node, struct model_page page);
void model_page_delete(struct model_node *node, struct model_page *page);
struct fs_name model_xattr_name(const struct model_xattr *xattr);
struct model_xattr *model_xattr_find(const struct model_node *node, struct fs_name name);
void model_xattr_swap(struct model_node *node, const struct model_xattr *fresh, struct model_xattr *ret_old);
size_t model_part_position(const struct model *model, uint64_t id, uint32_t part);
void model_part_swap(struct model *model, const struct model_part *fresh, struct model_part *ret_old);
struct model_quota *model_quota_find(const struct model *model, fs_ino id);
struct undo *model_undo_push(struct model *model, enum undo_kind kind, struct model_node *node);
int model_undo_push_inode(struct model *model, struct model_node *node);
int model_undo_push_entry(struct model *model, struct model_node *node, struct fs_name name);
int model_undo_push_page(struct model *model, struct model_node *node, uint64_t index);
void model_undo_down_to(struct model *model, size_t length);
void model_undo_forget(struct model *model);
int model_inode_get(struct store *store, fs_ino ino, struct store_inode *ret_inode);
int model_inode_put(struct store *store, const struct store_inode *inode);
int model_drop_page(struct model *model, struct model_node *node, struct model_page *page);
int model_xattr_set(struct model *model, struct model_node *node, struct fs_name name, uint8_t *value,
                    size_t n);
int model_inode_remove(struct store *store, fs_ino ino);
int model_reserve_inos(struct store *store, uint32_t n, fs_ino *ret_first);
int model_reserve_cookies(struct store *store, uint32_t n, uint64_t *ret_first);
int model_orphans(struct store *store, fs_ino after, fs_ino *ret_inos, size_t max);
int model_dentry_get(struct store *store, fs_ino parent, struct fs_name name,
                     struct store_dentry *ret_dentry);
int model_dentry_put(struct store *store, fs_ino parent, struct fs_name name,
                     const struct store_dentry *dentry);
int model_dentry_replace(struct store *store, fs_ino parent, struct fs_name name, fs_ino ino, uint32_t type);
int model_dentry_remove(struct store *store, fs_ino parent, struct fs_name name);
int model_dentry_list(struct store *store, fs_ino parent, uint64_t after, bool inodes,
                      store_visit_dentry *visit, void *context);
int model_dentry_any(struct store *store, fs_ino parent, bool *ret_any);
int model_dentry_parents(struct store *store, fs_ino ino, fs_ino *ret_parents, size_t max);
int model_data_read(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, void *bytes, size_t n,
                    size_t *ret_n);
int model_data_write(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, const void *bytes,
                     size_t n);
int model_data_resize(struct store *store, fs_ino ino, uint64_t from, uint64_t to);
int model_data_allocate(struct store *store, fs_ino ino, uint64_t from, uint64_t to, uint64_t offset,
                        uint64_t n);
int model_data_zero(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, uint64_t n,
                    bool keep_room);
int model_data_seek(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, bool hole,
                    uint64_t *ret_offset);
int model_data_copy(struct store *store, const struct store_copy *copy);
int model_xattr_get(struct store *store, fs_ino ino, struct fs_name name, void *value, size_t size,
                    size_t *ret_n);
int model_xattr_put(struct store *store, fs_ino ino, struct fs_name name, const void *value, size_t n);
int model_xattr_remove(struct store *store, fs_ino ino, struct fs_name name);
int model_xattr_list(struct store *store, fs_ino ino, store_visit_xattr *visit, void *context);
int model_session_put(struct store *store, uint64_t id, uint32_t part, const void *bytes, size_t n);
int model_session_remove(struct store *store, uint64_t id);
int model_session_list(struct store *store, store_visit_session *visit, void *context);
int model_quota_get(struct store *store, fs_ino id, struct store_quota *ret_quota);
int model_quota_put(struct store *store, fs_ino id, uint64_t max_bytes, uint64_t max_inodes);

#endif
