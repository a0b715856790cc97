// SPDX-License-Identifier: Apache-2.0
// What the kernel knows and has open: inodes with their handles and lookup counts, open files, and the locks
// held through them. Pure tables; owner thread only.
//
// A node id is the inode number, but for the session's root, which is FUSE's 1. (Inode 1 is the root of the
// file system: a session is shown it only when that is its own root.)
#ifndef BERTH_CLIENT_NODES_H
#define BERTH_CLIENT_NODES_H

#include "client/attr_cache.h"
#include "fs/base/table.h"
#include "fs/base/tree.h"
#include "fs/wire/wire.h"

#define NODE_ROOT 1u

struct kept_open; // kept_opens.h
struct first;     // first_bytes.h

// Lives while the kernel remembers it, it is open or a lock is held on it.
struct node {
    struct table_node id; // key: node id
    wire_handle handle;
    uint64_t n_lookups;
    uint64_t shown_in; // node id of the directory in which the kernel was shown it, until it is known
    uint64_t name;     // under which it was shown last, nodes_name(); 0: nobody knows
    uint32_t n_files;
    uint32_t n_busy;        // requests under way for which the kernel holds the directory's lock
    uint32_t n_exclusive;   // of them, those that let nobody else look in it
    uint32_t n_dropping;    // drops of its pages under way
    uint32_t n_kept_reads;  // answers whose bytes the kernel kept; wraps
    uint32_t n_changes;     // counts what makes opens that were granted before not worth keeping; wraps
    struct kept_open *kept; // NULL: none
    uint8_t lease;          // WIRE_LEASE_* that the server may have to recall
    bool known;             // the kernel has named it since it was shown
    bool owes_settle;  // what was stored through mappings has been written, and others may keep what it made
                       // old
    struct tree holds; // by kind, owner and start
    struct attr_kept attr; // counts while WIRE_LEASE_ATTR is held
};

struct file {
    struct table_node id; // key: open id, FUSE's fh
    struct node *node;
    uint32_t flags;        // FS_OPEN_*, without those that act once
    struct fs_cred opener; // its groups belong to the file
    size_t n_holds;        // ranges taken through it
    bool given_up;         // what it stood for may be another's by now: EIO from then on
    bool may_keep;         // when nobody uses it any more (kept_opens.h)
    bool tells;            // the first read marks the file
    uint64_t asked_ns;     // when it was asked for; may_keep
    uint32_t n_changes;    // the node's when it was granted
    struct first *first;   // NULL: none
};

// A range that one owner holds, for claiming it again when the server forgot it.
struct hold {
    struct tree_node at; // in node->holds
    uint64_t open_id;
    struct fs_lock lock;
};

struct nodes {
    struct table by_id, files;
    size_t n_holds;
    struct node root;
    uint64_t last_open_id;
    // An inode on which there is a lease is no longer known here. NULL: nobody minds.
    void (*forgotten)(void *context, fs_ino ino);
    void *context;
};

void nodes_init(struct nodes *nodes);
void nodes_free(struct nodes *nodes);

// --- inodes ---

void nodes_set_root(struct nodes *nodes, wire_handle handle);
uint64_t nodes_id_of(const struct nodes *nodes, fs_ino ino);
uint64_t nodes_name(uint64_t directory_id, struct fs_name name); // a hash of the two, not 0
struct node *nodes_get(const struct nodes *nodes, uint64_t id);  // NULL: not known
// One more lookup of what the server showed, in a directory (0: in none). NULL: no memory.
struct node *nodes_lookup(struct nodes *nodes, wire_handle handle, uint64_t shown_in);
void nodes_forget(struct nodes *nodes, struct node *node, uint64_t n_lookups);

// --- open files ---

uint64_t nodes_new_open_id(struct nodes *nodes);
struct file *nodes_file(const struct nodes *nodes, uint64_t open_id); // NULL: not open
// With the key, flags and opener of `like`, whose groups are the file's from then on. -ENOMEM: nothing
// changed.
int nodes_open(struct nodes *nodes, struct node *node, const struct file *like);
void nodes_release(struct nodes *nodes, struct file *file); // and what is held through it

// --- locks ---

// The owner now holds `lock` (or, FS_LOCK_UNLOCK, nothing) in its range, whatever it held there before.
// -ENOMEM: nothing changed.
int nodes_hold(struct nodes *nodes, struct node *node, uint64_t open_id, const struct fs_lock *lock);
void nodes_drop_hold(struct nodes *nodes,
                     struct hold *hold);                // while the file that it was taken through is open
struct hold *nodes_first_hold(const struct node *node); // of any owner, through any file; NULL: none
struct hold *nodes_next_hold(const struct hold *hold);
bool nodes_holds_any(const struct node *node, enum fs_lock_kind kind, uint64_t owner);

#endif
