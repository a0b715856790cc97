// SPDX-License-Identifier: Apache-2.0
// What the files of core share: the core itself, its inode cache, and how an operation writes. Included by
// fs/core/*.c alone; one owner thread.
//
// The cache is write-through: a loaded entry equals what the store would answer inside the open transaction.
// Invariants:
//   1. An entry with opens stays, whether or not its inode still has a name.
//   2. An entry that an operation changed is marked; when the operation or the turn is undone, the mark makes
//   it unloaded
//      and the next look reads it from the store again.
//   3. Outside of a turn no entry is marked.
#ifndef BERTH_CORE_IMPL_H
#define BERTH_CORE_IMPL_H

#include "fs/base/list.h"
#include "fs/base/table.h"
#include "fs/core/changes.h"
#include "fs/core/core.h"

#define CORE_CACHE_MAX     65536u  // inodes kept without opens: some 20 MiB
#define CORE_NUMBERS_BLOCK 1024u   // inode numbers and cookies taken from the store at a time
#define CORE_DEPTH_MAX     100000u // directories walked upwards before the tree is called damaged

// store_inode.flags
#define INODE_XATTRS      STORE_XATTRS // may have extended attributes
#define INODE_CAPABILITY  (1u << 9)    // one of them is security.capability
#define INODE_ACL         (1u << 10)   // … the access list
#define INODE_ACL_DEFAULT (1u << 11)   // … the default list, of a directory
#define INODE_LINKABLE    (1u << 0)    // made without a name (O_TMPFILE), and may still get its first

#define XATTR_ACL         "system.posix_acl_access"
#define XATTR_ACL_DEFAULT "system.posix_acl_default"

struct inode {
    struct table_node node; // in core->inodes, key: inode number
    struct list lru;        // in core->lru while it has no opens
    struct list changed;    // in core->changed while the turn has changed it
    bool loaded;            // `stored` is what the store has
    bool blocks_stale;      // data changed since attr.blocks was read
    struct store_inode stored;
    struct acl *acl; // owned; the access list, when it has been asked for since the inode was loaded or put
    size_t n_opens;
    uint64_t place_epoch; // when `place_under` was found, in core->rename_epoch's count; 0: never
    fs_ino place_root;
    bool place_under;
};

struct core_file {
    struct list turn;    // in core->opened while the turn that made it has not committed
    struct inode *inode; // counted in n_opens
    uint32_t flags;      // FS_OPEN_*
};

struct numbers {
    uint64_t next, end; // what is left of a reserved block
};

struct core {
    struct store *store; // not owned
    const struct env *env;
    struct table inodes;
    struct list lru; // least recently used first
    size_t n_lru;
    struct list changed; // of struct inode
    struct list opened;  // of struct core_file
    struct table reap;   // of struct orphan: orphans that nobody has open
    struct numbers inos, cookies;
    uint64_t rename_epoch;     // counts moves of directories, from 1
    fs_ino orphan_cursor;      // core_reap_orphans() has come this far
    struct store_quota limits; // of the whole file system, when known
    bool limits_known;
    bool in_turn;
    bool quiet; // see core_set_quiet()
    int doomed; // why the turn must not be kept, or 0
    bool orphans_held;
    core_ask *ask;
    void *ask_context;
    struct changes changes; // of the operation that is writing
};

struct orphan {
    struct table_node node; // key: inode number
    bool removed;           // by this turn, which has not committed
};

// --- inodes ---

// The inode's cache entry, loaded. -ENOENT. Valid until the operation ends.
int inode_get(struct core *core, fs_ino ino, struct inode **ret_inode);
int inode_get_directory(struct core *core, fs_ino ino, struct inode **ret_inode); // -ENOTDIR
// Writes through. The entry is changed only when the store took it.
int inode_put(struct core *core, struct inode *inode, const struct store_inode *stored);
// A new inode; its entry comes back loaded.
int inode_add(struct core *core, const struct store_inode *stored, struct inode **ret_inode);
int inode_remove(struct core *core, struct inode *inode); // from the store; the entry is unloaded
void inode_pin(struct core *core, struct inode *inode);   // an open
void inode_unpin(struct core *core, struct inode *inode);
void inode_trim(struct core *core); // between operations: back below CORE_CACHE_MAX
void inode_forget_changes(struct core *core, bool undone);
int inode_attr(struct core *core, struct inode *inode, struct fs_attr *ret_attr); // with fresh blocks

// --- operations that write: begin, write, end ---

