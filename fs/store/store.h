// SPDX-License-Identifier: Apache-2.0
// The storage seam: everything one file system keeps, behind one table of operations. Implementations: SQLite
// + data files (store_sqlite.h), an in-memory model (store_model.h), and a fault-injecting wrapper around any
// other (store_fault.h). All are held to one conformance suite (tests/unit/store_suite.c).
//
// Callers never touch `struct store_ops`: the store_*() functions below check their arguments and the
// transaction state, then call. One thread owns a store; only store_sync_run() may run elsewhere.
//
// Transactions. Every write happens between store_begin() and store_commit() or store_rollback(); reads are
// allowed outside and see committed state, inside they see the transaction's own writes. Savepoints do not
// nest. After a failed commit the transaction is still open and must be rolled back.
//
// Data. The bytes of a regular file or symlink belong to its inode number. Where they lie (inline in the
// database or in a data file) is the engine's business. Bytes that were never written, and bytes at or past
// the inode's committed size, read as zeros when they come to lie inside the size again. Data reaches its
// place before the metadata that makes it visible commits; overwrites within the size (zeroing ranges, too)
// are not undone by a rollback; growth is (the bytes past the committed size read as zeros afterwards). What
// frees or shrinks data commits an intent and acts on it only after the log that holds the intent has been
// synced.
//
// Durability. After store_commit() the change survives the death of the process. It survives power loss once
// store_sync() or a sync job that was prepared after that commit has succeeded.
//
// Errors: negative errno. -ENOENT for what is not there, -EEXIST for what already is, -ENOSPC and -EIO from
// the medium, -EUCLEAN when stored bytes make no sense. A failed write leaves the transaction open and the
// half-done operation undone when it ran inside a savepoint that the caller now rolls back.
#ifndef BERTH_STORE_H
#define BERTH_STORE_H

#include "fs/types.h"

struct store;

// One inode as stored. `attr.blocks` is filled by the engine on reads and ignored on writes.
struct store_inode {
    struct fs_attr attr;
    fs_ino parent;  // directory: its parent (the root: itself); others: a directory that links it, exact when
                    // nlink == 1
    uint32_t flags; // reserved to core but for STORE_XATTRS; kept as given
    fs_ino quota;   // the quota that it is charged to; 0: none
};
#define STORE_XATTRS (1u << 8) // it may have extended attributes; without, its removal looks for none

struct store_dentry {
    fs_ino ino;
    uint32_t type;   // S_IFMT bits of the inode
    uint64_t cookie; // readdir position, unique in the file system, never reused
};

// --- life ---

// Closes cleanly: checkpoints, and records a clean stop. The store must have no open transaction. NULL is
// allowed.
void store_close(struct store *store);

// --- transactions ---

int store_begin(struct store *store);
int store_commit(struct store *store); // on failure: still open, call store_rollback()
void store_rollback(struct store *store);
int store_savepoint(struct store *store);           // inside a transaction, one at a time
int store_savepoint_release(struct store *store);   // keeps what it did
void store_savepoint_rollback(struct store *store); // undoes what it did
bool store_in_transaction(const struct store *store);

// --- inodes ---

int store_inode_get(struct store *store, fs_ino ino, struct store_inode *ret_inode); // -ENOENT
int store_inode_put(struct store *store, const struct store_inode *inode);           // inserts or replaces
// Removes the inode, and its data as an intent. -ENOENT.
int store_inode_remove(struct store *store, fs_ino ino);
// Numbers that were never handed out before, not even before a power loss: *ret_first .. *ret_first + n - 1.
// Allowed outside a transaction; never undone. n is 1..65536.
int store_reserve_inos(struct store *store, uint32_t n, fs_ino *ret_first);
int store_reserve_cookies(struct store *store, uint32_t n, uint64_t *ret_first); // starts at 16; fits 62 bits
// Inodes with nlink 0 (directories included), ascending from after `after`; at most max. Returns the count or
// an error.
int store_orphans(struct store *store, fs_ino after, fs_ino *ret_inos, size_t max);

// --- entries ---

int store_dentry_get(struct store *store, fs_ino parent, struct fs_name name,
                     struct store_dentry *ret_dentry);
int store_dentry_put(struct store *store, fs_ino parent, struct fs_name name,
                     const struct store_dentry *dentry); // -EEXIST
// Points an existing entry at another inode and keeps its cookie. -ENOENT.
int store_dentry_replace(struct store *store, fs_ino parent, struct fs_name name, fs_ino ino, uint32_t type);
int store_dentry_remove(struct store *store, fs_ino parent, struct fs_name name); // -ENOENT
// Entries with a cookie greater than `after`, ascending, until visit returns false. With `inodes`, each inode
// comes along (NULL when missing). The name lives for the call. Visitors do not call the store.
typedef bool store_visit_dentry(void *context, struct fs_name name, const struct store_dentry *dentry,
                                const struct store_inode *inode);
int store_dentry_list(struct store *store, fs_ino parent, uint64_t after, bool inodes,
                      store_visit_dentry *visit, void *context);
int store_dentry_any(struct store *store, fs_ino parent, bool *ret_any); // is there an entry at all
// Directories that hold an entry for ino; at most max. Returns the count or an error.
int store_dentry_parents(struct store *store, fs_ino ino, fs_ino *ret_parents, size_t max);

// --- data ---

// Reads up to n bytes at offset, of `size` (the inode's size as the caller sees it): *ret_n < n only at the
// end.
int store_data_read(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, void *bytes, size_t n,
                    size_t *ret_n);
