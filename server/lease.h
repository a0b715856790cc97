// SPDX-License-Identifier: Apache-2.0
// Who may keep what: for each inode the holders that were told something of it which they may keep until they
// are asked to drop it. Pure; one owner thread, that of the file system.
//
// A holder is a session's side of it, and outlives the session when that ends without a word (see recall.h).
// Invariant: a lease has bits, or asks that its holder has not answered; it is in its holder's table and
// order and in its inode's list.
#ifndef BERTH_SERVER_LEASE_H
#define BERTH_SERVER_LEASE_H

#include "fs/base/list.h"
#include "fs/base/table.h"
#include "fs/types.h"

// Bits of a lease; they are CORE_CHANGE_* and WIRE_DROP_* as well.
#define LEASE_ATTR            (1u << 0)
#define LEASE_NAMES           (1u << 2) // of a directory: entries present and absent
#define LEASE_DATA            (1u << 3)

#define LEASES_PER_HOLDER_MAX 262144u
#define LEASES_MAX            2097152u // of a file system

struct lease_table {
    struct table inodes; // struct lease_inode
    size_t n;            // leases of all
    size_t per_holder_max, max;
};

struct lease_inode {
    struct table_node node; // key: inode number
    struct list leases;
};

struct lease_holder {
    struct list node;     // in its recall
    void *session;        // the server's, NULL: it has ended
    fs_ino root;          // the session's
    struct table leases;  // struct lease
    struct list order;    // the same, least recently granted first
    struct list asks;     // unanswered, by number (recall.h)
    struct table numbers; // the same
    uint64_t last_number;
    size_t n_trees, n_background; // of the asks: for everything; for want of room
    uint64_t generation;          // not 0
    bool cleared;                 // the client keeps nothing of a generation before
    uint64_t ends_ms;             // when its leases end, answered or not; 0: not yet known
    uint64_t overdue_ms;          // when it last had not answered for a lease time; 0: never
    uint64_t rests_until_ms;      // it makes a habit of that, and is given nothing before
};

struct lease {
    struct table_node node; // key: inode number
    struct list of_inode, in_order;
    struct lease_holder *holder;
    uint32_t bits;
    bool kept; // over a restart of the server: pages written before it may have made the bytes old
    uint64_t
        read_number; // the holder's last one when bytes were last read under an unanswered ask for everything
    struct list asks; // unanswered, of this inode
};

void lease_table_init(struct lease_table *table);
void lease_table_free(struct lease_table *table);                       // every holder has been freed
struct lease_holder *lease_holder_new(void);                            // NULL: no memory
void lease_holder_free(struct lease_holder *holder);                    // it has no leases
struct lease *lease_get(const struct lease_holder *holder, fs_ino ino); // NULL: none
bool lease_has(const struct lease_holder *holder, fs_ino ino, uint32_t bits);
// Adds to what the holder has of the inode, now most recently granted. `over`: although there is no room.
// False: no room, or no memory.
bool lease_add(struct lease_table *table, struct lease_holder *holder, fs_ino ino, uint32_t bits, bool over);
bool lease_full(const struct lease_table *table, const struct lease_holder *holder);
void lease_take(struct lease_table *table, struct lease *lease, uint32_t bits); // may free it
struct list *lease_list(const struct lease_table *table, fs_ino ino); // of_inode; NULL: nobody has one

#endif