// Opens the turn's transaction at the first write and a savepoint for this operation.
int write_begin(struct core *core);
// Keeps what was done for result 0, else undoes it; returns the operation's result.
int write_end(struct core *core, int result);
// The same, and gives the inode's attributes. They are read before the end: an operation that cannot tell
// them is undone.
int write_end_attr(struct core *core, int result, struct inode *inode, struct fs_attr *ret_attr);

int numbers_ino(struct core *core, fs_ino *ret_ino);
int numbers_cookie(struct core *core, uint64_t *ret_cookie);

// --- quotas (quota.c) ---

// May `bytes` and `inodes` more be charged to quota `id` (0: none) and to the file system? -EDQUOT, -ENOSPC.
int quota_check(struct core *core, fs_ino id, uint64_t bytes, uint64_t inodes);
int quota_check_growth(struct core *core, const struct inode *inode,
                       uint64_t size);                                   // to `size`; shrinking: 0
int quota_check_link(const struct inode *inode, const struct inode *to); // into directory `to`: -EXDEV
int quota_check_move(const struct inode *inode, const struct inode *from, const struct inode *to);

// --- shared steps ---

struct fs_time core_now(const struct core *core);
void stored_touch(struct store_inode *stored, struct fs_time now, bool mtime); // ctime, and mtime
// The entry and its inode. -ENOENT.
int entry_get(struct core *core, fs_ino parent, struct fs_name name, struct store_dentry *ret_dentry,
              struct inode **ret_inode);
// Writing entries.
int entry_put(struct core *core, fs_ino parent, struct fs_name name, fs_ino ino, uint32_t type);
int entry_replace(struct core *core, fs_ino parent, struct fs_name name, fs_ino ino, uint32_t type);
int entry_remove(struct core *core, fs_ino parent, struct fs_name name);
// A name was taken from the inode: one link less, at `now`; an orphan without opens is reaped by the turn.
int inode_unlink(struct core *core, struct inode *inode, bool directory, struct fs_time now);
void reap_add(struct core *core, fs_ino ino);
int file_new(struct core *core, struct inode *inode, uint32_t flags, struct core_file **ret_file);
// Makes an inode that belongs into `directory`, with `flags`; `nameless`: with nlink
// 0. Permissions were asked.
int make_inode(struct core *core, const struct fs_cred *cred, const struct inode *directory,
               const struct core_make *make, bool nameless, uint32_t flags, struct inode **ret_inode);
// Makes an inode and its entry; permissions were asked.
int make_entry(struct core *core, const struct fs_cred *cred, struct inode *directory, struct fs_name name,
               const struct core_make *make, struct inode **ret_inode);
int check_make(struct core *core, const struct fs_cred *cred, fs_ino parent, struct fs_name name,
               struct inode **ret_directory);
// The inode was read: relatime, unless `open_flags` has FS_OPEN_NOATIME or the
// core is quiet.
int file_inode(struct core *core, const struct core_file *file, struct inode **ret_inode); // -ESTALE
void mark_read(struct core *core, struct inode *inode, uint32_t open_flags);
// An inode's extended attributes, without asking for permissions; `stored` gets the flags and is to be put.
int inode_xattr_put(struct core *core, struct store_inode *stored, struct fs_name name, const void *value,
                    size_t n);
int inode_xattr_remove(struct core *core, struct store_inode *stored, struct fs_name name); // -ENODATA
int inode_kill_capability(struct core *core, struct store_inode *stored);

// --- access lists (inode_acl.c) ---

// The access list, NULL when there is none; the cache entry's own.
int inode_acl(struct core *core, struct inode *inode, const struct acl **ret_acl);
// permission_check() with it.
int inode_may(struct core *core, const struct fs_cred *cred, struct inode *inode, uint32_t may);
int inode_may_remove(struct core *core, const struct fs_cred *cred, struct inode *directory,
                     const struct inode *victim); // permission_remove()
// Gives `stored`, new in the directory, its mode and lists: from the directory's default list, else by the
// umask.
int inode_inherit(struct core *core, const struct inode *directory, uint32_t umask,
                  struct store_inode *stored);
int inode_acl_chmod(struct core *core, struct store_inode *stored); // the access list follows the mode
// setxattr of a list (`is_default`: which) by who owns the inode; n = 0 takes it away.
int inode_acl_set(struct core *core, const struct fs_cred *cred, struct store_inode *stored, bool is_default,
                  const void *bytes, size_t n);

// Contents changed at `now`: set-id bits go as POSIX asks, capabilities go, the times are marked.
int contents_changed(struct core *core, const struct fs_cred *cred, struct store_inode *stored,
                     struct fs_time now);
int truncate_to(struct core *core, struct store_inode *stored, uint64_t size);

#endif