// Writes all n bytes or fails. `size` is the inode's size before the write; the caller puts the new one in
// this transaction. offset + n <= FS_FILE_SIZE_MAX.
int store_data_write(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, const void *bytes,
                     size_t n);
// From size `from` to size `to`; either may be larger.
int store_data_resize(struct store *store, fs_ino ino, uint64_t from, uint64_t to);
// Takes room on the medium for a range, whose bytes stay what they are. `from` and `to` are the sizes before
// and after: to == from leaves the size as it is (room past it may be given back), else the range ends at
// `to`. -ENOSPC; -EOPNOTSUPP when the medium cannot. offset + n <= FS_FILE_SIZE_MAX, here and below.
int store_data_allocate(struct store *store, fs_ino ino, uint64_t from, uint64_t to, uint64_t offset,
                        uint64_t n);
// What of the range lies within the size becomes zeros, as an overwrite. Its room is given back or, with
// keep_room, kept and taken where it was missing: -ENOSPC.
int store_data_zero(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, uint64_t n,
                    bool keep_room);
// Where at or after offset the first data begins (-ENXIO: there is none), or with `hole` the first hole, at
// the latest at the size. An engine may take zeros for data. -ENXIO at or past the size.
int store_data_seek(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, bool hole,
                    uint64_t *ret_offset);

struct store_copy {
    fs_ino from_ino;
    uint64_t from_size, from_offset; // the range lies within the size
    fs_ino ino;                      // may be the same, if the ranges do not overlap
    uint64_t size, offset;           // the size is that before the copy
    uint64_t n;
};
// As store_data_write() of what is there, without passing it through memory where the medium can; holes stay
// holes.
int store_data_copy(struct store *store, const struct store_copy *copy);

// --- extended attributes ---

// Of an inode that is there and says STORE_XATTRS in the same transaction; they go with it. Names are
// 1..FS_XATTR_NAME_MAX bytes, values at most FS_XATTR_VALUE_MAX. What they mean, and how many fit, is core's
// to say. At most `size` bytes of the value are copied; *ret_n is the length of the whole. -ENODATA.
int store_xattr_get(struct store *store, fs_ino ino, struct fs_name name, void *value, size_t size,
                    size_t *ret_n);
int store_xattr_put(struct store *store, fs_ino ino, struct fs_name name, const void *value, size_t n);
int store_xattr_remove(struct store *store, fs_ino ino, struct fs_name name); // -ENODATA
// Ascending by the name's bytes, with the length of the value, until visit returns false. The name lives for
// the call. Visitors do not call the store.
typedef bool store_visit_xattr(void *context, struct fs_name name, size_t value_length);
int store_xattr_list(struct store *store, fs_ino ino, store_visit_xattr *visit, void *context);

// --- sessions ---

// What a server keeps of its clients, opaque to the store: part 0 is the session itself, parts 1 and up are
// the last replies on its slots. In the transaction of what they answer.
#define STORE_SESSION_PART_MAX 8192u // bytes
#define STORE_SESSION_PARTS    1024u
// Inserts or replaces. id is 1..INT64_MAX, n at least 1.
int store_session_put(struct store *store, uint64_t id, uint32_t part, const void *bytes, size_t n);
int store_session_remove(struct store *store, uint64_t id); // every part; -ENOENT
// Every part of every session, ascending by id, then part, until visit returns false. The bytes live for the
// call. Visitors do not call the store.
typedef bool store_visit_session(void *context, uint64_t id, uint32_t part, const void *bytes, size_t n);
int store_session_list(struct store *store, store_visit_session *visit, void *context);

// --- durability ---

// A sync is prepared on the owner thread (outside or inside a transaction; it covers what is committed when
// it runs and was committed before), run on any thread, and finished on the owner thread, in this order, each
// exactly once. ino 0 syncs the whole store. Several may be under way.
struct store_sync;
int store_sync_prepare(struct store *store, fs_ino ino, struct store_sync **ret_sync);
void store_sync_run(struct store_sync *sync);
// The result; frees sync. After a failure the store is read-only: every later write gives -EROFS.
int store_sync_finish(struct store *store, struct store_sync *sync);
// All three at once, on the owner thread.
int store_sync(struct store *store, fs_ino ino);

// --- space and upkeep ---

struct store_usage {
    uint64_t inodes;      // of any type
    uint64_t bytes;       // sum of the sizes of regular files
    uint64_t free_bytes;  // on the medium
    uint64_t total_bytes; // of the medium
};
int store_usage(struct store *store, struct store_usage *ret_usage); // cheap: O(1)

// A quota: what the inodes that name it as theirs come to, kept in the transaction that changes them, and
// limits that core holds them to. 0 as a limit is none. Number 0 has limits alone: they are the whole file
// system's, whose use is store_usage().
struct store_quota {
    uint64_t max_bytes, max_inodes;
    uint64_t bytes;  // sum of the sizes of regular files
    uint64_t inodes; // of any type
};
// A quota that nobody is charged to and that has no limits is all zeros.
int store_quota_get(struct store *store, fs_ino id, struct store_quota *ret_quota); // O(1)
int store_quota_put(struct store *store, fs_ino id, uint64_t max_bytes, uint64_t max_inodes);

// Does a bounded piece of background work (acting on synced intents, checkpointing when the log is long) if
// there is any; the owner calls it when a turn is over, and about once a second when idle, because some of it
// waits for time or for another thread. Never inside a transaction. *ret_more: call again soon.
int store_upkeep(struct store *store, bool *ret_more);

#endif
