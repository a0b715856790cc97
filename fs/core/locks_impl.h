// SPDX-License-Identifier: Apache-2.0
// What the files of the lock table share. lock_ranges.c: what is held; lock_waits.c: who waits, and for whom;
// locks.c: the interface. One owner thread.
//
// A space is one kind of lock on one inode; spaces know nothing of each other. Every wait is in the queue of
// one held range that stands in its way. When a range goes or shrinks, the waits it stood in the way of
// become loose, and are looked at in the order in which they came when the change is complete.
#ifndef BERTH_CORE_LOCKS_IMPL_H
#define BERTH_CORE_LOCKS_IMPL_H

#include "fs/base/check.h"
#include "fs/base/list.h"
#include "fs/base/table.h"
#include "fs/base/tree.h"
#include "fs/core/locks.h"

#define LOCK_TYPES 2u // FS_LOCK_READ, FS_LOCK_WRITE
#define LOCK_KINDS 2u
#define RANGE_END  ((uint64_t)INT64_MAX)

// What is held. Ranges of one owner do not overlap, and neighbours of one type are one range.
struct lock_range {
    struct tree_node by_start;             // in space->held[type]; carries furthest and another
    struct tree_node by_owner;             // in table->ranges
    struct lock_range *furthest, *another; // of the subtree: the greatest end, and that of any other owner
    struct tree queues[LOCK_TYPES];        // waits, by the type that they want
    struct lock_space *space;
    lock_session session;
    struct fs_lock lock;
};

struct lock_wait {
    struct tree_node by_arrival; // in a range's queue, or loose
    struct tree_node by_owner;   // in table->waits
    struct tree_node by_ticket;  // in table->tickets
    struct lock_wait *next;      // on a stack, for a moment
    struct lock_space *space;
    lock_session session;
    struct fs_lock lock;
    uint64_t ticket;
    uint64_t arrival;
    uint64_t seen_by;                 // the last deadlock search that came here
    bool undetected;                  // part of no deadlock
    struct lock_range *fresh, *spare; // a grant needs no memory and cannot exceed the bound
};

struct lock_space {
    struct lock_inode *inode;
    struct list touched; // in table->touched: it may have loose waits, or be unused
    struct tree held[LOCK_TYPES];
    struct tree loose[LOCK_TYPES];
    uint64_t freed_start, freed_end; // encloses what was freed since there were none
};

struct lock_inode {
    struct table_node node; // key: inode number
    struct lock_space spaces[LOCK_KINDS];
    size_t n_nodes; // ranges and waits; without any it goes
};

struct lock_table {
    struct table inodes;
    struct tree ranges, waits, tickets;
    struct list touched;
    size_t n_ranges, n_waits, max_count;
    uint64_t arrivals, searches;
    lock_granted *granted;
    void *context;
};

extern const struct tree_order lock_ranges_by_owner, lock_waits_by_owner, lock_waits_by_arrival,
    lock_waits_by_ticket;

// --- owners ---

static inline bool lock_same_owner(lock_session session, const struct fs_lock *lock,
                                   lock_session other_session, const struct fs_lock *other)
{
    return session == other_session && lock->owner == other->owner && lock->kind == other->kind;
}

static inline int lock_compare_u64(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

// By session, kind, owner and inode.
static inline int lock_compare_owners(lock_session session, const struct fs_lock *lock, fs_ino ino,
                                      lock_session other_session, const struct fs_lock *other,
                                      fs_ino other_ino)
{
    int result = lock_compare_u64(session, other_session);
    result = result ? result : (int)lock->kind - (int)other->kind;
    result = result ? result : lock_compare_u64(lock->owner, other->owner);
    return result ? result : lock_compare_u64(ino, other_ino);
}

static inline bool lock_overlap(const struct fs_lock *a, const struct fs_lock *b)
{
    return a->start <= b->end && b->start <= a->end;
}

// --- lock_ranges.c ---

// Of an owner on an inode, or with ino 0 on any: the first of its ranges that starts at `start` or behind.
struct lock_range *lock_owned_from(const struct lock_table *table, lock_session session,
                                   const struct fs_lock *owner, fs_ino ino, uint64_t start);
struct lock_range *lock_owned_next(const struct lock_range *range); // of any owner; NULL at the end

// The lowest range of another owner in the way; NULL: none.
struct lock_range *lock_in_the_way(const struct lock_space *space, lock_session session,
                                   const struct fs_lock *lock);
// The next one of the type that overlaps `lock` and is not of the owner `but`.
struct lock_range *lock_next_overlapping(const struct lock_space *space, enum fs_lock_type type,
                                         const struct fs_lock *lock, lock_session but_session,
                                         const struct fs_lock *but, const struct lock_range *after_or_null);

struct lock_range *lock_range_new(void); // NULL: no memory
// How many more ranges there would be, at most. ret_splits: does it cut one of its owner's ranges into two?
int lock_growth(const struct lock_table *table, fs_ino ino, lock_session session, const struct fs_lock *lock,
                bool *ret_splits);
// Sets (`fresh` becomes the range that holds it) or clears (NULL) what `lock` says. Takes fresh and spare;
// spare is NULL or enough for a split.
void lock_apply(struct lock_table *table, struct lock_space *space, lock_session session,
                const struct fs_lock *lock, struct lock_range *fresh, struct lock_range *spare);
void lock_range_drop(struct lock_table *table, struct lock_range *range);

void lock_touch(struct lock_table *table, struct lock_space *space);

// --- lock_waits.c ---

struct lock_wait *lock_waits_from(const struct lock_table *table, lock_session session,
                                  const struct fs_lock *owner, fs_ino ino);
struct lock_wait *lock_waits_next(const struct lock_wait *wait); // of any owner; NULL at the end

// -ENOLCK, -EDEADLK, 1.
int lock_wait_add(struct lock_table *table, struct lock_range *blocker, lock_session session,
                  const struct fs_lock *lock, uint64_t ticket, bool undetected);
void lock_wait_drop(struct lock_table *table, struct lock_wait *wait);
void lock_queue_join(struct tree *to, struct tree *from);
// Grants what can be granted in the spaces that were touched, and lets go of unused inodes.
void lock_settle(struct lock_table *table);

#endif
